"""The `wafer` command on real services: what it prints, writes and refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from resources.s3 import S3Store
from wafer_assets.cli import main
from wafer_assets.settings import Settings


@pytest.fixture
def wafer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A shell whose environment points at running services."""
    values = {
        "STATE_DIR": str(settings.state_dir),
        "S3__ENDPOINT_URL": settings.s3.endpoint_url,
        "S3__ACCESS_KEY_ID": settings.s3.access_key_id,
        "S3__SECRET_ACCESS_KEY": settings.s3.secret_access_key,
        "MONGO__URI": settings.mongo.uri,
        "MONGO__DATABASE": settings.mongo.database,
    }
    for name, value in values.items():
        assert value is not None
        monkeypatch.setenv(f"WAFER_{name}", value.get_secret_value() if isinstance(value, SecretStr) else value)
    return CliRunner()


def run(wafer: CliRunner, *arguments: str) -> Result:
    return wafer.invoke(main, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize(
    "command",
    [[], ["services"], ["simulate"], ["upload"], ["ingest"], ["train"], ["quarantine", "show"], ["demo"], ["dev"]],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_files_are_uploaded_once_ingested_once_and_explained(
    wafer: CliRunner, tmp_path: Path, settings: Settings
) -> None:
    folder = str(tmp_path / "batches")
    assert run(wafer, "simulate", "--out", folder, "--batches", "2", "--wafers", "5").exit_code == 0
    files = len(list(Path(folder).iterdir()))

    assert f"{files} files uploaded, 0 were there" in run(wafer, "upload", folder).output
    assert f"0 files uploaded, {files} were there" in run(wafer, "upload", folder).output
    assert len(S3Store(settings).list_objects("landing", "training/")) == files

    summary = run(wafer, "ingest").output
    (received,) = [line.split() for line in summary.splitlines() if line.startswith("files received")]
    assert received[-1] == str(files)
    assert "No file is new or changed" in run(wafer, "ingest").output

    listed = run(wafer, "quarantine", "list").output
    assert "column_missing" in listed
    shown = run(wafer, "quarantine", "show", "wafer_31022020_250000.csv").output
    assert "file_name_invalid" in shown
    assert "quarantined_batches/wafer_31022020_250000.csv/" in shown.replace("\n", "")


def test_an_unknown_batch_and_an_unknown_hyperparameter_say_what_is_known(wafer: CliRunner) -> None:
    unknown = wafer.invoke(main, ["quarantine", "show", "nothing.csv"])
    assert unknown.exit_code == 1
    assert "wafer quarantine list" in unknown.output
    wrong = wafer.invoke(main, ["train", "--set", "depth=3"])
    assert wrong.exit_code == 2
    assert "xgboost_depth" in wrong.output


def test_without_services_the_error_says_how_to_start_them(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x")
    result = CliRunner().invoke(main, ["upload", str(tmp_path)])
    assert result.exit_code == 1
    assert "wafer services up" in result.output


def test_the_quarantine_of_a_new_platform_is_empty(wafer: CliRunner) -> None:
    assert "empty" in run(wafer, "quarantine", "list").output

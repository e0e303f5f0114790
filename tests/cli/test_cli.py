"""The `wafer` command on real services: what it prints, writes and refuses."""

import io
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.loader import load_schema
from tests.conftest import use
from tests.stored import frame_of
from wafer_assets.cli import main
from wafer_assets.cli.instance import open_instance
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.settings import Settings


@pytest.fixture
def wafer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A shell whose environment points at running services."""
    use(settings, monkeypatch)
    return CliRunner()


def run(wafer: CliRunner, *arguments: str) -> Result:
    return wafer.invoke(main, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["services"],
        ["simulate"],
        ["upload"],
        ["ingest"],
        ["train"],
        ["quarantine", "show"],
        ["quarantine", "replay"],
        ["score"],
        ["demo"],
        ["dev"],
    ],
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


def test_quarantined_files_are_replayed_after_a_change_of_the_contract(
    wafer: CliRunner, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = load_schema("training")
    (batch,) = simulate_batches(1, 6, line="training", schema=schema, seed=2)
    frame = pd.read_csv(io.BytesIO(batch.content))
    frame["Sensor-1"] = None
    file = tmp_path / batch.name
    frame.to_csv(file, index=False)
    assert "Sensor-1" not in schema.optional_columns
    run(wafer, "upload", str(file))
    run(wafer, "ingest")
    assert "column_empty" in run(wafer, "quarantine", "list").output
    assert "0 of 1 batches are accepted now" in run(wafer, "quarantine", "replay").output

    # The landing bucket has been emptied since, and the contract allows for the broken sensor now.
    store = S3Store(settings)
    store.delete(store.landing, f"training/{batch.name}")
    wider = schema.model_copy(update={"optional_columns": (*schema.optional_columns, "Sensor-1")})
    monkeypatch.setattr(
        "wafer_assets.definitions.load_schema", lambda line: wider if line == "training" else load_schema(line)
    )
    replayed = run(wafer, "quarantine", "replay", batch.name).output
    assert "1 files put back into the landing bucket" in replayed
    assert "1 of 1 batches are accepted now" in replayed
    assert len(frame_of(WaferStore(settings), "training", batch.name)) == 6
    assert "is empty" in run(wafer, "quarantine", "replay").output
    assert "Not in quarantine" in wafer.invoke(main, ["quarantine", "replay", batch.name]).output


def test_a_range_of_batches_is_ingested_again_in_one_run(wafer: CliRunner, tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "batches"
    run(wafer, "simulate", "--out", str(folder), "--batches", "4", "--wafers", "5", "--no-bad")
    run(wafer, "upload", str(folder))
    run(wafer, "ingest")
    first, second, third, last = sorted(file.name for file in folder.iterdir())
    store = WaferStore(settings)
    before = {item.batch: item for item in store.batches("training")}
    assert run(wafer, "ingest", "--from", second, "--to", third).exit_code == 0
    after = {item.batch: item for item in store.batches("training")}
    again = [batch for batch in after if after[batch].stored_at != before[batch].stored_at]
    assert again == [second, third]
    assert {batch: item.sha256 for batch, item in after.items()} == {b: item.sha256 for b, item in before.items()}
    with open_instance(settings) as instance:
        assert instance.get_runs_count() == 2
    backwards = wafer.invoke(main, ["ingest", "--from", last, "--to", first])
    assert "came after" in backwards.output
    assert "knows no batch" in wafer.invoke(main, ["ingest", "--from", "x.csv"]).output


def test_where_runs_are_pods_the_command_line_starts_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    use(settings, monkeypatch)
    monkeypatch.setenv("WAFER_ENVIRONMENT", "production")
    monkeypatch.setenv("WAFER_EXECUTOR", "kubernetes")
    result = CliRunner().invoke(main, ["train"])
    assert result.exit_code == 1
    assert "Start train in the Dagster UI" in result.output

"""`wafer ingest` on real stores: what landed is taken up once, and ranges of it again."""

import json
from pathlib import Path

import pytest

from resources.mongo import WaferStore
from resources.s3 import S3Store
from tests.feeds import TRAINING
from tests.shell import call
from wafer_assets.cli.instance import open_instance
from wafer_assets.settings import Settings


def test_files_are_uploaded_once_ingested_once_and_explained(stores: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "batches"
    assert call("simulate", "--out", folder, "--batches", "2", "--wafers", "5").exit_code == 0
    files = len(list(folder.iterdir()))

    assert f"{files} files uploaded, 0 were there" in call("upload", folder).output
    assert f"0 files uploaded, {files} were there" in call("upload", folder).output
    assert len(S3Store(stores).list_objects("landing", "secom/training/")) == files

    summary = call("ingest").stdout
    (received,) = [line.split() for line in summary.splitlines() if line.startswith("files received")]
    assert received[-1] == str(files)
    assert "No file is new or changed" in call("ingest").output

    assert "column_missing" in call("quarantine", "list").output
    shown = call("quarantine", "show", "wafer_31022020_250000.csv").output
    assert "file_name_invalid" in shown
    assert "quarantined_batches/wafer_31022020_250000.csv/" in shown


def test_the_summary_is_written_where_the_instance_is_elsewhere(
    stores: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert not stores.state_dir.exists()
    assert call("ingest").exit_code == 0
    assert json.loads((stores.state_dir / "summary.json").read_text()) == {"line": "secom"}


def test_a_range_of_batches_is_ingested_again_in_one_run(stores: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "batches"
    call("simulate", "--out", folder, "--batches", "4", "--wafers", "5", "--no-bad")
    call("upload", folder)
    call("ingest")
    first, second, third, last = sorted(file.name for file in folder.iterdir())
    store = WaferStore(stores)
    before = {item.batch: item for item in store.batches(TRAINING)}
    assert call("ingest", "--from", second, "--to", third).exit_code == 0
    after = {item.batch: item for item in store.batches(TRAINING)}
    again = [batch for batch in after if after[batch].stored_at != before[batch].stored_at]
    assert again == [second, third]
    assert {batch: item.sha256 for batch, item in after.items()} == {b: item.sha256 for b, item in before.items()}
    with open_instance(stores) as instance:
        assert instance.get_runs_count() == 2
    for wrong, message in (
        (["--from", last, "--to", first], "came after"),
        (["--from", "x.csv"], "knows no batch"),
        (["--from", ""], "knows no batch"),
        (["--feed", "prediction", "--to", last], "knows no batch"),
    ):
        refused = call("ingest", *wrong)
        assert (refused.exit_code, message in refused.output) == (2, True), refused.output
    with open_instance(stores) as instance:
        assert instance.get_runs_count() == 2

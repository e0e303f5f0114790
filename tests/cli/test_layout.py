"""Commands on a state folder of another version of the platform."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.settings.test_layout import contents, written_by
from wafer_assets.cli import main
from wafer_assets.settings.layout import LAYOUT


@pytest.mark.parametrize(
    "command",
    [
        "services up",
        "services down",
        "services status",
        "demo",
        "dev",
        "serve",
        "upload {batches}",
        "ingest",
        "train",
        "score",
        "quarantine list",
        "quarantine show a.csv",
        "quarantine replay",
        "models list",
        "models promote 1 --reason because",
        "models rollback --reason because",
        "predict {batches}/a.csv",
        "report a.csv",
        "trace W-1",
    ],
)
def test_a_folder_of_another_layout_is_named_in_one_line_and_left_alone(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = tmp_path / "batches"
    batches.mkdir()
    (batches / "a.csv").write_text("Wafer\n")
    state_dir = tmp_path / "state"
    written_by(f"{LAYOUT + 1}\n", state_dir)
    monkeypatch.setenv("WAFER_STATE_DIR", str(state_dir))
    before = contents(state_dir)
    shown = CliRunner().invoke(main, [word.format(batches=batches) for word in command.split()])
    assert shown.exit_code == 1, shown.output
    said = shown.output.strip()
    assert said.startswith(f"Error: The state folder {state_dir} has layout {LAYOUT + 1}, ")
    assert said.endswith("or set WAFER_STATE_DIR to another folder.")
    assert "\n" not in said
    assert contents(state_dir) == before

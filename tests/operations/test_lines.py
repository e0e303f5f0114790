"""A line's folder is made whole or not at all."""

from pathlib import Path

import pytest

from wafer_assets.domain.inference import InferenceError
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.operations.lines import new_line


def test_what_cannot_be_read_leaves_no_folder_and_no_other_line_touched(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    (lines / "other").mkdir(parents=True)
    (batch,) = simulate_batches(1, 30, feed="prediction", seed=1)
    file = tmp_path / batch.name
    file.write_bytes(batch.content)
    with pytest.raises(InferenceError, match="label"):
        new_line(lines, "mine", [file])
    assert [folder.name for folder in lines.iterdir()] == ["other"]

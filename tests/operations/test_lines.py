"""A line's folder is made whole or not at all."""

from pathlib import Path

import pytest

from schemas.lines import FEEDS
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


def test_the_feeds_may_have_files_of_one_name(tmp_path: Path) -> None:
    files = []
    for feed in FEEDS:
        (batch,) = simulate_batches(1, 60, feed=feed, seed=3, fault_rate=0.2)
        (tmp_path / feed).mkdir()
        files.append(tmp_path / feed / "wafer_06012020_060700.csv")
        files[-1].write_bytes(batch.content)
    line, inferred = new_line(tmp_path / "lines", "mine", files)
    assert inferred.labelled == (str(files[FEEDS.index("training")]),)
    assert len(line.training.columns) == len(line.prediction.columns) + 1

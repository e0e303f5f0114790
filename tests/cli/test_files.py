"""`wafer simulate` and `upload`: which files are written, and which are sent."""

from pathlib import Path

import pytest

from resources.s3 import S3Store
from tests.shell import call
from wafer_assets.settings import Settings


@pytest.mark.usefixtures("folder")
def test_the_same_seed_writes_the_same_files_and_no_bad_ones_unless_wanted() -> None:
    simulated = ("simulate", "--batches", "2", "--wafers", "3", "--seed", "5")
    assert call(*simulated, "--no-bad", "--out", "a/new/folder").exit_code == 0
    good = {file.name: file.read_bytes() for file in Path("a/new/folder").iterdir()}
    assert len(good) == 2
    assert call(*simulated, "--out", "b").exit_code == 0
    files = {file.name: file.read_bytes() for file in Path("b").iterdir()}
    assert good.items() < files.items()


def test_what_landed_under_a_name_is_replaced_where_it_differs(stores: Settings, tmp_path: Path) -> None:
    file, other = tmp_path / "[bold]x[red].csv", tmp_path / "y.csv"
    file.write_text("1")
    other.write_text("2")
    assert "2 files uploaded, 0 were there" in call("upload", file, other).output
    file.write_text("3")
    assert "1 files uploaded, 1 were there" in call("upload", tmp_path).output
    store = S3Store(stores)
    assert store.get(store.landing, f"secom/training/{file.name}") == b"3"


def test_without_services_the_error_says_how_to_start_them(folder: Path) -> None:
    (folder / "x.csv").write_text("x")
    refused = call("upload", folder)
    assert refused.exit_code == 1
    assert "wafer services up" in refused.output


def test_one_name_that_no_store_can_hold_stops_all_before_anything_is_sent(stores: Settings, folder: Path) -> None:
    for name in ("a.csv", "b\x07.csv"):
        (folder / name).write_text("x")
    refused = call("upload", folder)
    assert refused.exit_code == 1
    assert "b\\x07.csv" in refused.output
    store = S3Store(stores)
    assert store.list_objects(store.landing) == []

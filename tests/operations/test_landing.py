"""What counts as new in the landing bucket, and how batches are asked for in few runs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.s3 import StoredObject
from wafer_assets.operations.landing import changed_batches
from wafer_assets.operations.ranges import partition_ranges
from wafer_assets.partitions import batch_key, batch_name


def landed(key: str, etag: str = "a", age: int = 0) -> StoredObject:
    return StoredObject(key, 1, etag, datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=age))


def test_only_new_and_changed_files_of_the_line_are_found_oldest_first() -> None:
    listing = [
        landed("training/known.csv"),
        landed("training/changed.csv", etag="b"),
        landed("training/new.csv", age=1),
        landed("prediction/other.csv"),
    ]
    found = changed_batches("training", listing, {"known.csv": "a", "changed.csv": "a"})
    assert list(found) == ["new.csv", "changed.csv"]


def test_neighbouring_batches_share_a_range() -> None:
    ranges = partition_ranges("abcdef", "bcf")
    assert [(part.first, part.last) for part in ranges] == [("b", "c"), ("f", "f")]


@given(st.lists(st.text(min_size=1), unique=True), st.data())
def test_ranges_hold_exactly_the_wanted_batches(keys: list[str], data: st.DataObject) -> None:
    wanted = {key for key in keys if data.draw(st.booleans())}
    covered = [
        key
        for part in partition_ranges(keys, wanted)
        for key in keys[keys.index(part.first) : keys.index(part.last) + 1]
    ]
    assert covered == [key for key in keys if key in wanted]


@given(st.text())
def test_a_batch_key_gives_its_file_name_back(name: str) -> None:
    key = batch_key(name)
    assert batch_name(key) == name
    assert not {"/", "\\", "\n", "\0"} & set(key)
    assert ".." not in key


@pytest.mark.parametrize("name", ["wafer_07012020_041011.csv", "Wafer 1.csv", "wäfer.csv"])
def test_ordinary_names_are_their_own_key(name: str) -> None:
    assert batch_key(name) == name

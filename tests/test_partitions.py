"""The partition key of a file name, and whose partitions there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.lines import FEEDS
from tests.feeds import LINE, TRAINING, line_like
from wafer_assets.partitions import batch_key, batch_name, batches_of, partitions_name


@given(st.text())
def test_a_batch_key_gives_its_file_name_back(name: str) -> None:
    key = batch_key(name)
    assert batch_name(key) == name
    assert not {"/", "\\", "\n", "\0"} & set(key)
    assert ".." not in key


@pytest.mark.parametrize("name", ["wafer_07012020_041011.csv", "Wafer 1.csv", "wäfer.csv"])
def test_ordinary_names_are_their_own_key(name: str) -> None:
    assert batch_key(name) == name


def test_every_feed_of_every_line_has_partitions_of_its_own() -> None:
    feeds = [line.feed(kind) for line in (LINE, line_like("etch")) for kind in FEEDS]
    assert len({partitions_name(feed) for feed in feeds}) == len(feeds)
    assert batches_of(TRAINING).name == partitions_name(TRAINING)

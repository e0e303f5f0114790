"""How batches are asked for in few runs."""

from hypothesis import given
from hypothesis import strategies as st

from wafer_assets.operations.ranges import partition_ranges


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


def test_what_may_come_between_splits_no_range_and_ends_none() -> None:
    ranges = partition_ranges("abcdef", "ac", between="bd")
    assert [(part.first, part.last) for part in ranges] == [("a", "c")]

"""When a model is trained without anybody asking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wafer_assets.domain.retraining import Retraining, decide_retraining


def decide(new_wafers: int, hours_since: float | None) -> Retraining:
    return decide_retraining(new_wafers, hours_since, min_new_wafers=500, cooldown_hours=24)


@pytest.mark.parametrize(
    ("new_wafers", "hours_since", "due"),
    [
        (499, None, False),
        (500, None, True),
        (500, 23.9, False),
        (500, 24.0, True),
        (0, 1_000.0, False),
        (-100, 1_000.0, False),  # wafers left the table
        (500, -2.0, False),  # the clock was put back a little
        (500, -1_000.0, True),  # or so far that waiting for it would be for good
    ],
)
def test_enough_wafers_and_time_are_wanted(new_wafers: int, hours_since: float | None, due: bool) -> None:
    assert decide(new_wafers, hours_since).due is due


def test_the_reason_gives_the_figures() -> None:
    assert decide(612, 30.0).reason == "612 new labelled wafers, 30.0 h since the last training"
    assert "500 are wanted" in decide(12, None).reason
    assert "24 h are wanted" in decide(612, 3.0).reason


@given(st.integers(0, 10_000), st.floats(0, 10_000), st.integers(1, 10_000), st.floats(0, 1_000))
def test_more_wafers_and_more_time_never_make_it_less_due(wafers: int, hours: float, least: int, cool: float) -> None:
    now = decide_retraining(wafers, hours, min_new_wafers=least, cooldown_hours=cool)
    later = decide_retraining(wafers + 1, hours + 1, min_new_wafers=least, cooldown_hours=cool)
    assert later.due or not now.due

"""What is held and what is warned of, and what is not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.loader import load_schema
from wafer_assets.domain.contract import History, find_holds
from wafer_assets.domain.contract.suspicions import IMPLAUSIBLE, is_implausible

SCHEMA = load_schema("training").model_copy(update={"fault_rate": None})


def frame(faulty: int, wafers: int) -> pd.DataFrame:
    labels = np.array([1] * faulty + [0] * (wafers - faulty), dtype=np.int8)
    return pd.DataFrame({"wafer": [f"W-{number}" for number in range(wafers)], "faulty": labels})


@pytest.mark.parametrize(("faulty", "wafers"), [(94, 100), (18, 20), (24, 25), (60, 100)])
def test_flipped_labels_of_a_line_with_few_faults_are_implausible(faulty: int, wafers: int) -> None:
    assert is_implausible(faulty, wafers, 0.058)


@pytest.mark.parametrize(
    ("faulty", "wafers"), [(0, 100), (17, 100), (13, 100), (1, 1), (2, 2), (8, 25), (4, 4), (30, 100), (300, 1_000)]
)
def test_bouts_of_faults_are_not(faulty: int, wafers: int) -> None:
    assert not is_implausible(faulty, wafers, 0.058)


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.001, 0.999))
def test_more_faults_are_never_more_plausible(faulty: int, wafers: int, rate: float) -> None:
    if faulty < wafers and is_implausible(faulty, wafers, rate):
        assert is_implausible(faulty + 1, wafers, rate)


def test_line_without_history_or_declared_rate_holds_nothing() -> None:
    assert find_holds(frame(94, 100), SCHEMA) == ()
    assert find_holds(frame(94, 100), SCHEMA, History(wafers=100, faulty=5)) == ()


def test_history_counts_more_than_the_declared_rate() -> None:
    declared = SCHEMA.model_copy(update={"fault_rate": 0.06})
    (reason,) = find_holds(frame(94, 100), declared)
    assert "about 1 in 17 is usual" in reason.found
    assert find_holds(frame(94, 100), declared, History(wafers=1_000, faulty=900)) == ()
    (reason,) = find_holds(frame(94, 100), SCHEMA, History(wafers=1_000, faulty=50))
    assert (reason.code, reason.count) == ("fault_rate_implausible", 94)
    assert reason.message == (
        "column Output: the share of faulty wafers is implausible: 94 of 100 wafers are faulty; about 1 in 20 is "
        "usual. Check the coding of the labels: are passed and faulty exchanged?"
    )


def test_line_that_never_had_a_fault_holds_nothing() -> None:
    assert find_holds(frame(2, 100), SCHEMA, History(wafers=1_000, faulty=0)) == ()


@pytest.mark.parametrize(("changed", "held"), [(1, False), (2, True)])
def test_few_changed_labels_are_corrections_and_many_a_contradiction(changed: int, held: bool) -> None:
    known = {f"W-{number}": number < changed for number in range(30)}

    reasons = find_holds(frame(0, 100), SCHEMA, History(labels=known))

    assert [reason.code for reason in reasons] == (["labels_contradict"] if held else [])
    assert 0 < IMPLAUSIBLE < 1


def test_files_without_labels_are_never_held() -> None:
    assert find_holds(frame(94, 100).drop(columns="faulty"), load_schema("prediction"), History(1_000, 50)) == ()

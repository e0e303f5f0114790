"""A bundle is put together only of what belongs together; that it is registered whole is told by its asset's tests."""

import pandas as pd
import pytest

from tests.domain.test_promotion import results
from wafer_assets.operations.registration import OtherTableError, batches_of, require_same_wafers

OUT_OF_FOLD = results(1)
TABLE = OUT_OF_FOLD.loc[OUT_OF_FOLD["repeat"] == 0, ["wafer", "faulty"]]


def test_the_order_of_the_wafers_and_other_protocols_do_not_matter() -> None:
    elsewhere = OUT_OF_FOLD.assign(protocol="time_split", wafer="another")
    require_same_wafers("secom", pd.concat([OUT_OF_FOLD, elsewhere]), TABLE.sample(frac=1, random_state=0))


@pytest.mark.parametrize(
    ("table", "different"),
    [
        (TABLE.iloc[1:], 1),
        (TABLE.assign(faulty=TABLE["faulty"].where(TABLE["wafer"] != "Wafer-3", 1)), 1),
        (TABLE.assign(wafer="x" + TABLE["wafer"]), 800),
    ],
    ids=["a wafer more was evaluated", "an outcome was corrected", "all wafers are others"],
)
def test_an_evaluation_of_other_wafers_or_outcomes_is_refused_with_how_many(
    table: pd.DataFrame, different: int
) -> None:
    with pytest.raises(
        OtherTableError, match=rf"another table: {different} wafers.*secom/training/evaluation again"
    ) as error:
        require_same_wafers("secom", OUT_OF_FOLD, table)
    assert error.value.code == "other_table"
    assert error.value.counts["different_wafers"] == different


def test_the_batches_of_a_table_are_named_once_and_in_order() -> None:
    assert batches_of(pd.DataFrame({"batch": ["b.csv", "a.csv", "b.csv"]})) == ["a.csv", "b.csv"]

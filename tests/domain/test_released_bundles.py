"""Versions that were registered by any earlier version of the platform still load, and say what they said then."""

from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from wafer_assets.domain.persistence import FORMAT, load
from wafer_assets.domain.scoring import Bundle, score

RELEASED = Path(__file__).parents[1] / "released_bundles"
FORMATS = range(1, FORMAT + 1)


def wafers_of(number: int) -> pd.DataFrame:
    return pd.read_csv(RELEASED / str(number) / "wafers.csv", float_precision="round_trip")


def rows_of(number: int) -> pd.DataFrame:
    return pd.read_csv(RELEASED / str(number) / "rows.csv", float_precision="round_trip")


def require_same(rows: pd.DataFrame, number: int) -> None:
    expected = rows_of(number)
    np.testing.assert_allclose(rows["probability"], expected["probability"], rtol=0, atol=1e-12)
    for exact in ("wafer", "faulty", "cluster", "decided_by"):
        assert rows[exact].tolist() == expected[exact].tolist(), exact


@pytest.mark.parametrize("number", FORMATS)
def test_a_stored_bundle_of_every_format_scores_as_on_the_day_it_was_made(number: int) -> None:
    bundle = load((RELEASED / str(number) / "version/artifacts/bundle.skops").read_bytes())
    assert isinstance(bundle, Bundle)
    scores = score(bundle, wafers_of(number), 1)
    require_same(scores.rows, number)
    np.testing.assert_allclose(scores.margin, rows_of(number)["margin"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", FORMATS)
def test_a_registered_version_of_every_format_loads_with_the_code_that_was_stored_beside_it(number: int) -> None:
    model = mlflow.pyfunc.load_model(str(RELEASED / str(number) / "version"))
    require_same(model.predict(wafers_of(number)), number)


def test_the_stored_cases_tell_alarms_clusters_and_global_models_apart() -> None:
    rows = rows_of(1)
    assert set(rows["faulty"]) == {True, False}
    assert rows["cluster"].nunique() > 2
    assert set(rows["decided_by"]) == {"cluster", "global"}

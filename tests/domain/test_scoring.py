"""A bundle says the same of a wafer however it is asked, and refuses what it does not know."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.loader import load_schema
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.persistence import dump, load
from wafer_assets.domain.preprocessing import WrongSensors
from wafer_assets.domain.scoring import Bundle, ContractMismatch, healthy_ranges, make_bundle, score
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import FaultModel

SCHEMA = load_schema("prediction")
NUMBERS = st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_infinity=False)
WAFERS = simulate_table(60, seed=2, first_wafer=401).drop(columns=["batch", "faulty"])


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    table = simulate_table(400, seed=1, fault_rate=0.15)
    model = FaultModel(ModelConfig(k=2, folds=2, forest_trees=5, xgboost_trees=10))
    model.fit(sensor_readings(table), table["faulty"])
    features = model.preprocessor_.transform(sensor_readings(table))
    made = make_bundle(
        model,
        table,
        model.clusterer_.predict(features),
        model.clusterer_.coordinates(features)[:, :2],
        contract_version="1.0",
        optional=SCHEMA.optional_columns,
        card={"wafers": 400},
    )
    again = load(dump(made))
    assert isinstance(again, Bundle)
    return again


def test_rows_are_the_models_own_predictions(bundle: Bundle) -> None:
    rows = score(bundle, WAFERS, 7).rows
    readings = sensor_readings(WAFERS)
    assert (rows["probability"] == bundle.model.predict_proba(readings)[:, 1]).all()
    assert (rows["faulty"] == (bundle.model.predict(readings) == 1)).all()
    assert set(rows["bundle_version"]) == {7}
    assert rows["drivers"].str.count(";").eq(4).all()


def test_without_evidence_the_rows_are_the_same_but_for_the_drivers(bundle: Bundle) -> None:
    with_it, without = score(bundle, WAFERS, 1), score(bundle, WAFERS, 1, evidence=False)
    pd.testing.assert_frame_equal(with_it.rows.drop(columns="drivers"), without.rows, check_exact=True)
    assert without.evidence is None


def test_optional_sensors_may_be_left_out_and_others_may_not(bundle: Bundle) -> None:
    optional = SCHEMA.optional_columns[0]
    left_out = score(bundle, WAFERS.drop(columns=optional), 1).rows
    pd.testing.assert_frame_equal(left_out, score(bundle, WAFERS.assign(**{optional: np.nan}), 1).rows)
    with pytest.raises(WrongSensors, match=r"missing .Sensor-1"):
        score(bundle, WAFERS.drop(columns="Sensor-1"), 1)
    with pytest.raises(WrongSensors, match=r"unknown .Sensor-X"):
        score(bundle, WAFERS.assign(**{"Sensor-X": 1.0}), 1)


def test_text_is_refused_and_a_reading_that_every_wafer_lacks_is_not(bundle: Bundle) -> None:
    with pytest.raises(WrongSensors, match=r"Sensor-1.*'high'"):
        score(bundle, WAFERS.assign(**{"Sensor-1": "high"}), 1)
    nothing = score(bundle, WAFERS.assign(**{"Sensor-1": None}), 1)
    pd.testing.assert_frame_equal(nothing.rows, score(bundle, WAFERS.assign(**{"Sensor-1": np.nan}), 1).rows)


@settings(deadline=None)
@given(readings=st.lists(NUMBERS, min_size=3, max_size=3))
def test_any_numbers_are_scored(bundle: Bundle, readings: list[float | None]) -> None:
    rows = score(bundle, WAFERS.head(3).assign(**{"Sensor-1": readings}), 1).rows

    assert rows["probability"].between(0, 1).all()


@settings(deadline=None)
@given(
    readings=st.lists(NUMBERS, min_size=2, max_size=2),
    wrong=st.text(max_size=5) | st.booleans() | st.sampled_from([np.inf, -np.inf]),
)
def test_whatever_is_no_number_is_refused_by_sensor(
    bundle: Bundle, readings: list[float | None], wrong: object
) -> None:
    with pytest.raises(WrongSensors, match="Sensor-1"):
        score(bundle, WAFERS.head(3).assign(**{"Sensor-1": [*readings, wrong]}), 1)


def test_missing_readings_are_marked_in_the_evidence(bundle: Bundle) -> None:
    sensor = score(bundle, WAFERS, 1).evidence.of(0)[0]["sensor"]  # type: ignore[union-attr]
    evidence = score(bundle, WAFERS.assign(**{sensor: np.nan}), 1).evidence
    assert evidence is not None
    marked = [found for row in range(len(WAFERS)) for found in evidence.of(row) if found["sensor"] == sensor]
    assert marked
    assert all(found["missing"] and found["value"] is None and found["z"] is None for found in marked)


def test_healthy_ranges_look_at_passed_wafers_of_the_cluster_only() -> None:
    readings = pd.DataFrame({"a": [1.0, 2.0, 3.0, 900.0, 50.0, 50.0], "b": [np.nan] * 6})
    clusters, faulty = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 0, 0], dtype=bool)
    found = healthy_ranges(readings, clusters, faulty, 2)
    assert found.median[:, 0].tolist() == [2.0, 50.0]
    assert found.scale[:, 0] == pytest.approx([1.4826, 0.0])
    assert np.isnan(found.median[:, 1]).all()


def test_only_another_major_version_of_the_contract_is_refused(bundle: Bundle) -> None:
    bundle.check_contract("1.4", "The batch")
    with pytest.raises(ContractMismatch, match=r"The batch keeps contract 2\.0"):
        bundle.check_contract("2.0", "The batch")


def test_no_wafers_have_no_rows(bundle: Bundle) -> None:
    assert score(bundle, WAFERS.iloc[:0], 1).rows.empty

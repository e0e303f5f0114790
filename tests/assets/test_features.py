"""Preprocessing and features: what the models learn from is the table in standard deviations, row by row."""

import joblib
import numpy as np
import pandas as pd

from tests.assets.conftest import Made, Modelling
from wafer_assets.domain.preprocessing import Preprocessor
from wafer_assets.domain.table import sensor_readings


def test_the_preprocessor_knows_every_sensor_and_says_what_it_keeps(trained: Made, simulated: pd.DataFrame) -> None:
    fitted = trained.value("preprocessor")
    assert isinstance(fitted, Preprocessor)
    assert list(fitted.feature_names_in_) == list(sensor_readings(simulated))
    facts = trained.metadata("preprocessor")
    assert facts["sensors"] == facts["kept_sensors"] + facts["dropped_sensors"] == 590
    assert facts["kept_sensors"] == len(fitted.sensors_)
    assert facts["missing_indicators"] == len(fitted.indicators_)


def test_a_sensor_that_never_changes_is_dropped(modelling: Modelling, trained: Made, simulated: pd.DataFrame) -> None:
    kept = trained.value("preprocessor").sensors_[0]
    modelling.give("wafer_table", simulated.assign(**{f"Sensor-{kept + 1}": 1.0}))
    made = modelling.materialize("preprocessor")
    assert kept not in made.value("preprocessor").sensors_
    before, after = (each.metadata("preprocessor")["dropped_sensors"] for each in (trained, made))
    assert after == before + 1


def test_hyperparameters_decide_what_is_kept(modelling: Modelling, trained: Made) -> None:
    made = modelling.materialize("preprocessor", model={"max_missing": 0.95})
    assert made.metadata("preprocessor")["kept_sensors"] > trained.metadata("preprocessor")["kept_sensors"]


def test_features_are_the_preprocessed_wafers_in_the_order_of_the_table(trained: Made) -> None:
    table, features = trained.value("wafer_table"), trained.value("features")
    expected = trained.value("preprocessor").transform(sensor_readings(table))
    pd.testing.assert_frame_equal(features, expected, check_exact=True)
    assert set(features.dtypes) == {np.dtype(np.float32)}
    assert np.isfinite(features.to_numpy()).all()


def test_features_are_described_column_by_column(trained: Made) -> None:
    features, facts = trained.value("features"), trained.metadata("features")
    assert (facts["dagster/row_count"], facts["features"]) == features.shape
    assert trained.column_types("features") == dict.fromkeys(features.columns, "float32")
    assert {column.description for column in facts["dagster/column_schema"].columns} == {"standard deviations"}


def test_made_again_from_the_same_table_they_are_the_same(modelling: Modelling, trained: Made) -> None:
    again = modelling.materialize("preprocessor", "features")
    assert joblib.hash(again.value("preprocessor")) == joblib.hash(trained.value("preprocessor"))
    pd.testing.assert_frame_equal(again.value("features"), trained.value("features"), check_exact=True)


def test_their_data_versions_follow_what_they_were_made_from(trained: Made) -> None:
    for name, inputs in (("preprocessor", ["wafer_table"]), ("features", ["wafer_table", "preprocessor"])):
        for source in inputs:
            assert trained.data_version(source, as_input_of=name) == trained.data_version(source)


def test_a_sensor_with_text_is_refused_by_name(modelling: Modelling, simulated: pd.DataFrame) -> None:
    modelling.give("wafer_table", simulated.assign(**{"Sensor-7": "high"}))
    made = modelling.materialize("preprocessor")
    assert not made.run.success
    assert "Sensor-7" in made.failure


def test_features_are_not_made_by_a_preprocessor_of_other_hyperparameters(modelling: Modelling) -> None:
    made = modelling.materialize("features", model={"clip": 4.0})
    assert not made.run.success
    assert "secom/training/preprocessor was made by the training" in made.failure
    assert "under other hyperparameters" in made.failure
    assert "Start the job `train`" in made.failure

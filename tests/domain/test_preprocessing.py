import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone

from wafer_assets.domain.preprocessing import Preprocessor, WrongSensors


def readings(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(50, 3, size=(rows, 6)), columns=[f"Sensor-{i}" for i in range(1, 7)])
    table["Sensor-2"] = 7.0
    table.loc[: rows * 3 // 4, "Sensor-3"] = np.nan
    table.loc[::10, ["Sensor-4", "Sensor-5"]] = np.nan
    return table


def test_constant_and_mostly_missing_sensors_are_dropped() -> None:
    features = Preprocessor().fit_transform(readings())

    assert "Sensor-2" not in features
    assert "Sensor-3" not in features
    assert {"Sensor-1", "Sensor-4", "Sensor-5", "Sensor-6"} <= set(features)


def test_missing_readings_become_the_median_and_an_indicator_shared_by_sensors_missing_together() -> None:
    table = readings()
    preprocessor = Preprocessor().fit(table)
    features = preprocessor.transform(table)

    assert [name for name in features if name.endswith(" missing")] == ["Sensor-3 missing", "Sensor-4 missing"]
    kept = list(preprocessor.feature_names_in_[preprocessor.sensors_])
    assert preprocessor.medians_[kept.index("Sensor-4")] == table["Sensor-4"].median()
    assert features["Sensor-4"].iloc[::10].nunique() == 1
    assert (features["Sensor-4 missing"].iloc[::10] > 0).all()
    assert (features["Sensor-4 missing"].drop(range(0, 200, 10)) < 0).all()


def test_features_are_standardised_and_one_broken_reading_is_clipped() -> None:
    table = readings()
    table.loc[3, "Sensor-1"] = 1e12
    features = Preprocessor().fit_transform(table)

    assert features.loc[3, "Sensor-1"] == 5.0
    assert features["Sensor-6"].mean() == pytest.approx(0, abs=1e-5)
    assert features["Sensor-6"].std(ddof=0) == pytest.approx(1, abs=1e-5)
    assert set(features.dtypes) == {np.dtype(np.float32)}


def test_new_wafers_are_described_by_what_was_learned_not_by_themselves() -> None:
    table = readings()
    preprocessor = Preprocessor().fit(table)

    together = preprocessor.transform(table)
    alone = preprocessor.transform(table.iloc[[17]])

    pd.testing.assert_frame_equal(alone, together.iloc[[17]], check_exact=True)


def test_sensors_may_come_in_any_order() -> None:
    table = readings()
    preprocessor = Preprocessor().fit(table)

    pd.testing.assert_frame_equal(preprocessor.transform(table[table.columns[::-1]]), preprocessor.transform(table))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="Sensor-4"), "1 missing \\(Sensor-4\\)"),
        (lambda table: table.assign(Extra=1.0), "1 unknown \\(Extra\\)"),
        (lambda table: table.rename(columns={"Sensor-6": "sensor 6"}), "1 missing .Sensor-6.; 1 unknown .sensor 6."),
        (lambda table: pd.concat([table, table["Sensor-1"]], axis=1), "1 repeated \\(Sensor-1\\)"),
        (lambda table: table.to_numpy(), "found ndarray"),
        (lambda table: table.assign(**{"Sensor-1": "12,5"}), "Not numeric: Sensor-1"),
        (lambda table: table.assign(**{"Sensor-1": np.inf}), "Infinite readings in Sensor-1"),
    ],
)
def test_wrong_sensors_are_refused_by_name(change, message) -> None:  # type: ignore[no-untyped-def]
    preprocessor = Preprocessor().fit(readings())

    with pytest.raises(WrongSensors, match=message):
        preprocessor.transform(change(readings()))


def test_the_order_of_rows_in_memory_does_not_matter() -> None:
    table = readings()
    by_row = pd.DataFrame(np.ascontiguousarray(table.to_numpy()), columns=table.columns)

    pd.testing.assert_frame_equal(
        Preprocessor().fit_transform(by_row), Preprocessor().fit_transform(table), check_exact=True
    )


def test_it_can_be_cloned() -> None:
    assert clone(Preprocessor(clip=3.0)).clip == 3.0


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(2, 30), st.integers(1, 8)),
        elements=st.floats(-1e6, 1e6) | st.just(np.nan),
    )
)
def test_features_are_always_finite_and_bounded(values: np.ndarray) -> None:
    table = pd.DataFrame(values, columns=[f"Sensor-{i}" for i in range(values.shape[1])])
    features = Preprocessor(clip=4.0).fit_transform(table)

    assert np.isfinite(features.to_numpy()).all()
    assert (features.abs() <= 4.0).all(axis=None)

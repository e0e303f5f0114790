"""The simulator makes files the contract accepts, faults that can be found, and a broken file per reason."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from schemas.loader import Feed, load_schema
from wafer_assets.domain.contract import REASONS, Accepted, Refused, validate
from wafer_assets.domain.simulation import COMMISSIONED_AT, broken_batches, simulate_batches, simulate_table
from wafer_assets.domain.table import wafer_table

FEEDS: list[Feed] = ["training", "prediction"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return simulate_table(1_500, seed=3)


@pytest.mark.parametrize("feed", FEEDS)
def test_simulated_batches_are_accepted(feed: Feed) -> None:
    schema = load_schema(feed)
    batches = list(simulate_batches(8, feed=feed, seed=1))

    results = [validate(batch.name, batch.content, schema) for batch in batches]

    assert all(isinstance(result, Accepted) for result in results)
    times = [schema.batch_time(batch.name) or datetime.max for batch in batches]
    assert times == sorted(set(times))


@pytest.mark.parametrize("feed", FEEDS)
def test_small_batches_have_no_empty_column_either(feed: Feed) -> None:
    schema = load_schema(feed)
    for batch in simulate_batches(10, 2, feed=feed, seed=2):
        assert isinstance(validate(batch.name, batch.content, schema), Accepted)


def test_table_holds_what_the_files_hold(table: pd.DataFrame) -> None:
    schema = load_schema("training")
    frames = []
    for batch in simulate_batches(3, feed="training", seed=3):
        result = validate(batch.name, batch.content, schema)
        assert isinstance(result, Accepted)
        frames.append((batch.name, result.frame))

    from_files, superseded = wafer_table(frames)

    assert superseded == 0
    pd.testing.assert_frame_equal(from_files, table.head(300))


def test_same_seed_same_wafers_and_other_seed_others(table: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(simulate_table(200, seed=3), table.head(200))
    assert not simulate_table(200, seed=4).equals(table.head(200))


def test_table_has_the_traits_of_a_real_line(table: pd.DataFrame) -> None:
    schema = load_schema("training")
    readings = table[list(schema.sensors)]
    optional = table[list(schema.optional_columns)]

    assert 0.04 < table["faulty"].mean() < 0.08
    assert 0.035 < readings.isna().to_numpy().mean() < 0.055
    assert 110 <= (readings.nunique() == 1).sum() <= 120
    assert (readings.isna().mean() > 0.5).sum() >= 20
    assert optional.iloc[: COMMISSIONED_AT - 1].isna().all(axis=None)
    assert optional.iloc[COMMISSIONED_AT - 1 :].notna().any().all()


def test_causes_name_the_sensors_that_shifted() -> None:
    schema = load_schema("training")
    normal = simulate_table(2_000, seed=5, fault_rate=0.0)[list(schema.sensors)]
    mean, deviation = normal.mean(), normal.std()
    mechanisms: set[tuple[str, ...]] = set()
    for batch in simulate_batches(5, feed="training", seed=6, fault_rate=0.2):
        result = validate(batch.name, batch.content, schema)
        assert isinstance(result, Accepted)
        frame = result.frame.set_index("wafer")
        assert set(batch.causes) == set(frame.index[frame["faulty"] == 1])
        for wafer, sensors in batch.causes.items():
            shifts = (frame.loc[[wafer], list(sensors)] - mean[list(sensors)]) / deviation[list(sensors)]
            assert shifts.notna().all(axis=None)
            assert shifts.abs().to_numpy().mean() > 1
            mechanisms.add(sensors)
    assert len(mechanisms) > 2


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_broken_batches_are_refused_for_exactly_the_declared_reasons(feed: Feed, seed: int) -> None:
    schema = load_schema(feed)
    found: set[str] = set()
    names: set[str] = set()
    for batch in broken_batches(schema, seed):
        result = validate(batch.name, batch.content, schema)
        assert isinstance(result, Refused), batch.codes
        assert {reason.code for reason in result.reasons} == batch.codes
        found |= batch.codes
        assert batch.name not in names
        names.add(batch.name)

    labels = {"label_missing", "label_unknown", "label_coding", "labels_absent"}
    others = labels if feed == "prediction" else {"labels_unexpected"}
    # The shipped line declares no ranges, no context, no size of batches and no format but CSV.
    assert found == set(REASONS) - others - {"reading_invalid", "context_invalid", "batch_size", "file_malformed"}


def test_broken_batches_are_small() -> None:
    schema = load_schema("training")

    assert all(
        len(batch.content) < 50_000 for batch in broken_batches(schema, 0) if "file_too_large" not in batch.codes
    )


def test_chambers_form_clusters(table: pd.DataFrame) -> None:
    readings = table.filter(like="Sensor-").head(400)
    readings = readings.loc[:, readings.nunique() > 1].fillna(readings.median())
    scaled = ((readings - readings.mean()) / readings.std()).to_numpy()
    variances = np.linalg.eigvalsh(scaled @ scaled.T)

    # Three chambers span a plane that holds far more of the variance than any other direction.
    assert variances[-2] > 1.5 * variances[-3]

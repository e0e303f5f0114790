"""The training table: every accepted labelled wafer once, under a data version that is its content."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from resources.mongo import WaferStore
from resources.s3 import S3Store, StoredObject
from tests.assets.conftest import Made, run_line, store_batches
from tests.feeds import TRAINING
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import frame_hash
from wafer_assets.keys import landing_key
from wafer_assets.settings import Settings

FIRST, SECOND = "wafer_06012020_060700.csv", "wafer_07012020_060000.csv"


@pytest.fixture(scope="module")
def wafers() -> pd.DataFrame:
    """Twelve wafers, six in each of two batches."""
    table = simulate_table(12, seed=1, fault_rate=0.4)
    return table.assign(batch=[FIRST] * 6 + [SECOND] * 6)


def materialize(settings: Settings) -> Made:
    made = run_line(settings, ["wafer_table"])
    assert made.run.success
    return made


def test_it_holds_the_wafers_of_all_batches_in_time_order(
    settings: Settings, mongo: WaferStore, wafers: pd.DataFrame
) -> None:
    for half in (wafers[6:], wafers[:6]):  # whatever came first
        store_batches(mongo, half)
    table = materialize(settings).value("wafer_table")
    pd.testing.assert_frame_equal(table, wafers, check_exact=True)
    assert table["faulty"].dtype == np.int8
    assert set(table.dtypes[2:-1]) == {np.dtype(np.float64)}


def test_its_metadata_count_what_it_holds(settings: Settings, mongo: WaferStore, wafers: pd.DataFrame) -> None:
    store_batches(mongo, wafers)
    made = materialize(settings)
    facts = made.metadata("wafer_table")
    faulty = int(wafers["faulty"].sum())
    assert (facts["dagster/row_count"], facts["sensors"], facts["superseded_rows"]) == (12, 590, 0)
    assert (facts["faulty_wafers"], facts["fault_rate"]) == (faulty, faulty / 12)
    assert facts["missing_cells"] == pytest.approx(wafers.isna().to_numpy().mean())
    assert facts["batches"] == [FIRST, SECOND]
    types = made.column_types("wafer_table")
    assert list(types) == list(wafers)
    assert (types.pop("wafer"), types.pop("batch"), types.pop("faulty")) == ("string", "string", "int8")
    assert set(types.values()) == {"float64"}


def test_a_wafer_of_several_batches_is_that_of_the_latest(
    settings: Settings, mongo: WaferStore, wafers: pd.DataFrame
) -> None:
    later = wafers[:2].assign(batch=SECOND, faulty=(1 - wafers["faulty"][:2]).astype("int8"))
    store_batches(mongo, pd.concat([wafers[:6], later]))
    made = materialize(settings)
    table = made.value("wafer_table").set_index("wafer")
    assert table.loc[later["wafer"], "batch"].tolist() == [SECOND, SECOND]
    assert table.loc[later["wafer"], "faulty"].tolist() == later["faulty"].tolist()
    facts = made.metadata("wafer_table")
    assert (facts["dagster/row_count"], facts["superseded_rows"]) == (6, 2)


def test_its_data_version_is_the_hash_of_its_content(
    settings: Settings, mongo: WaferStore, wafers: pd.DataFrame
) -> None:
    store_batches(mongo, wafers)
    made, again = materialize(settings), materialize(settings)
    expected = frame_hash(wafers)
    for each in (made, again):
        assert each.data_version("wafer_table") == each.metadata("wafer_table")["content_hash"] == expected
    pd.testing.assert_frame_equal(made.value("wafer_table"), again.value("wafer_table"), check_exact=True)

    corrected = wafers.assign(faulty=(1 - wafers["faulty"]).astype("int8"))
    store_batches(mongo, corrected)
    assert materialize(settings).data_version("wafer_table") == frame_hash(corrected) != expected


def test_a_refused_batch_is_not_in_it_and_leaves_it(
    settings: Settings, mongo: WaferStore, wafers: pd.DataFrame
) -> None:
    store_batches(mongo, wafers)
    materialize(settings)
    source = StoredObject(landing_key(TRAINING, SECOND), 1, "other", datetime(2026, 1, 2, tzinfo=UTC))
    mongo.quarantine_batch(TRAINING, SECOND, [{"code": "file_empty", "message": "The file is empty."}], source)
    assert materialize(settings).metadata("wafer_table")["batches"] == [FIRST]


@pytest.mark.parametrize("lost", ["wafer_table.parquet", "merged.json"])
def test_what_the_lake_has_lost_of_it_is_made_again_from_the_records(
    settings: Settings, mongo: WaferStore, s3: S3Store, wafers: pd.DataFrame, lost: str
) -> None:
    store_batches(mongo, wafers)
    materialize(settings)
    s3.delete(s3.lake, f"secom/training/wafer_table/{lost}")
    pd.testing.assert_frame_equal(materialize(settings).value("wafer_table"), wafers, check_exact=True)


def test_without_an_accepted_batch_there_is_no_table(settings: Settings) -> None:
    made = run_line(settings, ["wafer_table"])
    assert not made.run.success
    assert "No batch has been accepted. Ingest batch files, or see why they were quarantined." in made.failure
    assert "secom/training/wafer_table/wafer_table.parquet" not in made.objects

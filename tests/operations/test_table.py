"""Bringing the table up to date: it is computed from the records, and stored by the step that asked for it."""

import pandas as pd
import pytest

from resources.mongo import WaferStore
from resources.s3 import S3Store
from resources.wafer_table import WaferTableStore
from schemas.lines import Sensor
from schemas.loader import BatchSchema, load_schema
from tests.assets.conftest import store_batches
from tests.feeds import LINE, TRAINING
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import EmptyTableError, frame_hash
from wafer_assets.operations.table import StaleBatchError, Superseding, superseding_batches, update_table

FIRST, SECOND = "wafer_06012020_060700.csv", "wafer_07012020_060000.csv"


def test_a_table_is_computed_with_what_it_was_made_of_and_not_stored(mongo: WaferStore, s3: S3Store) -> None:
    wafers = simulate_table(8, seed=1, fault_rate=0.4).assign(batch=[FIRST] * 4 + [SECOND] * 4)
    store_batches(mongo, wafers)
    table, new = update_table(WaferTableStore(s3, "secom"), mongo, load_schema("training"))
    pd.testing.assert_frame_equal(table.frame, wafers, check_exact=True)
    assert new == 2
    assert table.contents.content_hash == frame_hash(wafers)
    assert table.contents.batches == {item.batch: item.sha256 for item in mongo.batches(TRAINING)}
    assert s3.list_objects(s3.lake) == []


def test_without_an_accepted_batch_there_is_none(mongo: WaferStore, s3: S3Store) -> None:
    with pytest.raises(EmptyTableError) as error:
        update_table(WaferTableStore(s3, "secom"), mongo, load_schema("training"))
    assert error.value.code == "no_accepted_batches"


def test_batches_that_supersede_many_wafers_or_change_labels_are_found(mongo: WaferStore, s3: S3Store) -> None:
    wafers = simulate_table(10, seed=1, fault_rate=0.4).assign(batch=FIRST)
    store_batches(mongo, wafers)
    tables, schema = WaferTableStore(s3, "secom"), BatchSchema.of(LINE, "training")
    assert superseding_batches(update_table(tables, mongo, schema)[0].contents, mongo, TRAINING) == []

    again = wafers.head(2).assign(batch=SECOND)
    again.loc[again.index[0], "faulty"] ^= 1
    store_batches(mongo, again)
    contents = update_table(tables, mongo, schema)[0].contents

    assert superseding_batches(contents, mongo, TRAINING) == [Superseding(SECOND, 2, 2, 1)]


GROWN = LINE.model_copy(
    update={
        "contract": "1.1",
        "prediction": LINE.prediction,
        "training": LINE.training.model_copy(
            update={"columns": {**LINE.training.columns, "Sensor-591": "float"}, "number_of_columns": 593}
        ),
    }
)


def test_a_contract_that_grew_an_optional_sensor_takes_the_stored_batches_along(mongo: WaferStore, s3: S3Store) -> None:
    wafers = simulate_table(4, seed=1, fault_rate=0.4).assign(batch=FIRST)
    store_batches(mongo, wafers)
    optional = GROWN.model_copy(update={"sensors": {**LINE.sensors, "Sensor-591": Sensor(optional=True)}})
    table, _ = update_table(WaferTableStore(s3, "secom"), mongo, BatchSchema.of(optional, "training"))
    assert table.frame["Sensor-591"].isna().all()
    assert [*table.frame.columns[-2:]] == ["Sensor-591", "faulty"]


def test_a_contract_that_wants_more_than_a_stored_batch_has_names_the_batch_and_the_remedies(
    mongo: WaferStore, s3: S3Store
) -> None:
    store_batches(mongo, simulate_table(4, seed=1, fault_rate=0.4).assign(batch=FIRST))
    with pytest.raises(StaleBatchError) as error:
        update_table(WaferTableStore(s3, "secom"), mongo, BatchSchema.of(GROWN, "training"))
    assert error.value.code == "stale_batch"
    for words in (
        FIRST,
        "contract 1.0",
        "contract 1.1",
        "Sensor-591",
        "`wafer ingest --line secom --from",
        "line.yaml",
    ):
        assert words in str(error.value)


def test_wafers_come_in_the_order_that_the_line_declares(mongo: WaferStore, s3: S3Store) -> None:
    store_batches(mongo, simulate_table(4, seed=1, fault_rate=0.4).assign(batch=[SECOND, SECOND, FIRST, FIRST]))
    by_stamp = BatchSchema.of(LINE.model_copy(update={"order": "batch_stamp"}), "training")
    table, _ = update_table(WaferTableStore(s3, "secom"), mongo, by_stamp)
    assert table.frame["batch"].tolist() == [FIRST, FIRST, SECOND, SECOND]

"""Bringing the table up to date: it is computed from the records, and stored by the step that asked for it."""

import pandas as pd
import pytest

from resources.mongo import WaferStore
from resources.s3 import S3Store
from resources.wafer_table import WaferTableStore
from schemas.loader import load_schema
from tests.assets.conftest import store_batches
from tests.feeds import TRAINING
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import EmptyTableError, frame_hash
from wafer_assets.operations.table import update_table

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

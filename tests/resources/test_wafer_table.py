"""The store of the wafer table: a table is read only beside what it was made of."""

import dagster as dg
import pandas as pd
import pytest

from resources.s3 import S3Store
from resources.wafer_table import TableContents, WaferTable, WaferTableStore, table_key
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import frame_hash

FRAME = simulate_table(4, seed=1)
TABLE = WaferTable(FRAME, TableContents(content_hash=frame_hash(FRAME), batches={"a.csv": "abc"}, superseded=2))


def store(s3: S3Store, value: object) -> None:
    """Let a step store a value as the wafer table."""

    @dg.asset(key_prefix=["secom", "training"], io_manager_key="tables")
    def wafer_table() -> object:
        return value

    dg.materialize([wafer_table], resources={"tables": WaferTableStore(s3, "secom")})


def test_before_the_first_table_there_is_none_of_nothing(s3: S3Store) -> None:
    tables = WaferTableStore(s3, "secom")
    assert tables.latest() == TableContents()
    assert tables.read(tables.latest()) is None


def test_a_stored_table_comes_back_with_what_it_was_made_of(s3: S3Store) -> None:
    store(s3, TABLE)
    tables = WaferTableStore(s3, "secom")
    assert tables.latest() == TABLE.contents
    found = tables.read(tables.latest())
    assert found is not None
    pd.testing.assert_frame_equal(found, FRAME, check_exact=True)


def test_a_table_that_its_contents_do_not_tell_of_is_not_read(s3: S3Store) -> None:
    store(s3, TABLE)
    tables, before = WaferTableStore(s3, "secom"), TABLE.contents
    other = FRAME.assign(faulty=1 - FRAME["faulty"])
    s3.put(s3.lake, table_key("secom"), tables.encode(other))  # as by a run that was killed between the two writes
    assert tables.latest() == before
    assert tables.read(before) is None


def test_contents_whose_table_is_lost_are_those_of_no_table(s3: S3Store) -> None:
    store(s3, TABLE)
    s3.delete(s3.lake, table_key("secom"))
    tables = WaferTableStore(s3, "secom")
    assert tables.read(tables.latest()) is None
    s3.delete(s3.lake, "secom/training/wafer_table/merged.json")
    assert tables.latest() == TableContents()


def test_a_frame_without_what_it_was_made_of_is_refused(s3: S3Store) -> None:
    with pytest.raises(TypeError, match="A wafer table is wanted, not DataFrame"):
        store(s3, FRAME)
    assert s3.list_objects(s3.lake) == []

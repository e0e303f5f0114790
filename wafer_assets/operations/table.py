"""Bringing the wafer table up to date: what the last one holds is not read again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resources.mongo import WaferStore
from resources.wafer_table import TableContents, WaferTable, WaferTableStore
from schemas.loader import BatchSchema

if TYPE_CHECKING:
    import pandas as pd


def update_table(tables: WaferTableStore, wafers: WaferStore, schema: BatchSchema) -> tuple[WaferTable, int]:
    """Merge the records of all accepted batches of a training feed, batch by batch.

    Parameters
    ----------
    tables, wafers
        Where the last table and the records are.
    schema
        The feed's contract, which says how wafers are ordered in time.

    Returns
    -------
    table
        Not stored yet.
    new
        Number of batches that were read for it; the others are those of the last table.

    Raises
    ------
    EmptyTableError
        No batch is accepted.
    """
    from wafer_assets.domain.table import frame_hash
    from wafer_assets.domain.table import wafer_table as merge

    feed, last = schema.line_feed, tables.latest()
    accepted = {item.batch: item.sha256 for item in wafers.batches(feed, "accepted")}
    # Where a batch was replaced or left, what it had superseded is in no table.
    grows = bool(last.batches) and last.batches.items() <= accepted.items()
    base = tables.read(last) if grows else None
    if base is None:
        last = TableContents()
    read: dict[str, str] = {}

    def new_batches() -> "Iterator[tuple[str, pd.DataFrame]]":
        for manifest, frame in wafers.read_batches(feed, without=last.batches):
            read[manifest.batch] = str(manifest.sha256)
            yield manifest.batch, frame

    frame, superseded = merge(new_batches(), base, order=schema.order, time_of=schema.batch_time)
    del base  # a large table twice is enough
    contents = TableContents(
        content_hash=frame_hash(frame), batches=last.batches | read, superseded=last.superseded + superseded
    )
    return WaferTable(frame, contents), len(read)

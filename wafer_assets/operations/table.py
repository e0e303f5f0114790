"""Bringing the wafer table up to date: what the last one holds is not read again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resources.mongo import BatchManifest, WaferStore
from resources.wafer_table import TableContents, WaferTable, WaferTableStore
from schemas.loader import BatchSchema

if TYPE_CHECKING:
    import pandas as pd


class StaleBatchError(RuntimeError):
    """A stored batch does not keep the contract of today, and nothing but another look at its file can tell."""

    code = "stale_batch"


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
    StaleBatchError
        A batch was stored before the contract got a sensor that every file must have.
    """
    from wafer_assets.domain.table import frame_hash, sensor_names
    from wafer_assets.domain.table import wafer_table as merge

    feed, last = schema.line_feed, tables.latest()
    accepted = {item.batch: item.sha256 for item in wafers.batches(feed, "accepted")}
    # Where a batch was replaced or left, what it had superseded is in no table.
    grows = bool(last.batches) and last.batches.items() <= accepted.items()
    base = tables.read(last) if grows else None
    if base is None or sensor_names(base) != [*schema.sensors]:
        base, last = None, TableContents()
    read: dict[str, str] = {}

    def new_batches() -> "Iterator[tuple[str, pd.DataFrame]]":
        for manifest, frame in wafers.read_batches(feed, without=last.batches):
            read[manifest.batch] = str(manifest.sha256)
            yield manifest.batch, _of_this_contract(manifest, frame, schema)

    frame, superseded = merge(new_batches(), base, order=schema.order, time_of=schema.batch_time)
    del base  # a large table twice is enough
    contents = TableContents(
        content_hash=frame_hash(frame), batches=last.batches | read, superseded=last.superseded + superseded
    )
    return WaferTable(frame, contents), len(read)


def _of_this_contract(manifest: BatchManifest, frame: "pd.DataFrame", schema: BatchSchema) -> "pd.DataFrame":
    """Return the wafers of a batch with the sensors of the present contract."""
    from wafer_assets.domain.table import ContractGrewError, aligned

    try:
        return aligned(frame, schema.sensors, schema.optional_columns)
    except ContractGrewError as error:
        raise StaleBatchError(
            f"The batch {manifest.batch} keeps contract {manifest.contract_version}, and contract "
            f"{schema.contract_version} holds: {error}. Declare them optional in {schema.line}/line.yaml, or ask the "
            f"sender for a file that has them, and then ingest it again: `wafer ingest --line {schema.line} --from "
            f"{manifest.batch} --to {manifest.batch}`."
        ) from error

"""Bringing the wafer table up to date: what the last one holds is not read again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.mongo import BatchManifest, WaferStore
from resources.wafer_table import TableContents, WaferTable, WaferTableStore
from schemas.lines import LineFeed
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
    from wafer_assets.domain.table import Overlap, frame_hash, sensor_names
    from wafer_assets.domain.table import wafer_table as merge

    feed, last = schema.line_feed, tables.latest()
    accepted = {item.batch: item.sha256 for item in wafers.batches(feed, "accepted")}
    # Where a batch was replaced or left, what it had superseded is in no table.
    grows = bool(last.batches) and last.batches.items() <= accepted.items()
    base = tables.read(last) if grows else None
    if base is None or sensor_names(base) != [*schema.sensors]:
        base, last = None, TableContents()
    read: dict[str, str] = {}
    overlaps = {batch: Overlap(*overlap) for batch, overlap in last.overlaps.items()}

    def new_batches() -> "Iterator[tuple[str, pd.DataFrame]]":
        for manifest, frame in wafers.read_batches(feed, without=last.batches):
            read[manifest.batch] = str(manifest.sha256)
            yield manifest.batch, _of_this_contract(manifest, frame, schema)

    frame, superseded = merge(new_batches(), base, order=schema.order, time_of=schema.batch_time, overlaps=overlaps)
    del base  # a large table twice is enough
    contents = TableContents(
        content_hash=frame_hash(frame),
        batches=last.batches | read,
        superseded=last.superseded + superseded,
        overlaps=dict(overlaps),
    )
    return WaferTable(frame, contents), len(read)


SUPERSEDING_SHARE = 0.2
"""A batch of which more than this share of the wafers are those of other batches probably has no ids of its own."""


@dataclass(frozen=True, slots=True)
class Superseding:
    """A batch that supersedes more of other batches than a correction does.

    Attributes
    ----------
    batch
        Its name.
    wafers
        How many it holds.
    superseded
        How many of these earlier batches hold too.
    relabelled
        To how many of these it gives another label.
    """

    batch: str
    wafers: int
    superseded: int
    relabelled: int


def superseding_batches(contents: TableContents, wafers: WaferStore, feed: LineFeed) -> list[Superseding]:
    """Return the batches that people should look at: they supersede many wafers, or change labels of known ones."""
    sizes = {item.batch: item.wafers for item in wafers.batches(feed, "accepted")} if contents.overlaps else {}
    return [
        Superseding(batch, sizes.get(batch, superseded), superseded, relabelled)
        for batch, (superseded, relabelled) in sorted(contents.overlaps.items())
        if relabelled or superseded > SUPERSEDING_SHARE * sizes.get(batch, superseded)
    ]


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

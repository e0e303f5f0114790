"""Bringing the wafer table up to date: what the last one holds is not read again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.mongo import WaferStore
from resources.wafer_table import TableContents, WaferTable, WaferTableStore

if TYPE_CHECKING:
    import pandas as pd


def update_table(tables: WaferTableStore, wafers: WaferStore) -> tuple[WaferTable, int]:
    """Merge the records of all accepted labelled batches, batch by batch.

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
    from wafer_assets.domain.table import Overlap, frame_hash
    from wafer_assets.domain.table import wafer_table as merge

    last = tables.latest()
    accepted = {item.batch: item.sha256 for item in wafers.batches("training", "accepted")}
    # Where a batch was replaced or left, what it had superseded is in no table.
    grows = bool(last.batches) and last.batches.items() <= accepted.items()
    base = tables.read(last) if grows else None
    if base is None:
        last = TableContents()
    read: dict[str, str] = {}
    overlaps = {batch: Overlap(*overlap) for batch, overlap in last.overlaps.items()}

    def new_batches() -> "Iterator[tuple[str, pd.DataFrame]]":
        for manifest, frame in wafers.read_batches("training", without=last.batches):
            read[manifest.batch] = str(manifest.sha256)
            yield manifest.batch, frame

    frame, superseded = merge(new_batches(), base, overlaps=overlaps)
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


def superseding_batches(contents: TableContents, wafers: WaferStore) -> list[Superseding]:
    """Return the batches that people should look at: they supersede many wafers, or change labels of known ones."""
    sizes = {item.batch: item.wafers for item in wafers.batches("training", "accepted")} if contents.overlaps else {}
    return [
        Superseding(batch, sizes.get(batch, superseded), superseded, relabelled)
        for batch, (superseded, relabelled) in sorted(contents.overlaps.items())
        if relabelled or superseded > SUPERSEDING_SHARE * sizes.get(batch, superseded)
    ]

"""Which partitions a run takes: as few ranges as possible, for a run describes its partitions by one range."""

from collections.abc import Container, Iterable
from dataclasses import dataclass

import dagster as dg

from schemas.lines import LineFeed
from wafer_assets.partitions import partitions_name


class UnknownBatchError(LookupError):
    """A feed knows no batch of that name."""

    code = "unknown_batch"

    def __init__(self, feed: LineFeed, batch: str) -> None:
        super().__init__(f"the feed {feed} knows no batch {batch!r}.")
        self.batch = batch


class EmptyRangeError(ValueError):
    """A range of batches has no batch, because its first came after its last."""

    code = "empty_range"


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """A range of partitions, both ends included."""

    first: str
    last: str

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a run over the range."""
        return {
            "dagster/asset_partition_range_start": self.first,
            "dagster/asset_partition_range_end": self.last,
        }


def partition_ranges(keys: Iterable[str], wanted: Iterable[str], between: Container[str] = ()) -> list[PartitionRange]:
    """Return the fewest ranges that hold all the wanted keys and no others but those that may come between.

    Parameters
    ----------
    keys
        All known keys, in their order.
    wanted
        Keys that the ranges must hold; those that are not known are left out.
    between
        Keys that a range may hold as well.
    """
    chosen, ranges, first, last = set(wanted), [], None, None
    for key in keys:
        if key in chosen:
            first, last = first or key, key
        elif first and last and key not in between:
            ranges.append(PartitionRange(first, last))
            first = None
    if first and last:
        ranges.append(PartitionRange(first, last))
    return ranges


def known_batches(instance: dg.DagsterInstance, feed: LineFeed) -> list[str]:
    """Return the batches of a feed that Dagster was ever told of, in the order of their arrival."""
    return list(instance.get_dynamic_partitions(partitions_name(feed)))


def batch_ranges(
    instance: dg.DagsterInstance, feed: LineFeed, batches: Iterable[str], between: Container[str] = ()
) -> list[PartitionRange]:
    """Return the ranges of a feed that runs over some of its batches take; see `partition_ranges`."""
    return partition_ranges(known_batches(instance, feed), batches, between)


def range_between(
    instance: dg.DagsterInstance, feed: LineFeed, first: str | None, last: str | None
) -> PartitionRange | None:
    """Return all known batches from one to another one; without them, from the first and to the last of all.

    Returns
    -------
    PartitionRange or None
        None where the feed knows no batch yet.

    Raises
    ------
    UnknownBatchError
        The feed knows no such batch.
    EmptyRangeError
        `first` came after `last`.
    """
    keys = known_batches(instance, feed)
    for batch in (first, last):
        if batch is not None and batch not in keys:
            raise UnknownBatchError(feed, batch)
    chosen = keys[keys.index(first) if first else 0 : keys.index(last) + 1 if last else None]
    if not keys:
        return None
    if not chosen:
        raise EmptyRangeError(f"{first!r} came after {last!r}.")
    return PartitionRange(chosen[0], chosen[-1])

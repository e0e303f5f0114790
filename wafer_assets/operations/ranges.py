"""Which partitions a run takes: as few ranges as possible, for a run describes its partitions by one range."""

from collections.abc import Iterable
from dataclasses import dataclass


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


def partition_ranges(all_keys: Iterable[str], wanted: Iterable[str]) -> list[PartitionRange]:
    """Return the fewest ranges over all known keys, in their order, that hold just the wanted ones."""
    chosen, ranges, first, last = set(wanted), [], None, None
    for key in all_keys:
        if key in chosen:
            first, last = first or key, key
        elif first and last:
            ranges.append(PartitionRange(first, last))
            first = None
    if first and last:
        ranges.append(PartitionRange(first, last))
    return ranges

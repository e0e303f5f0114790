"""Files in the landing bucket: what is new, telling Dagster of it, and what waits to be scored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from resources.mongo import BatchManifest
from resources.predictions import ScoredBatch
from resources.s3 import StoredObject
from schemas.loader import Line
from wafer_assets.partitions import BATCHES, batch_key


def changed_batches(line: Line, listing: Iterable[StoredObject], known: Mapping[str, str]) -> dict[str, StoredObject]:
    """Return the objects of a line whose content is not known yet, by batch, oldest first.

    Parameters
    ----------
    listing
        All objects of the landing bucket, or those of the line.
    known
        Last known ETag of each batch.
    """
    found = {
        batch_key(item.key.removeprefix(f"{line}/")): item
        for item in sorted(listing, key=lambda item: (item.last_modified, item.key))
        if item.key.startswith(f"{line}/")
    }
    return {batch: item for batch, item in found.items() if known.get(batch) != item.etag}


def report_raw_batches(
    instance: dg.DagsterInstance, line: Line, bucket: str, found: Mapping[str, StoredObject]
) -> None:
    """Register the partitions of landed files and report their materializations."""
    instance.add_dynamic_partitions(str(BATCHES[line].name), list(found))
    for batch, item in found.items():
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                dg.AssetKey([line, "raw_batches"]),
                partition=batch,
                metadata={
                    "uri": dg.MetadataValue.path(f"s3://{bucket}/{item.key}"),
                    "size_bytes": item.size,
                    "etag": item.etag,
                    "last_modified": dg.MetadataValue.timestamp(item.last_modified),
                },
                tags={"dagster/data_version": item.etag},
            )
        )


def waiting_batches(accepted: Iterable[BatchManifest], scored: Mapping[str, ScoredBatch]) -> list[str]:
    """Return the accepted batches whose present content no bundle has scored."""
    return [item.batch for item in accepted if item.batch not in scored or scored[item.batch].sha256 != item.sha256]


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

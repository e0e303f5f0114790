"""Files in the landing bucket: what is new, changed or gone, telling Dagster of it, and what waits to be scored."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from resources.adapters.dagster import latest_tag_by_partition
from resources.mongo import BatchManifest
from resources.predictions import ScoredBatch
from resources.s3 import StoredObject
from schemas.loader import Line
from wafer_assets.partitions import BATCHES, batch_key

DATA_VERSION = "dagster/data_version"
LONGEST_PAUSE = 24 * 3_600.0
"""Seconds after which a file without outcome is reported again at the latest."""


def landed_batches(line: Line, listing: Iterable[StoredObject]) -> dict[str, StoredObject]:
    """Return the objects of a line, by batch, oldest first; the listing may hold those of other lines."""
    return {
        batch_key(item.key.removeprefix(f"{line}/")): item
        for item in sorted(listing, key=lambda item: (item.last_modified, item.key))
        if item.key.startswith(f"{line}/")
    }


def changed_batches(line: Line, listing: Iterable[StoredObject], known: Mapping[str, str]) -> dict[str, StoredObject]:
    """Return the objects of a line whose content is not known yet, by batch, oldest first.

    Parameters
    ----------
    listing
        All objects of the landing bucket, or those of the line.
    known
        Last known ETag of each batch.
    """
    return unknown_versions(landed_batches(line, listing), known)


def unknown_versions(landed: Mapping[str, StoredObject], known: Mapping[str, str]) -> dict[str, StoredObject]:
    """Return the landed batches whose ETag is not the last known one."""
    return {batch: item for batch, item in landed.items() if known.get(batch) != item.etag}


@dataclass(frozen=True, slots=True)
class ReportedFile:
    """What Dagster was last told of a file.

    Attributes
    ----------
    etag
        Of the version that was reported last.
    vanished
        Whether it was reported to be gone since.
    event
        Storage id of the report, which grows with every event, whatever the clock does.
    """

    etag: str
    vanished: bool
    event: int


def reported_files(instance: dg.DagsterInstance, line: Line) -> dict[str, ReportedFile]:
    """Return what Dagster was last told of every file of a line, by batch."""
    key = dg.AssetKey([line, "raw_batches"])
    landed = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    gone = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_OBSERVATION)
    versions = latest_tag_by_partition(instance, key, DATA_VERSION)
    return {
        batch: ReportedFile(versions.get(batch, ""), gone.get(batch, 0) > event, event)
        for batch, event in landed.items()
    }


def vanished_batches(landed: Container[str], reported: Mapping[str, ReportedFile]) -> list[str]:
    """Return the batches whose file has left the landing bucket since they were reported."""
    return [batch for batch, file in reported.items() if not file.vanished and batch not in landed]


def settled_batches(
    instance: dg.DagsterInstance, line: Line, reported: Mapping[str, ReportedFile], outcomes: Mapping[str, str]
) -> dict[str, str]:
    """Return the outcomes that Dagster was told of after the file: what a killed run stored may lack the telling.

    Parameters
    ----------
    outcomes
        ETag of the file behind each batch's outcome.
    """
    told = instance.get_latest_storage_id_by_partition(
        dg.AssetKey([line, "wafer_records"]), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    return {
        batch: etag
        for batch, etag in outcomes.items()
        if batch in reported and told.get(batch, 0) > reported[batch].event
    }


def overdue_batches(
    reported: Mapping[str, ReportedFile],
    settled: Mapping[str, str],
    until: float,
    given_up: Container[tuple[str, str]] = (),
) -> list[str]:
    """Return the batches that were reported up to the event `until` and have no outcome for that version, oldest first.

    Parameters
    ----------
    given_up
        Batches, each with the ETag of the version that cannot be stored.
    """
    overdue = [
        batch
        for batch, file in reported.items()
        if not file.vanished
        and file.event <= until
        and settled.get(batch) != file.etag
        and (batch, file.etag) not in given_up
    ]
    return sorted(overdue, key=lambda batch: reported[batch].event)


def due_batches(
    instance: dg.DagsterInstance, line: Line, overdue: Iterable[str], now: float, pause: float
) -> list[str]:
    """Return the batches whose pause since their last report is over.

    Parameters
    ----------
    overdue
        Batches that were reported.
    now, pause
        The time, and the pause after the first report of a version; later ones are twice as long as the one before,
        up to `LONGEST_PAUSE`. All in seconds.
    """
    due = []
    for batch in overdue:
        latest, *before = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey([line, "raw_batches"]), asset_partitions=[batch]), limit=2
        ).records
        same = [record for record in before if _data_version(record) == _data_version(latest)]
        passed = abs(latest.timestamp - same[0].timestamp) if same else 0
        since = now - latest.timestamp
        # Less than nothing: the clock was put back, and nobody knows how long it is.
        if since < 0 or since >= max(pause, min(2 * passed, LONGEST_PAUSE)):
            due.append(batch)
    return due


def _data_version(record: dg.EventLogRecord) -> str | None:
    event = record.asset_materialization
    return (event.tags or {}).get(DATA_VERSION) if event else None


def report_vanished(instance: dg.DagsterInstance, line: Line, batches: Iterable[str]) -> None:
    """Tell Dagster that files have left the landing bucket; what became of the batches stays."""
    for batch in batches:
        instance.report_runless_asset_event(
            dg.AssetObservation(
                dg.AssetKey([line, "raw_batches"]),
                partition=batch,
                description="The file has left the landing bucket. What was ingested from it stays.",
                metadata={"vanished": True},
            )
        )


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
                tags={DATA_VERSION: item.etag},
            )
        )


def waiting_batches(known: Iterable[BatchManifest], scored: Mapping[str, ScoredBatch]) -> list[str]:
    """Return the batches whose predictions are not those of their present content, which has none if refused."""
    return [
        item.batch for item in known if (scored[item.batch].sha256 if item.batch in scored else None) != item.sha256
    ]

"""Files in the landing bucket: putting them there, what is new, changed or gone, and telling Dagster of it.

What becomes of a file is `wafer_assets.operations.ingestion`'s.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

import dagster as dg

from resources.adapters.dagster import latest_tag_by_partition
from resources.mongo import WaferStore
from resources.s3 import S3Store, StoredObject, require_plain_key
from schemas.lines import LineFeed
from wafer_assets.keys import DATA_VERSION, feed_key, landing_folder, landing_key, quarantine_folder
from wafer_assets.operations.backlog import stored_outcomes
from wafer_assets.operations.ranges import PartitionRange, batch_ranges
from wafer_assets.partitions import batch_key, batch_name, partitions_name

LONGEST_PAUSE = 24 * 3_600.0
"""Seconds after which a file without outcome is reported again at the latest."""

_PART_SIZE = 8 << 20  # bytes of a part of a multipart upload, as boto3 makes them


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return files as they are, and of folders the files in them, by name."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [file for file in files if file.is_file()]


class SameNameError(ValueError):
    """Two different files have one name, so that one would replace the other."""

    code = "two_files_of_one_name"


def require_own_names(files: Sequence[Path]) -> None:
    """Refuse different files of one name.

    Raises
    ------
    SameNameError
        There are some.
    """
    first: dict[str, Path] = {}
    for file in files:
        other = first.setdefault(file.name, file)
        if other != file and _etag(other) != _etag(file):
            raise SameNameError(
                f"Two different files have the name {file.name!r}, and one would replace the other: {str(other)!r} and "
                f"{str(file)!r}. Give each its own time stamp."
            )


def upload(s3: S3Store, feed: LineFeed, files: Sequence[Path]) -> Iterator[bool]:
    """Drop files into the landing bucket; yield for each whether it was sent, or was there with that content.

    Raises
    ------
    SameNameError
        Two different files have one name; nothing was sent.
    """
    require_own_names(files)
    keys = [landing_key(feed, file.name) for file in files]
    for key in keys:
        require_plain_key(key)  # all or none
    there = {item.key: item.etag for item in s3.list_objects(s3.landing, landing_folder(feed))}
    for key, file in zip(keys, files, strict=True):
        etag = _etag(file)
        differs = there.get(key) != etag
        there[key] = etag
        if differs:
            with file.open("rb") as content:
                s3.upload(s3.landing, key, content)
        yield differs


def _etag(file: Path) -> str:
    """Return the ETag that S3 gives an upload of boto3: the MD5 of the content, or of its parts' MD5s."""
    with file.open("rb") as content:
        parts = [md5(part, usedforsecurity=False) for part in iter(lambda: content.read(_PART_SIZE), b"")]
    if file.stat().st_size < _PART_SIZE:
        return parts[0].hexdigest() if parts else md5(usedforsecurity=False).hexdigest()
    whole = md5(b"".join(part.digest() for part in parts), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"


def restore_quarantined(feed: LineFeed, batches: Iterable[str], s3: S3Store) -> list[str]:
    """Put the kept copies of quarantined files back where they landed, unless something is there; return which."""
    there = {item.key for item in s3.list_objects(s3.landing, landing_folder(feed))}
    restored = []
    for batch in batches:
        key = landing_key(feed, batch_name(batch))
        if key not in there:
            s3.copy(s3.lake, f"{quarantine_folder(feed, batch)}{batch}", s3.landing, key)
            restored.append(batch)
    return restored


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


def reported_files(instance: dg.DagsterInstance, feed: LineFeed) -> dict[str, ReportedFile]:
    """Return what Dagster was last told of every file of a feed, by batch."""
    key = feed_key(feed, "raw_batches")
    landed = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    vanished = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_OBSERVATION)
    versions = latest_tag_by_partition(instance, key, DATA_VERSION)
    return {
        batch: ReportedFile(versions.get(batch, ""), vanished.get(batch, 0) > event, event)
        for batch, event in landed.items()
    }


@dataclass(frozen=True, slots=True)
class Tick:
    """What a look at the landing bucket finds, by batch, oldest first.

    Attributes
    ----------
    changed
        Files that are new, or have other content than the one that was reported.
    vanished
        Batches whose file has left the landing bucket since it was reported.
    waiting
        Files that were reported and have no outcome; empty where nobody looked for them.
    """

    changed: dict[str, StoredObject]
    vanished: list[str]
    waiting: dict[str, StoredObject]


def plan_tick(
    feed: LineFeed,
    listing: Iterable[StoredObject],
    reported: Mapping[str, ReportedFile],
    settled: Mapping[str, str] | None = None,
    *,
    until: float = float("inf"),
    given_up: Container[tuple[str, str]] = (),
) -> Tick:
    """Compare the landing bucket with what Dagster was told of it.

    Parameters
    ----------
    feed
        Whose files are looked at.
    listing
        All objects of the landing bucket, or those of the feed.
    reported
        What Dagster was last told of every file.
    settled
        ETag of the file behind each batch's outcome, of those that Dagster knows; None does not look for files that
        wait.
    until
        Event up to which a file must have been reported to wait.
    given_up
        Batches, each with the ETag of the version that cannot be stored: they do not wait.
    """
    folder = landing_folder(feed)
    landed = {
        batch_key(item.key.removeprefix(folder)): item
        for item in sorted(listing, key=lambda item: (item.last_modified, item.key))
        if item.key.startswith(folder)
    }
    known = {batch: file.etag for batch, file in reported.items() if not file.vanished}
    changed = {batch: item for batch, item in landed.items() if known.get(batch) != item.etag}
    waiting = [
        batch
        for batch, etag in known.items()
        if settled is not None
        and batch in landed
        and batch not in changed
        and reported[batch].event <= until
        and settled.get(batch) != etag
        and (batch, etag) not in given_up
    ]
    return Tick(
        changed,
        [batch for batch in known if batch not in landed],
        {batch: landed[batch] for batch in sorted(waiting, key=lambda batch: reported[batch].event)},
    )


def take_up(
    instance: dg.DagsterInstance, feed: LineFeed, s3: S3Store, wafers: WaferStore, *, everything: bool = False
) -> list[PartitionRange]:
    """Tell Dagster of files that are new, changed or without outcome; return the ranges of batches to ingest.

    Parameters
    ----------
    instance
        Is told.
    feed
        Whose files are taken up.
    s3, wafers
        Where files land, and where their outcomes are.
    everything
        Take up all files, whatever became of them.
    """
    reported = {} if everything else reported_files(instance, feed)
    settled = settled_batches(instance, feed, reported, stored_outcomes(feed, wafers, s3)) if reported else {}
    tick = plan_tick(feed, s3.list_objects(s3.landing, landing_folder(feed)), reported, settled)
    # Whatever was reported meanwhile, a file whose outcome is there needs none.
    files = {batch: item for batch, item in (tick.changed | tick.waiting).items() if settled.get(batch) != item.etag}
    report_raw_batches(instance, feed, s3.landing, files)
    return batch_ranges(instance, feed, files)


def settled_batches(
    instance: dg.DagsterInstance, feed: LineFeed, reported: Mapping[str, ReportedFile], outcomes: Mapping[str, str]
) -> dict[str, str]:
    """Return the outcomes that Dagster was told of after the file: what a killed run stored may lack the telling.

    Parameters
    ----------
    instance
        Knows when it was told of files and outcomes.
    feed
        Of the batches.
    reported
        What Dagster was last told of every file.
    outcomes
        ETag of the file behind each batch's outcome.
    """
    stored = instance.get_latest_storage_id_by_partition(
        feed_key(feed, "wafer_records"), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    return {
        batch: etag
        for batch, etag in outcomes.items()
        if batch in reported and stored.get(batch, 0) > reported[batch].event
    }


def due_batches(
    instance: dg.DagsterInstance, feed: LineFeed, overdue: Iterable[str], now: float, pause: float
) -> list[str]:
    """Return the batches whose pause since their last report is over.

    Parameters
    ----------
    instance
        Knows when files were reported.
    feed
        Of the batches.
    overdue
        Batches that were reported.
    now, pause
        The time, and the pause after the first report of a version; later ones are twice as long as the one before,
        up to `LONGEST_PAUSE`. All in seconds.
    """
    due = []
    for batch in overdue:
        latest, *before = instance.fetch_materializations(
            dg.AssetRecordsFilter(feed_key(feed, "raw_batches"), asset_partitions=[batch]), limit=2
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


def report_vanished(instance: dg.DagsterInstance, feed: LineFeed, batches: Iterable[str]) -> None:
    """Tell Dagster that files have left the landing bucket; what became of the batches stays."""
    for batch in batches:
        instance.report_runless_asset_event(
            dg.AssetObservation(
                feed_key(feed, "raw_batches"),
                partition=batch,
                description="The file has left the landing bucket. What was ingested from it stays.",
                metadata={"vanished": True},
            )
        )


def report_raw_batches(
    instance: dg.DagsterInstance, feed: LineFeed, bucket: str, files: Mapping[str, StoredObject]
) -> None:
    """Register the partitions of landed files and report their materializations."""
    instance.add_dynamic_partitions(partitions_name(feed), list(files))
    for batch, item in files.items():
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                feed_key(feed, "raw_batches"),
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

"""Ingestion: a landed batch file becomes records in MongoDB, or goes to quarantine with its reasons.

A batch is either accepted with all its wafers, or refused or held with all its reasons, and nothing in between. One
that is held keeps the contract and contradicts what the line has seen: a person releases it, or sees to another file.
What the contract says of a file is in `wafer_assets.domain.contract`, what Dagster is told in
`wafer_assets.assets.batches`.
"""

import io
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
import pyarrow
import pyarrow.csv

from resources.mongo import BatchFailure, BatchManifest, BatchStatus, WaferStore
from resources.s3 import InvalidKeyError, ObjectChangedError, ObjectNotFoundError, S3Store, StoredObject
from resources.store_errors import in_short, is_outage, unless_replaced
from schemas.loader import BatchSchema
from wafer_assets.domain.contract import Accepted, History, Reason, check_object, find_holds, validate
from wafer_assets.domain.table import frame_hash, sensor_readings
from wafer_assets.keys import landing_key, quarantine_folder, validated_key
from wafer_assets.partitions import batch_name

CODE_VERSION = "2"
WORKERS = 2  # batches at a time


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch file.

    Attributes
    ----------
    manifest
        As it is stored.
    reasons
        Why the file was refused or held; none of an accepted one.
    warnings
        What somebody should look at in an accepted one.
    """

    manifest: BatchManifest
    reasons: Sequence[Reason] = ()
    warnings: Sequence[Reason] = ()


class BatchFailedError(RuntimeError):
    """A batch cannot be stored, though its file and all servers are there: what it was before, it still is."""

    code = "batch_failed"

    def __init__(self, etag: str, reason: str) -> None:
        super().__init__(reason)
        self.etag = etag


def ingestion_version(schema: BatchSchema) -> str:
    """Return the version of what decides on a file and stores it: this code and the line's contract."""
    return f"{CODE_VERSION}, contract {schema.contract_version}"


def ingest_batches(
    schema: BatchSchema, batches: Sequence[str], s3: S3Store, wafers: WaferStore
) -> Iterator[tuple[str, BatchOutcome | Exception]]:
    """Yield every batch, in order, with what became of it, or why it alone has no outcome; an outage is raised."""
    # Of before the run, so that no batch's verdict depends on which of the run's others came first.
    accepted = _accepted(schema, wafers)

    def ingest(batch: str) -> BatchOutcome | Exception:
        try:
            return ingest_batch(schema, batch, s3, wafers, accepted)
        except BatchFailedError as error:
            wafers.note_failure(
                BatchFailure(
                    line=schema.line,
                    feed=schema.feed,
                    batch=batch,
                    etag=error.etag,
                    code_version=ingestion_version(schema),
                    reason=str(error),
                    failed_at=datetime.now(UTC),
                )
            )
            return error
        except (ObjectNotFoundError, ObjectChangedError) as error:
            return error
        except Exception as error:
            error.add_note(f"This happened to the batch {batch!r}.")  # servers do not say what they were asked for
            raise

    # One batch waits for the servers while the other is validated, and Dagster writes its events meanwhile.
    with ThreadPoolExecutor(WORKERS) as pool:
        begun: deque[tuple[str, Future[BatchOutcome | Exception]]] = deque()
        for batch in batches:
            begun.append((batch, pool.submit(ingest, batch)))
            # What is stored before Dagster is told of it has to be done again where a run is killed.
            if len(begun) > 2 * WORKERS:
                name, future = begun.popleft()
                yield name, future.result()
        for name, future in begun:
            yield name, future.result()


def ingest_batch(
    schema: BatchSchema,
    batch: str,
    s3: S3Store,
    wafers: WaferStore,
    accepted: Sequence[BatchManifest] | None = None,
) -> BatchOutcome:
    """Ingest one batch file: store its wafers, or quarantine or hold it with its reasons.

    Ingesting a batch again replaces what the first time left, whichever way the two were decided.

    Parameters
    ----------
    schema, batch, s3, wafers
        The contract, the batch, and the stores.
    accepted
        The line's accepted batches, whose fault rate counts; by default, those of now.

    Raises
    ------
    ObjectNotFoundError
        The landing bucket does not hold the file.
    ObjectChangedError
        The file was replaced each time it was read.
    BatchFailedError
        It cannot be stored, and trying again would not change that.
    """
    known = _accepted(schema, wafers) if accepted is None else accepted
    return unless_replaced(lambda: _ingest_version(schema, batch, s3, wafers, known), ObjectChangedError)


def _accepted(schema: BatchSchema, wafers: WaferStore) -> Sequence[BatchManifest]:
    """Return the line's accepted labelled batches."""
    return [] if schema.label is None else wafers.batches(schema.line_feed, "accepted")


def _ingest_version(
    schema: BatchSchema, batch: str, s3: S3Store, wafers: WaferStore, accepted: Sequence[BatchManifest]
) -> BatchOutcome:
    """Ingest the version of the file that is there now."""
    feed, name = schema.line_feed, batch_name(batch)
    try:
        source = s3.head(s3.landing, landing_key(feed, name))
    except InvalidKeyError:
        return _refuse_unread(schema, batch, s3, wafers)
    try:
        return _ingest_object(schema, batch, source, s3, wafers, accepted)
    except (ObjectNotFoundError, ObjectChangedError):
        raise
    except Exception as error:
        if is_outage(error):
            raise
        raise BatchFailedError(
            source.etag,
            f"{in_short(error)}. It is tried again when the file, the contract's version or the platform's code has "
            f"changed, or with `wafer ingest --line {feed.line} --feed {feed.kind} --from {batch} --to {batch}`.",
        ) from error


def _ingest_object(
    schema: BatchSchema,
    batch: str,
    source: StoredObject,
    s3: S3Store,
    wafers: WaferStore,
    accepted: Sequence[BatchManifest],
) -> BatchOutcome:
    name = batch_name(batch)
    reasons = check_object(name, source.size, schema)
    if source.size <= schema.max_file_size:
        result = validate(name, s3.get(s3.landing, source.key, etag=source.etag), schema)
        if isinstance(result, Accepted):
            others = [item for item in accepted if item.batch != batch]
            holds = find_holds(result.frame, schema, _history(schema, batch, result.frame, others, wafers))
            return _decide(schema, batch, result, holds, source, s3, wafers)
        reasons = result.reasons
    return BatchOutcome(_quarantine(schema, batch, reasons, source, s3, wafers), reasons)


def _decide(
    schema: BatchSchema,
    batch: str,
    result: Accepted,
    holds: Sequence[Reason],
    source: StoredObject,
    s3: S3Store,
    wafers: WaferStore,
) -> BatchOutcome:
    """Accept a file that keeps the contract, unless what the line has seen speaks against it and nobody released it."""
    if holds and not wafers.is_released(schema.line_feed, batch, source.etag):
        manifest = _quarantine(schema, batch, holds, source, s3, wafers, status="held")
        return BatchOutcome(manifest, holds)
    warnings = (*holds, *result.warnings)
    return BatchOutcome(_accept(schema, batch, result, warnings, source, s3, wafers), warnings=warnings)


def _history(
    schema: BatchSchema, batch: str, frame: pd.DataFrame, others: Sequence[BatchManifest], wafers: WaferStore
) -> History:
    """Return what the line's other accepted batches say, as far as it bears on a labelled one."""
    if schema.label is None:
        return History()
    return History(
        wafers=sum(item.wafers for item in others),
        faulty=sum(item.faulty or 0 for item in others),
        labels=wafers.labels_of(schema.line_feed, frame["wafer"].tolist(), batch),
    )


def _refuse_unread(schema: BatchSchema, batch: str, s3: S3Store, wafers: WaferStore) -> BatchOutcome:
    """Refuse a file whose key is no plain path: it cannot be addressed, so it stays where it landed."""
    key = landing_key(schema.line_feed, batch_name(batch))
    objects = [item for item in s3.list_objects(s3.landing, key) if item.key == key]
    if not objects:
        raise ObjectNotFoundError(f"There is no object {key!r} in the bucket {s3.landing!r}.")
    reasons = check_object(batch_name(batch), objects[0].size, schema)
    refusal = wafers.quarantine_batch(
        schema.line_feed, batch, [reason.as_dict() for reason in reasons], objects[0], schema.contract_version
    )
    return BatchOutcome(refusal, reasons)


def _accept(
    schema: BatchSchema,
    batch: str,
    accepted: Accepted,
    warnings: Sequence[Reason],
    source: StoredObject,
    s3: S3Store,
    wafers: WaferStore,
) -> BatchManifest:
    feed, frame = schema.line_feed, accepted.frame
    csv = _csv(frame)
    # The manifest decides what a batch is, so objects of an earlier decision go only after it has changed.
    manifest = wafers.replace_batch(
        feed,
        batch,
        frame,
        source,
        sha256=frame_hash(frame),
        contract_version=schema.contract_version,
        context=accepted.context,
        warnings=[warning.as_dict() for warning in warnings],
        before_commit=lambda: s3.put(s3.lake, validated_key(feed, batch), csv),
    )
    for stale in s3.list_objects(s3.lake, quarantine_folder(feed, batch)):
        s3.delete(s3.lake, stale.key)
    return manifest


def _csv(frame: pd.DataFrame) -> bytes:
    # Column by column: Arrow's own conversion of a frame of 590 columns takes several times as long.
    readings = sensor_readings(frame)
    columns = {"wafer": pyarrow.array(frame["wafer"])}
    for sensor, column in zip(readings.columns, readings.to_numpy().T, strict=True):
        columns[sensor] = pyarrow.array(column, from_pandas=True)
    if "faulty" in frame:
        columns["faulty"] = pyarrow.array(frame["faulty"].to_numpy())
    file = io.BytesIO()
    pyarrow.csv.write_csv(pyarrow.table(columns), file)
    return file.getvalue()


def _quarantine(
    schema: BatchSchema,
    batch: str,
    reasons: Sequence[Reason],
    source: StoredObject,
    s3: S3Store,
    wafers: WaferStore,
    status: BatchStatus = "quarantined",
) -> BatchManifest:
    feed = schema.line_feed
    folder = quarantine_folder(feed, batch)
    described = [reason.as_dict() for reason in reasons]
    report = {"batch": batch, "source": source.key, "etag": source.etag, "reasons": described}
    # Copied by the server: a file that is too large to be read is kept like any other.
    s3.copy(s3.landing, source.key, s3.lake, f"{folder}{batch}", etag=source.etag)
    s3.put(s3.lake, f"{folder}reasons.json", json.dumps(report, indent=2, ensure_ascii=False).encode())
    manifest = wafers.quarantine_batch(feed, batch, described, source, schema.contract_version, status)
    s3.delete(s3.lake, validated_key(feed, batch))
    return manifest

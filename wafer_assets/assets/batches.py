"""Ingestion: a landed batch file becomes records in MongoDB, or goes to quarantine with its reasons.

One factory makes the assets of both lines. Validation, quarantine and records are one step, because a
batch is either accepted with all its wafers or refused with all its reasons, and nothing in between.
"""

import io
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow
import pyarrow.csv

from resources.mongo import BatchFailure, BatchManifest, WaferStore
from resources.s3 import InvalidKeyError, ObjectChangedError, ObjectNotFoundError, S3Store, StoredObject
from resources.store_errors import in_short, is_outage
from schemas.loader import BatchSchema, Line
from wafer_assets.assets.common import OWNERS, STORE_RETRIES
from wafer_assets.automation import follows_batches, new_batches
from wafer_assets.checks.contract import (
    batch_check_evaluation,
    contract_check_specs,
    ledger_check_results,
    reasons_table,
)
from wafer_assets.domain.contract import Accepted, Reason, check_object, validate
from wafer_assets.domain.table import frame_hash, sensor_readings
from wafer_assets.keys import landing_key, quarantine_folder, validated_key
from wafer_assets.partitions import BATCHES, batch_name

CODE_VERSION = "1"
WORKERS = 2  # batches at a time
PROGRESS_EVERY = 10  # batches; every message is a write to the event log
READ_TRIES = 3  # of a file that is replaced while it is read


def ingestion_version(schema: BatchSchema) -> str:
    """Return the version of what decides on a file and stores it: this code and the line's contract."""
    return f"{CODE_VERSION}, contract {schema.contract_version}"


def batch_assets(schema: BatchSchema) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """Build the ingestion assets of the line whose files `schema` describes."""
    line = schema.line

    def key(name: str) -> dg.AssetKey:
        return dg.AssetKey([line, name])

    def batch_spec(name: str, description: str, kinds: set[str], dep: str | None, ingested: bool) -> dg.AssetSpec:
        return dg.AssetSpec(
            key(name),
            deps=[key(dep)] if dep else [],
            description=description,
            group_name="ingestion",
            owners=OWNERS,
            kinds=kinds,
            partitions_def=BATCHES[line],
            # Every batch has an event of its own, but one output would mark all batches of a range at once.
            skippable=ingested,
            code_version=ingestion_version(schema) if ingested else None,
            automation_condition=new_batches(line) if ingested else None,
        )

    raw_batches = batch_spec(
        "raw_batches",
        "A batch file as the partner dropped it into the landing bucket.",
        {"s3", "csv"},
        dep=None,
        ingested=False,
    )
    # Nobody materializes a refusal: validation reports it, so that its partitions are just the refused files.
    quarantined_batches = batch_spec(
        "quarantined_batches",
        "A refused batch file, kept as it came, with every reason: code, row, column, what was found and what to do.",
        {"s3", "csv"},
        dep="raw_batches",
        ingested=False,
    )
    columns = f"`wafer`, the sensors in schema order{', `faulty`' if schema.label else ''}"

    @dg.multi_asset(
        name=f"ingest_{line}_batches",
        specs=[
            batch_spec(
                "validated_batches",
                f"The verdict on a batch file; an accepted one is normalised to {columns}, a CSV file per batch.",
                {"s3", "csv"},
                dep="raw_batches",
                ingested=True,
            ),
            batch_spec(
                "wafer_records",
                "The wafers of a batch in MongoDB, a document each; a refused batch has none.",
                {"mongodb"},
                dep="validated_batches",
                ingested=True,
            ),
            dg.AssetSpec(
                key("batch_ledger"),
                deps=[key("wafer_records"), key("quarantined_batches")],
                description="What became of every batch: received = accepted + quarantined.",
                group_name="ingestion",
                owners=OWNERS,
                kinds={"mongodb"},
                code_version=CODE_VERSION,
                automation_condition=follows_batches(key("wafer_table") if schema.label else None),
            ),
        ],
        check_specs=contract_check_specs(line),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=STORE_RETRIES,
        # Where pools are limited, two versions of one file never go through at the same time.
        pool=f"{line}_ingestion",
    )
    def ingest_batches(
        context: dg.AssetExecutionContext,
        s3: dg.ResourceParam[S3Store],
        wafers: dg.ResourceParam[WaferStore],
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.MaterializeResult[None]]:
        # Without a partition, the ledger alone is asked for.
        partitioned = context.has_partition_key or context.has_partition_key_range
        batches = list(context.partition_keys) if partitioned else []
        failed: dict[str, Exception] = {}
        for number, (batch, outcome) in enumerate(_ingested(schema, batches, s3, wafers), 1):
            if isinstance(outcome, Exception):
                failed[batch] = outcome
                continue
            manifest, reasons = outcome
            yield from _materializations(manifest, reasons, s3)
            yield batch_check_evaluation(line, batch, reasons)
            if number % PROGRESS_EVERY == 0 or number == len(batches):
                context.log.info(f"{number} of {len(batches)} batches")
        if key("batch_ledger") in context.selected_asset_keys:
            wafers.sweep()
            manifests = wafers.batches(line)
            yield dg.MaterializeResult(
                asset_key=key("batch_ledger"),
                metadata=_ledger_metadata(manifests, wafers.failures(line)),
                check_results=list(ledger_check_results(line, manifests)),
                data_version=_ledger_version(manifests),
            )
        if failed:
            raise dg.Failure(_told(failed, len(batches)), allow_retries=False)

    return [raw_batches, quarantined_batches, ingest_batches]


Outcome = tuple[BatchManifest, Sequence[Reason]]


class BatchFailedError(RuntimeError):
    """A batch cannot be stored, though its file and all servers are there: what it was before, it still is."""

    code = "batch_failed"

    def __init__(self, etag: str, reason: str) -> None:
        super().__init__(reason)
        self.etag = etag


def _told(failed: Mapping[str, Exception], of: int) -> str:
    """Say which batches of a run got no outcome, and what to do."""
    vanished = [batch for batch, error in failed.items() if isinstance(error, ObjectNotFoundError)]
    said = [f"{len(failed)} of {of} batches got no outcome; all others were ingested."]
    if vanished:
        said.append(
            f"{len(vanished)} are not in the landing bucket: {', '.join(vanished)}. "
            "Send these again, or delete their partitions."
        )
    said += [f"{batch}: {error}" for batch, error in failed.items() if batch not in vanished]
    return "\n".join(said)


def _ingested(
    schema: BatchSchema, batches: Sequence[str], s3: S3Store, wafers: WaferStore
) -> Iterator[tuple[str, Outcome | Exception]]:
    """Yield every batch, in order, with what became of it, or why it alone has no outcome; an outage is raised."""

    def ingest(batch: str) -> Outcome | Exception:
        try:
            return ingest_batch(schema, batch, s3, wafers)
        except BatchFailedError as error:
            wafers.note_failure(
                BatchFailure(
                    line=schema.line,
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
        begun: deque[tuple[str, Future[Outcome | Exception]]] = deque()
        for batch in batches:
            begun.append((batch, pool.submit(ingest, batch)))
            # What is stored before Dagster is told of it has to be done again where a run is killed.
            if len(begun) > 2 * WORKERS:
                name, future = begun.popleft()
                yield name, future.result()
        for name, future in begun:
            yield name, future.result()


def ingest_batch(schema: BatchSchema, batch: str, s3: S3Store, wafers: WaferStore) -> Outcome:
    """Ingest one batch file: store its wafers, or quarantine it with its reasons.

    Ingesting a batch again replaces what the first time left, whichever way the two were decided.

    Raises
    ------
    ObjectNotFoundError
        The landing bucket does not hold the file.
    ObjectChangedError
        The file was replaced each time it was read.
    BatchFailedError
        It cannot be stored, and trying again would not change that.
    """
    for _ in range(READ_TRIES - 1):
        try:
            return _ingest_version(schema, batch, s3, wafers)
        except ObjectChangedError:
            continue  # its newer content is there already
    return _ingest_version(schema, batch, s3, wafers)


def _ingest_version(schema: BatchSchema, batch: str, s3: S3Store, wafers: WaferStore) -> Outcome:
    """Ingest the version of the file that is there now."""
    line, name = schema.line, batch_name(batch)
    try:
        source = s3.head(s3.landing, landing_key(line, name))
    except InvalidKeyError:
        return _refuse_unread(schema, batch, s3, wafers)
    try:
        return _ingest_object(schema, batch, source, s3, wafers)
    except (ObjectNotFoundError, ObjectChangedError):
        raise
    except Exception as error:
        if is_outage(error):
            raise
        raise BatchFailedError(
            source.etag,
            f"{in_short(error)}. It is tried again when the file, the contract's version or the platform's code has "
            f"changed, or with `wafer ingest --line {line} --from {batch} --to {batch}`.",
        ) from error


def _ingest_object(schema: BatchSchema, batch: str, source: StoredObject, s3: S3Store, wafers: WaferStore) -> Outcome:
    name = batch_name(batch)
    reasons = check_object(name, source.size, schema)
    if source.size <= schema.max_file_size:
        result = validate(name, s3.get(s3.landing, source.key, etag=source.etag), schema)
        if isinstance(result, Accepted):
            return _accept(schema, batch, result.frame, source, s3, wafers), ()
        reasons = result.reasons
    return _quarantine(schema.line, batch, reasons, source, s3, wafers), reasons


def _refuse_unread(schema: BatchSchema, batch: str, s3: S3Store, wafers: WaferStore) -> Outcome:
    """Refuse a file whose key is no plain path: it cannot be addressed, so it stays where it landed."""
    key = landing_key(schema.line, batch_name(batch))
    found = [item for item in s3.list_objects(s3.landing, key) if item.key == key]
    if not found:
        raise ObjectNotFoundError(f"There is no object {key!r} in the bucket {s3.landing!r}.")
    reasons = check_object(batch_name(batch), found[0].size, schema)
    return wafers.quarantine_batch(schema.line, batch, [reason.as_dict() for reason in reasons], found[0]), reasons


def _accept(
    schema: BatchSchema, batch: str, frame: pd.DataFrame, source: StoredObject, s3: S3Store, wafers: WaferStore
) -> BatchManifest:
    line = schema.line
    csv = _csv(frame)
    # The manifest decides what a batch is, so objects of an earlier decision go only after it has changed.
    manifest = wafers.replace_batch(
        line,
        batch,
        frame,
        source,
        sha256=frame_hash(frame),
        contract_version=schema.contract_version,
        before_commit=lambda: s3.put(s3.lake, validated_key(line, batch), csv),
    )
    for stale in s3.list_objects(s3.lake, quarantine_folder(line, batch)):
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
    line: Line,
    batch: str,
    reasons: Sequence[Reason],
    source: StoredObject,
    s3: S3Store,
    wafers: WaferStore,
) -> BatchManifest:
    folder = quarantine_folder(line, batch)
    found = [reason.as_dict() for reason in reasons]
    report = {"batch": batch, "source": source.key, "etag": source.etag, "reasons": found}
    # Copied by the server: a file that is too large to be read is kept like any other.
    s3.copy(s3.landing, source.key, s3.lake, f"{folder}{batch}", etag=source.etag)
    s3.put(s3.lake, f"{folder}reasons.json", json.dumps(report, indent=2, ensure_ascii=False).encode())
    manifest = wafers.quarantine_batch(line, batch, found, source)
    s3.delete(s3.lake, validated_key(line, batch))
    return manifest


def restore_quarantined(line: Line, batches: Iterable[str], s3: S3Store) -> list[str]:
    """Put the kept copies of quarantined files back where they landed, unless something is there; return which."""
    there = {item.key for item in s3.list_objects(s3.landing, f"{line}/")}
    restored = []
    for batch in batches:
        key = landing_key(line, batch_name(batch))
        if key not in there:
            s3.copy(s3.lake, f"{quarantine_folder(line, batch)}{batch}", s3.landing, key)
            restored.append(batch)
    return restored


def _materializations(
    manifest: BatchManifest, reasons: Sequence[Reason], s3: S3Store
) -> Iterator[dg.AssetMaterialization]:
    """Yield what each asset holds of the batch now."""

    def event(asset: str, version: str, metadata: dict[str, Any]) -> dg.AssetMaterialization:
        return dg.AssetMaterialization(
            dg.AssetKey([manifest.line, asset]),
            partition=manifest.batch,
            metadata={"status": manifest.status, **metadata},
            tags={"dagster/data_version": version},
        )

    lake = f"s3://{s3.lake}/"
    counts = {"dagster/partition_row_count": manifest.wafers}
    if manifest.sha256 is None:
        refusal = {
            "reasons": reasons_table(reasons),
            "reason_counts": dg.MetadataValue.json(Counter(reason.code for reason in reasons)),
        }
        uri = dg.MetadataValue.path(lake + quarantine_folder(manifest.line, manifest.batch))
        yield event("quarantined_batches", manifest.etag, {"uri": uri, "size_bytes": manifest.size, **refusal})
        yield event("validated_batches", f"quarantined {manifest.etag}", {**counts, **refusal})
        yield event("wafer_records", "quarantined", counts)
        return
    if manifest.faulty is not None:
        counts["faulty_wafers"] = manifest.faulty
    yield event(
        "validated_batches",
        manifest.sha256,
        {
            "uri": dg.MetadataValue.path(lake + validated_key(manifest.line, manifest.batch)),
            "sha256": manifest.sha256,
            **counts,
        },
    )
    yield event("wafer_records", manifest.sha256, counts)


def _ledger_version(manifests: Sequence[BatchManifest]) -> dg.DataVersion:
    """Return what the training table depends on: which batches are accepted, with which content."""
    accepted = sorted((item.batch, item.sha256) for item in manifests if item.sha256)
    return dg.DataVersion(sha256(json.dumps(accepted).encode()).hexdigest())


def _ledger_metadata(manifests: Sequence[BatchManifest], failures: Sequence[BatchFailure]) -> dict[str, Any]:
    accepted = [manifest for manifest in manifests if manifest.status == "accepted"]
    quarantined = [manifest for manifest in manifests if manifest.status == "quarantined"]
    # A file counts once per code, however many of its cells break the same clause.
    codes = Counter(code for item in quarantined for code in {str(reason["code"]) for reason in item.reasons})
    return {
        "received": len(manifests),
        "accepted": len(accepted),
        "quarantined": len(quarantined),
        "wafers": sum(manifest.wafers for manifest in accepted),
        "faulty_wafers": sum(manifest.faulty or 0 for manifest in accepted),
        "quarantined_by_reason": dg.MetadataValue.json(dict(codes.most_common())),
        "failed": dg.MetadataValue.json({item.batch: item.reason for item in failures[:100]}),
        # The UI shows tables whole: the latest batches are those that people look for.
        "latest": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "batch": item.batch,
                        "status": item.status,
                        "wafers": item.wafers,
                        "reasons": ", ".join(sorted({str(reason["code"]) for reason in item.reasons})),
                        "stored_at": item.stored_at.isoformat(timespec="seconds"),
                    }
                )
                for item in sorted(manifests, key=lambda item: item.stored_at, reverse=True)[:100]
            ],
            schema=dg.TableSchema(
                [dg.TableColumn(name, "int" if name == "wafers" else "string") for name in _LEDGER_COLUMNS]
            ),
        ),
    }


_LEDGER_COLUMNS = ("batch", "status", "wafers", "reasons", "stored_at")

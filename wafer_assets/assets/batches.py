"""Assets of a batch file: where it landed, the verdict on it, its records, and the ledger of all of them.

One factory makes the assets of both feeds. Validation, quarantine and records are one step, for a batch is accepted,
refused or held as a whole: `wafer_assets.operations.ingestion` does that, and here is what Dagster is told of it.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import dagster as dg

from resources.mongo import BatchFailure, BatchManifest, WaferStore
from resources.s3 import ObjectNotFoundError, S3Store
from schemas.lines import Feed, Line, LineFeed
from schemas.loader import BatchSchema
from wafer_assets.assets.common import STORE_RETRIES, group, owners
from wafer_assets.automation import follows_batches, new_batches
from wafer_assets.checks.contract import (
    batch_check_evaluation,
    contract_check_specs,
    ledger_check_results,
    reasons_table,
)
from wafer_assets.keys import DATA_VERSION, feed_key, name_of, quarantine_folder, validated_key
from wafer_assets.operations.ingestion import CODE_VERSION, BatchOutcome, ingest_batches, ingestion_version
from wafer_assets.partitions import batches_of

PROGRESS_EVERY = 10  # batches; every message is a write to the event log


def batch_assets(line: Line, kind: Feed) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """Build the ingestion assets of a feed of a line."""
    schema, feed = BatchSchema.of(line, kind), line.feed(kind)
    ledger = feed_key(feed, "batch_ledger")

    @dg.multi_asset(
        name=name_of(line.name, f"ingest_{kind}_batches"),
        specs=_ingested_specs(line, schema),
        check_specs=contract_check_specs(feed),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=STORE_RETRIES,
        # Where pools are limited, two versions of one file never go through at the same time.
        pool=name_of(line.name, f"{kind}_ingestion"),
    )
    def ingest(
        context: dg.AssetExecutionContext,
        s3: dg.ResourceParam[S3Store],
        wafers: dg.ResourceParam[WaferStore],
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.MaterializeResult[None]]:
        # Without a partition, the ledger alone is asked for.
        partitioned = context.has_partition_key or context.has_partition_key_range
        batches = list(context.partition_keys) if partitioned else []
        failures: dict[str, Exception] = {}
        for number, (batch, outcome) in enumerate(ingest_batches(schema, batches, s3, wafers), 1):
            if isinstance(outcome, BatchOutcome):
                yield from _materializations(feed, outcome, s3)
                yield batch_check_evaluation(feed, batch, outcome.reasons)
                if number % PROGRESS_EVERY == 0 or number == len(batches):
                    context.log.info(f"{number} of {len(batches)} batches")
            else:
                failures[batch] = outcome
        if ledger in context.selected_asset_keys:
            wafers.sweep()
            manifests = wafers.batches(feed)
            yield dg.MaterializeResult(
                asset_key=ledger,
                metadata=_ledger_metadata(manifests, wafers.failures(feed)),
                check_results=list(ledger_check_results(feed, manifests)),
                data_version=_ledger_version(manifests),
            )
        if failures:
            raise dg.Failure(_without_outcome(failures, len(batches)), allow_retries=False)

    return [*_reported_specs(line, feed), ingest]


def _reported_specs(line: Line, feed: LineFeed) -> list[dg.AssetSpec]:
    """Return the assets that nobody materializes."""
    return [
        _batch_spec(
            line,
            feed,
            "raw_batches",
            "A batch file as the partner dropped it into the landing bucket.",
            kinds={"s3", "csv"},
        ),
        # Validation reports a refusal, so that the partitions are just the refused files.
        _batch_spec(
            line,
            feed,
            "quarantined_batches",
            "A batch file that was refused, or held for a person to decide, kept as it came, with every reason: code, "
            "row, column, what was found and what to do.",
            kinds={"s3", "csv"},
            deps=[feed_key(feed, "raw_batches")],
        ),
    ]


def _ingested_specs(line: Line, schema: BatchSchema) -> list[dg.AssetSpec]:
    """Return the assets that the ingestion step makes."""
    feed = schema.line_feed
    columns = f"`wafer`, the sensors in schema order{', `faulty`' if schema.label else ''}"
    ingested = {
        # Every batch has an event of its own, but one output would mark all batches of a range at once.
        "skippable": True,
        "code_version": ingestion_version(schema),
        "automation_condition": new_batches(feed),
    }
    return [
        _batch_spec(
            line,
            feed,
            "validated_batches",
            f"The verdict on a batch file; an accepted one is normalised to {columns}, a CSV file per batch.",
            kinds={"s3", "csv"},
            deps=[feed_key(feed, "raw_batches")],
            **ingested,
        ),
        _batch_spec(
            line,
            feed,
            "wafer_records",
            "The wafers of a batch in MongoDB, a document each; a refused batch has none.",
            kinds={"mongodb"},
            deps=[feed_key(feed, "validated_batches")],
            **ingested,
        ),
        dg.AssetSpec(
            feed_key(feed, "batch_ledger"),
            deps=[feed_key(feed, "wafer_records"), feed_key(feed, "quarantined_batches")],
            description="What became of every batch: received = accepted + quarantined + held.",
            kinds={"mongodb"},
            code_version=CODE_VERSION,
            automation_condition=follows_batches(feed_key(feed, "wafer_table") if schema.label else None),
            group_name=group(line, "ingestion"),
            owners=owners(line),
        ),
    ]


def _batch_spec(line: Line, feed: LineFeed, name: str, description: str, **attributes: Any) -> dg.AssetSpec:
    """Return an asset with a partition per batch file."""
    return dg.AssetSpec(
        feed_key(feed, name),
        description=description,
        partitions_def=batches_of(feed),
        group_name=group(line, "ingestion"),
        owners=owners(line),
        **attributes,
    )


def _without_outcome(failures: Mapping[str, Exception], of: int) -> str:
    """Say which batches of a run got no outcome, and what to do."""
    vanished = [batch for batch, error in failures.items() if isinstance(error, ObjectNotFoundError)]
    lines = [f"{len(failures)} of {of} batches got no outcome; all others were ingested."]
    if vanished:
        lines.append(
            f"{len(vanished)} are not in the landing bucket: {', '.join(vanished)}. "
            "Send these again, or delete their partitions."
        )
    lines += [f"{batch}: {error}" for batch, error in failures.items() if batch not in vanished]
    return "\n".join(lines)


def _materializations(feed: LineFeed, outcome: BatchOutcome, s3: S3Store) -> Iterator[dg.AssetMaterialization]:
    """Yield what each asset holds of the batch now."""
    manifest, reasons, warnings = outcome.manifest, outcome.reasons, outcome.warnings

    def event(asset: str, version: str, metadata: dict[str, Any]) -> dg.AssetMaterialization:
        return dg.AssetMaterialization(
            feed_key(feed, asset),
            partition=manifest.batch,
            metadata={"status": manifest.status, **metadata},
            tags={DATA_VERSION: version},
        )

    lake = f"s3://{s3.lake}/"
    counts = {"dagster/partition_row_count": manifest.wafers}
    if manifest.sha256 is None:
        refusal = {
            "reasons": reasons_table(reasons),
            "reason_counts": dg.MetadataValue.json(Counter(reason.code for reason in reasons)),
        }
        uri = dg.MetadataValue.path(lake + quarantine_folder(feed, manifest.batch))
        yield event("quarantined_batches", manifest.etag, {"uri": uri, "size_bytes": manifest.size, **refusal})
        yield event("validated_batches", f"{manifest.status} {manifest.etag}", {**counts, **refusal})
        yield event("wafer_records", "quarantined", counts)
        return
    if manifest.faulty is not None:
        counts["faulty_wafers"] = manifest.faulty
    yield event(
        "validated_batches",
        manifest.sha256,
        {
            "uri": dg.MetadataValue.path(lake + validated_key(feed, manifest.batch)),
            "sha256": manifest.sha256,
            **counts,
            **({"warnings": reasons_table(warnings)} if warnings else {}),
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
    held = [manifest.batch for manifest in manifests if manifest.status == "held"]
    # A file counts once per code, however many of its cells break the same clause.
    codes = Counter(code for item in quarantined for code in {str(reason["code"]) for reason in item.reasons})
    return {
        "received": len(manifests),
        "accepted": len(accepted),
        "quarantined": len(quarantined),
        "held": len(held),
        "wafers": sum(manifest.wafers for manifest in accepted),
        "faulty_wafers": sum(manifest.faulty or 0 for manifest in accepted),
        "quarantined_by_reason": dg.MetadataValue.json(dict(codes.most_common())),
        "held_batches": dg.MetadataValue.json(held[:100]),
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

"""Asset checks derived from the file contract.

Every batch has one check, `contract`, that shows each clause; one event per clause and batch would take longer
than ingesting the batch does. The ledger has a check per clause over all batches.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence

import dagster as dg

from resources.mongo import BatchManifest
from schemas.lines import LineFeed
from wafer_assets.domain.contract import CLAUSES, KINDS, Reason
from wafer_assets.keys import feed_key
from wafer_assets.partitions import batches_of

CONTRACT_CHECK = "contract"


def contract_check_specs(feed: LineFeed) -> list[dg.AssetCheckSpec]:
    """Return the check of a line's batches, and those of its ledger in the contract's order."""
    with warnings.catch_warnings():
        # Checks per partition are a preview of Dagster's; its version is pinned.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        batch_check = dg.AssetCheckSpec(
            CONTRACT_CHECK,
            asset=feed_key(feed, "validated_batches"),
            description="The file keeps every clause of the data-sharing contract.",
            partitions_def=batches_of(feed),
        )
    ledger = feed_key(feed, "batch_ledger")
    return [
        batch_check,
        *(dg.AssetCheckSpec(clause, asset=ledger, description=text) for clause, text in CLAUSES.items()),
    ]


def batch_check_evaluation(feed: LineFeed, batch: str, reasons: Sequence[Reason]) -> dg.AssetCheckEvaluation:
    """Return the outcome of the contract check for one batch."""
    broken = [KINDS[reason.code].clause for reason in reasons]
    clauses = [
        dg.TableRecord({"clause": clause, "kept": clause not in broken, "findings": broken.count(clause)})
        for clause in CLAUSES
    ]
    return dg.AssetCheckEvaluation(
        asset_key=feed_key(feed, "validated_batches"),
        check_name=CONTRACT_CHECK,
        passed=not reasons,
        # The file is in quarantine already: people should know, and nothing has to stop.
        severity=dg.AssetCheckSeverity.WARN,
        partition=batch,
        description=f"{len(set(broken))} of {len(CLAUSES)} clauses broken" if reasons else None,
        metadata={"clauses": dg.MetadataValue.table(clauses)}
        | ({"reasons": reasons_table(reasons)} if reasons else {}),
    )


def ledger_check_results(feed: LineFeed, manifests: Iterable[BatchManifest]) -> Iterator[dg.AssetCheckResult]:
    """Yield, for every clause, which batches in quarantine, or held, break it."""
    broken: dict[str, list[str]] = {clause: [] for clause in CLAUSES}
    for manifest in manifests:
        for clause in {KINDS[str(reason["code"])].clause for reason in manifest.reasons}:
            broken[clause].append(manifest.batch)
    for clause, batches in broken.items():
        yield dg.AssetCheckResult(
            asset_key=feed_key(feed, "batch_ledger"),
            check_name=clause,
            passed=not batches,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(batches)} batches in quarantine, or held, break it." if batches else None,
            metadata={"quarantined": len(batches), "batches": dg.MetadataValue.json(batches[:100])},
        )


def reasons_table(reasons: Sequence[Reason]) -> dg.TableMetadataValue:
    """Return refusal reasons as a table for the UI."""
    columns = {
        "code": dg.TableColumn("code", "string"),
        "row": dg.TableColumn("row", "int", description="line of the file, row of the table or wafer, counted from 1"),
        "column": dg.TableColumn("column", "string"),
        "found": dg.TableColumn("found", "string"),
        "count": dg.TableColumn("count", "int", description="cells, rows or columns that show it"),
        "remedy": dg.TableColumn("remedy", "string"),
    }
    return dg.MetadataValue.table(
        [dg.TableRecord({name: getattr(reason, name) for name in columns}) for reason in reasons],
        schema=dg.TableSchema(list(columns.values())),
    )

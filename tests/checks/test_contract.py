"""The contract's checks: each file against every clause, and each clause against all files."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from resources.mongo import BatchManifest
from schemas.lines import LineFeed
from tests.feeds import PREDICTION, TRAINING
from wafer_assets.checks.contract import (
    CONTRACT_CHECK,
    batch_check_evaluation,
    contract_check_specs,
    ledger_check_results,
    reasons_table,
)
from wafer_assets.domain.contract import REASONS, Reason
from wafer_assets.keys import feed_key

FEEDS = (TRAINING, PREDICTION)
BATCH = "wafer_06012020_060000.csv"


def reason(code: str, row: int | None = None, column: str | None = None) -> Reason:
    return Reason(code, row, column, "something else", REASONS[code].remedy)


def clauses_of(feed: LineFeed = TRAINING) -> list[str]:
    """Return the clauses by name, as the ledger's checks name them."""
    return [spec.name for spec in contract_check_specs(feed)[1:]]


def rows(table: object) -> list[dict[str, Any]]:
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def manifest(batch: str, *codes: str) -> BatchManifest:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return BatchManifest(
        line="secom",
        feed="training",
        batch=batch,
        status="quarantined",
        key=f"secom/training/{batch}",
        etag="e",
        size=1,
        last_modified=now,
        sha256=None,
        wafers=0,
        faulty=None,
        reasons=tuple({"code": code, "row": None} for code in codes),
        stored_at=now,
    )


# --- What is checked ---


@pytest.mark.parametrize("feed", FEEDS, ids=str)
def test_a_batch_has_one_check_and_the_ledger_one_per_clause(feed: LineFeed) -> None:
    batch, *ledger = contract_check_specs(feed)
    assert (batch.name, batch.asset_key) == (CONTRACT_CHECK, feed_key(feed, "validated_batches"))
    assert isinstance(batch.partitions_def, dg.DynamicPartitionsDefinition)
    assert batch.partitions_def.name == f"secom_{feed.kind}_batches"
    assert {spec.asset_key for spec in ledger} == {feed_key(feed, "batch_ledger")}
    assert [spec.name for spec in ledger][:3] == ["file_name", "file_size", "encoding"]
    assert all(spec.description for spec in (batch, *ledger))
    assert not any(spec.blocking for spec in (batch, *ledger))


def test_both_lines_keep_the_same_clauses() -> None:
    assert clauses_of(TRAINING) == clauses_of(PREDICTION)


# --- A batch ---


def test_a_good_batch_passes_with_every_clause_kept() -> None:
    outcome = batch_check_evaluation(TRAINING, BATCH, [])
    assert outcome.passed
    assert (outcome.check_name, outcome.partition) == (CONTRACT_CHECK, BATCH)
    assert outcome.asset_key == feed_key(TRAINING, "validated_batches")
    assert outcome.description is None
    assert "reasons" not in outcome.metadata
    assert rows(outcome.metadata["clauses"]) == [
        {"clause": clause, "kept": True, "findings": 0} for clause in clauses_of()
    ]


def test_a_refused_batch_says_which_clauses_it_breaks_how_often_and_why() -> None:
    reasons = [
        reason("reading_not_a_number", 2, "Sensor-1"),
        reason("reading_not_finite", 3, "Sensor-2"),
        reason("wafer_id_repeated", 4, "Wafer"),
    ]
    outcome = batch_check_evaluation(PREDICTION, BATCH, reasons)
    assert not outcome.passed
    assert outcome.description == f"2 of {len(clauses_of())} clauses broken"
    broken = {row["clause"]: row["findings"] for row in rows(outcome.metadata["clauses"]) if not row["kept"]}
    assert broken == {"readings": 2, "wafer_ids": 1}
    assert outcome.metadata["reasons"] == reasons_table(reasons)


def test_a_refused_batch_is_a_warning_for_it_is_in_quarantine_already() -> None:
    outcome = batch_check_evaluation(TRAINING, BATCH, [reason("file_empty")])
    assert outcome.severity == dg.AssetCheckSeverity.WARN
    assert not outcome.blocking


def test_reasons_are_listed_with_place_finding_and_remedy() -> None:
    table = reasons_table([reason("reading_not_a_number", 2, "Sensor-1"), reason("file_empty")])
    assert rows(table) == [
        {
            "code": "reading_not_a_number",
            "row": 2,
            "column": "Sensor-1",
            "found": "something else",
            "count": 1,
            "remedy": REASONS["reading_not_a_number"].remedy,
        },
        {
            "code": "file_empty",
            "row": None,
            "column": None,
            "found": "something else",
            "count": 1,
            "remedy": REASONS["file_empty"].remedy,
        },
    ]
    assert [column.name for column in table.schema.columns] == ["code", "row", "column", "found", "count", "remedy"]


# --- The ledger ---


def test_without_a_refused_batch_every_clause_passes() -> None:
    results = list(ledger_check_results(TRAINING, []))
    assert [result.check_name for result in results] == clauses_of()
    assert all(result.passed for result in results)
    assert all(result.description is None for result in results)


def test_a_clause_names_the_batches_that_break_it_each_once() -> None:
    manifests = [
        manifest("a.csv", "reading_not_a_number", "reading_not_finite", "file_name_invalid"),
        manifest("b.csv", "file_name_invalid"),
    ]
    results = {str(result.check_name): result for result in ledger_check_results(TRAINING, manifests)}
    failed = {name: result.metadata["batches"].value for name, result in results.items() if not result.passed}
    assert failed == {"file_name": ["a.csv", "b.csv"], "readings": ["a.csv"]}
    assert results["file_name"].description == "2 batches in quarantine, or held, break it."
    assert results["file_name"].severity == dg.AssetCheckSeverity.WARN
    assert results["file_name"].asset_key == feed_key(TRAINING, "batch_ledger")


def test_a_clause_that_many_batches_break_lists_a_hundred_and_counts_all() -> None:
    manifests = [manifest(f"{number:03}.csv", "file_empty") for number in range(120)]
    results = {str(result.check_name): result for result in ledger_check_results(TRAINING, manifests)}
    facts = results["file_size"].metadata
    assert facts["quarantined"].value == 120
    assert facts["batches"].value == [f"{number:03}.csv" for number in range(100)]

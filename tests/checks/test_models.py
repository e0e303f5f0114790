"""Gates on the training feed: nothing is lost on the way in, and nothing is learned from a useless table."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pandas as pd
import pytest
from pymongo import MongoClient

from resources.mongo import BatchFailure, WaferStore
from resources.s3 import StoredObject
from schemas.loader import Feed
from wafer_assets.checks.models import (
    LEAK_AUC,
    QUALITY_CHECK_SPECS,
    all_accounted_for,
    both_outcomes,
    quality_check_results,
)
from wafer_assets.keys import landing_key, training_key
from wafer_assets.operations.landing import report_raw_batches
from wafer_assets.settings import Settings

FIRST, SECOND = "wafer_06012020_060000.csv", "wafer_07012020_060000.csv"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(
    check: dg.AssetChecksDefinition, instance: dg.DagsterInstance, **resources: object
) -> dg.ExecuteInProcessResult:
    """Run a check alone."""
    job = dg.define_asset_job("judge", selection=dg.AssetSelection.checks(check))
    defs = dg.Definitions(asset_checks=[check], jobs=[job], resources=resources)
    return defs.resolve_job_def("judge").execute_in_process(instance=instance, raise_on_error=False)


def judge(
    check: dg.AssetChecksDefinition, instance: dg.DagsterInstance, **resources: object
) -> dg.AssetCheckEvaluation:
    (outcome,) = run(check, instance, **resources).get_asset_check_evaluations()
    return outcome


def facts_of(outcome: dg.AssetCheckEvaluation) -> dict[str, object]:
    return {name: entry.value for name, entry in outcome.metadata.items()}


# --- Every batch is accounted for ---


def landed(batch: str, feed: Feed = "training", etag: str = "first") -> StoredObject:
    return StoredObject(landing_key(feed, batch), 1, etag, datetime(2026, 1, 1, tzinfo=UTC))


def land(instance: dg.DagsterInstance, *batches: str, feed: Feed = "training", etag: str = "first") -> None:
    report_raw_batches(instance, feed, "landing", {batch: landed(batch, feed, etag) for batch in batches})


def accept(mongo: WaferStore, batch: str, feed: Feed = "training") -> None:
    frame = pd.DataFrame({"wafer": [f"{batch}-1", f"{batch}-2"], "Sensor-1": [1.0, 2.0], "faulty": [0, 1]})
    mongo.replace_batch(feed, batch, frame, landed(batch, feed), sha256="x")


def account(mongo: WaferStore, instance: dg.DagsterInstance, feed: Feed = "training") -> dg.AssetCheckEvaluation:
    return judge(all_accounted_for(feed), instance, wafers=mongo)


def test_accepted_and_refused_batches_are_accounted_for(mongo: WaferStore, instance: dg.DagsterInstance) -> None:
    land(instance, FIRST, SECOND)
    accept(mongo, FIRST)
    mongo.quarantine_batch("training", SECOND, [{"code": "file_empty"}], landed(SECOND))
    outcome = account(mongo, instance)
    assert outcome.passed
    assert facts_of(outcome) == {"received": 2, "with_outcome": 2, "waiting": [], "failed": {}, "miscounted": []}


def test_a_batch_without_outcome_waits_which_is_a_warning(mongo: WaferStore, instance: dg.DagsterInstance) -> None:
    land(instance, FIRST, SECOND)
    accept(mongo, FIRST)
    outcome = account(mongo, instance)
    assert not outcome.passed
    assert outcome.severity == dg.AssetCheckSeverity.WARN
    assert facts_of(outcome)["waiting"] == [SECOND]
    assert str(outcome.description).startswith("1 batches wait for their outcome; 0 cannot be stored")


def test_a_batch_whose_file_was_replaced_waits_again(mongo: WaferStore, instance: dg.DagsterInstance) -> None:
    land(instance, FIRST)
    accept(mongo, FIRST)
    land(instance, FIRST, etag="second")
    assert facts_of(account(mongo, instance))["waiting"] == [FIRST]


def test_a_batch_that_cannot_be_stored_is_an_error_with_its_reason(
    mongo: WaferStore, instance: dg.DagsterInstance
) -> None:
    land(instance, FIRST)
    failure = BatchFailure(
        feed="training",
        batch=FIRST,
        etag="first",
        code_version="1",
        reason="It is too large.",
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    mongo.note_failure(failure)
    outcome = account(mongo, instance)
    assert outcome.severity == dg.AssetCheckSeverity.ERROR
    assert facts_of(outcome)["failed"] == {FIRST: "It is too large."}
    assert facts_of(outcome)["waiting"] == []


def test_records_that_somebody_deleted_are_an_error(
    settings: Settings, mongo: WaferStore, instance: dg.DagsterInstance
) -> None:
    land(instance, FIRST)
    accept(mongo, FIRST)
    assert settings.mongo.uri is not None
    with MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value()) as client:
        client[settings.mongo.database]["training_wafers"].delete_one({"wafer": f"{FIRST}-1"})
    outcome = account(mongo, instance)
    assert outcome.severity == dg.AssetCheckSeverity.ERROR
    assert facts_of(outcome)["miscounted"] == [FIRST]
    assert "materialize their records again" in str(outcome.description)


def test_each_line_accounts_for_its_own_batches(mongo: WaferStore, instance: dg.DagsterInstance) -> None:
    land(instance, FIRST)
    land(instance, SECOND, feed="prediction")
    accept(mongo, FIRST)
    assert account(mongo, instance).passed
    assert facts_of(account(mongo, instance, "prediction"))["waiting"] == [SECOND]


# --- A table to learn from ---


def report_table(instance: dg.DagsterInstance, wafers: int, faulty: int) -> None:
    facts = {"dagster/row_count": wafers, "faulty_wafers": faulty}
    instance.report_runless_asset_event(dg.AssetMaterialization(training_key("wafer_table"), metadata=facts))


@pytest.mark.parametrize(
    ("wafers", "faulty", "passes"), [(10, 1, True), (10, 9, True), (10, 0, False), (10, 10, False)]
)
def test_a_table_holds_faulty_and_passed_wafers(
    instance: dg.DagsterInstance, wafers: int, faulty: int, passes: bool
) -> None:
    report_table(instance, wafers, faulty)
    outcome = judge(both_outcomes, instance)
    assert outcome.passed == passes
    assert outcome.blocking
    assert facts_of(outcome) == {"faulty_wafers": faulty, "passed_wafers": wafers - faulty}
    assert outcome.description == f"{faulty} faulty and {wafers - faulty} passed wafers; training needs both."


def test_without_a_table_there_is_nothing_to_judge(instance: dg.DagsterInstance) -> None:
    (failure,) = [event for event in run(both_outcomes, instance).all_events if event.is_step_failure]
    said = str(failure.step_failure_data.user_failure_data)
    assert "There is no table. Materialize training/wafer_table first." in said


# --- A model to look at ---


@pytest.mark.parametrize(
    ("auc", "low", "failed"),
    [
        (0.70, 0.60, set()),
        (0.55, 0.50, {"better_than_chance"}),
        (0.55, float("nan"), {"better_than_chance"}),
        (LEAK_AUC, 0.75, {"plausible"}),
        (0.95, 0.49, {"better_than_chance", "plausible"}),
        (float("nan"), float("nan"), {"better_than_chance", "plausible"}),
    ],
)
def test_a_model_is_better_than_chance_and_no_better_than_can_be_believed(
    auc: float, low: float, failed: set[str]
) -> None:
    results = quality_check_results(auc, low)
    assert {result.check_name for result in results if not result.passed} == failed


def test_quality_warns_and_stops_nothing() -> None:
    results = quality_check_results(0.5, 0.4)
    assert [result.check_name for result in results] == [spec.name for spec in QUALITY_CHECK_SPECS]
    for result, spec in zip(results, QUALITY_CHECK_SPECS, strict=True):
        assert result.severity == dg.AssetCheckSeverity.WARN
        assert result.asset_key == spec.asset_key == training_key("evaluation")
        assert {name: entry.value for name, entry in result.metadata.items()} == {"auc": 0.5, "auc_low": 0.4}
        assert not spec.blocking

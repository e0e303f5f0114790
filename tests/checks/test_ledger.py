"""Nothing is lost on the way in: every batch is accounted for, and so is every wafer."""

from datetime import UTC, datetime

import dagster as dg
import pandas as pd
from pymongo import MongoClient

from resources.mongo import BatchFailure, WaferStore
from resources.s3 import StoredObject
from schemas.lines import LineFeed
from tests.checks.alone import facts_of, judge
from tests.feeds import PREDICTION, TRAINING, line_like
from wafer_assets.checks.ledger import all_accounted_for
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import report_raw_batches
from wafer_assets.settings import Settings

FIRST, SECOND = "wafer_06012020_060000.csv", "wafer_07012020_060000.csv"


def landed(batch: str, feed: LineFeed = TRAINING, etag: str = "first") -> StoredObject:
    return StoredObject(landing_key(feed, batch), 1, etag, datetime(2026, 1, 1, tzinfo=UTC))


def land(instance: dg.DagsterInstance, *batches: str, feed: LineFeed = TRAINING, etag: str = "first") -> None:
    report_raw_batches(instance, feed, "landing", {batch: landed(batch, feed, etag) for batch in batches})


def accept(mongo: WaferStore, batch: str, feed: LineFeed = TRAINING) -> None:
    frame = pd.DataFrame({"wafer": [f"{batch}-1", f"{batch}-2"], "Sensor-1": [1.0, 2.0], "faulty": [0, 1]})
    mongo.replace_batch(feed, batch, frame, landed(batch, feed), sha256="x")


def account(mongo: WaferStore, instance: dg.DagsterInstance, feed: LineFeed = TRAINING) -> dg.AssetCheckEvaluation:
    return judge(all_accounted_for(feed), instance, wafers=mongo)


def test_accepted_and_refused_batches_are_accounted_for(mongo: WaferStore, instance: dg.DagsterInstance) -> None:
    land(instance, FIRST, SECOND)
    accept(mongo, FIRST)
    mongo.quarantine_batch(TRAINING, SECOND, [{"code": "file_empty"}], landed(SECOND))
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
        line="secom",
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
        client[settings.mongo.database]["secom_training_wafers"].delete_one({"wafer": f"{FIRST}-1"})
    outcome = account(mongo, instance)
    assert outcome.severity == dg.AssetCheckSeverity.ERROR
    assert facts_of(outcome)["miscounted"] == [FIRST]
    assert "materialize their records again" in str(outcome.description)


def test_each_line_accounts_for_its_own_batches(mongo: WaferStore, instance: dg.DagsterInstance) -> None:
    land(instance, FIRST)
    land(instance, SECOND, feed=PREDICTION)
    accept(mongo, FIRST)
    assert account(mongo, instance).passed
    assert facts_of(account(mongo, instance, PREDICTION))["waiting"] == [SECOND]


def test_batches_of_one_name_are_accounted_for_line_by_line(mongo: WaferStore, instance: dg.DagsterInstance) -> None:
    etch = line_like("etch").feed("training")
    for feed in (TRAINING, etch):
        land(instance, FIRST, feed=feed)
    accept(mongo, FIRST)
    assert facts_of(account(mongo, instance, etch))["waiting"] == [FIRST]
    assert account(mongo, instance).passed
    accept(mongo, FIRST, etch)
    assert account(mongo, instance, etch).passed

"""Ingestion on real services: every file gets one outcome, and no file harms another."""

import io
import json
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from resources.mongo import BatchManifest, StoredBatch, WaferStore
from resources.s3 import S3Store, s3_client
from schemas.lines import LineFeed
from schemas.loader import BatchSchema
from tests.assets.conftest import Ingest
from tests.feeds import TRAINING
from wafer_assets.definitions import build_defs
from wafer_assets.domain.simulation import broken_batches, simulate_batches
from wafer_assets.domain.table import frame_hash, wafer_table
from wafer_assets.keys import landing_key, quarantine_folder, validated_key
from wafer_assets.settings import Settings


@pytest.fixture(scope="module")
def good(schema: BatchSchema) -> dict[str, bytes]:
    return {
        batch.name: batch.content
        for batch in simulate_batches(3, 8, feed="training", schema=schema, seed=1, fault_rate=0.3)
    }


def stored(mongo: WaferStore) -> int:
    return sum(len(frame) for _, frame in mongo.read_batches(TRAINING))


def materialized(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(["secom", "training", asset])))


def test_good_and_bad_files_of_every_kind_in_one_run(
    ingest: Ingest,
    good: dict[str, bytes],
    schema: BatchSchema,
    instance: dg.DagsterInstance,
    mongo: WaferStore,
    s3: S3Store,
) -> None:
    broken = {batch.name: batch for batch in broken_batches(schema, seed=1)}
    result = ingest(good | {name: batch.content for name, batch in broken.items()})

    assert result.success
    assert materialized(instance, "raw_batches") == set(good) | set(broken)
    # Every batch has a verdict and its records, of which a refused one has none, so that a backfill is complete.
    assert materialized(instance, "validated_batches") == set(good) | set(broken)
    assert materialized(instance, "wafer_records") == set(good) | set(broken)
    assert materialized(instance, "quarantined_batches") == set(broken)
    assert stored(mongo) == 8 * len(good)
    for manifest in mongo.batches(TRAINING, "quarantined"):
        assert {reason["code"] for reason in manifest.reasons} == broken[manifest.batch].codes
        folder = quarantine_folder(TRAINING, manifest.batch)
        assert s3.get(s3.lake, f"{folder}{manifest.batch}") == broken[manifest.batch].content
        kept = json.loads(s3.get(s3.lake, f"{folder}reasons.json"))
        assert [reason["message"] for reason in kept["reasons"]]


def test_the_ledger_counts_what_came_of_every_file(ingest: Ingest, good: dict[str, bytes]) -> None:
    result = ingest({**good, "notes.csv": b"not a batch"})

    (ledger,) = result.asset_materializations_for_node("secom__ingest_training_batches")[-1:]
    figures = {name: value.value for name, value in ledger.metadata.items()}
    assert figures["received"] == 4
    assert figures["accepted"] + figures["quarantined"] == figures["received"]
    assert figures["quarantined_by_reason"]["file_name_invalid"] == 1
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["file_name"].passed
    assert checks["readings"].passed
    assert checks["all_accounted_for"].passed


def test_the_contract_check_is_evaluated_for_every_batch(ingest: Ingest, good: dict[str, bytes]) -> None:
    result = ingest({**good, "notes.csv": b"not a batch"})

    outcome = {
        event.event_specific_data.partition: event.event_specific_data.passed  # type: ignore[union-attr]
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION" and event.event_specific_data.check_name == "contract"  # type: ignore[union-attr]
    }
    assert outcome == {**dict.fromkeys(good, True), "notes.csv": False}


def test_ingesting_again_changes_nothing(
    ingest: Ingest, good: dict[str, bytes], instance: dg.DagsterInstance, mongo: WaferStore
) -> None:
    first = ingest(good)
    before = {item.batch: item.sha256 for item in mongo.batches(TRAINING)}
    again = first.job_def.execute_in_process(instance=instance, tags=first.dagster_run.tags)
    assert again.success
    assert {item.batch: item.sha256 for item in mongo.batches(TRAINING)} == before
    assert stored(mongo) == 24


def test_a_corrected_file_leaves_the_quarantine_and_a_broken_one_enters_it(
    ingest: Ingest, good: dict[str, bytes], mongo: WaferStore, s3: S3Store
) -> None:
    name, content = next(iter(good.items()))
    ingest({name: content.replace(b"Sensor-7,", b"Sensor-X,", 1)})
    assert [item.status for item in mongo.batches(TRAINING)] == ["quarantined"]
    assert not s3.exists(s3.lake, validated_key(TRAINING, name))

    ingest({name: content})
    assert [item.status for item in mongo.batches(TRAINING)] == ["accepted"]
    assert s3.list_objects(s3.lake, quarantine_folder(TRAINING, name)) == []

    ingest({name: content.replace(b"Sensor-7,", b"Sensor-X,", 1)})
    assert [item.status for item in mongo.batches(TRAINING)] == ["quarantined"]
    assert stored(mongo) == 0
    assert not s3.exists(s3.lake, validated_key(TRAINING, name))


@pytest.mark.parametrize(
    "name", ["wafer 07012020 041011.csv", "wäfer_07012020_041011.csv", "a..b.csv", "100%.csv", "sub/x.csv"]
)
def test_strange_names_are_quarantined_under_their_name(
    ingest: Ingest, good: dict[str, bytes], mongo: WaferStore, name: str
) -> None:
    ingest({name: next(iter(good.values()))})

    (manifest,) = mongo.batches(TRAINING)
    assert {reason["code"] for reason in manifest.reasons} == {"file_name_invalid"}
    assert manifest.key == landing_key(TRAINING, name)


def test_a_key_that_is_no_plain_path_is_refused_and_harms_no_other(
    ingest: Ingest, good: dict[str, bytes], settings: Settings, mongo: WaferStore
) -> None:
    s3_client(settings.s3).put_object(Bucket="landing", Key="secom/training/tab\there.csv", Body=b"x")
    result = ingest(good)

    assert result.success
    (refused,) = mongo.batches(TRAINING, "quarantined")
    assert refused.key == "secom/training/tab\there.csv"
    assert {reason["code"] for reason in refused.reasons} == {"file_name_invalid"}
    assert len(mongo.batches(TRAINING, "accepted")) == len(good)


def test_a_file_that_is_too_large_is_refused_unread_and_kept(
    ingest: Ingest, schema: BatchSchema, mongo: WaferStore, s3: S3Store
) -> None:
    name = "wafer_07012020_041011.csv"
    content = b"0" * (schema.max_file_size + 1)
    ingest({name: content})

    (manifest,) = mongo.batches(TRAINING)
    assert [reason["code"] for reason in manifest.reasons] == ["file_too_large"]
    assert s3.head(s3.lake, f"{quarantine_folder(TRAINING, name)}{name}").size == len(content)


def without_outcome(failed: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in failed.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def test_a_batch_that_cannot_be_stored_fails_alone_until_something_changes(
    ingest: Ingest,
    good: dict[str, bytes],
    instance: dg.DagsterInstance,
    settings: Settings,
    mongo: WaferStore,
    s3: S3Store,
) -> None:
    # A document that is larger than MongoDB takes: the server's own refusal of one batch.
    name = list(good)[1]
    wafer = pd.read_csv(io.BytesIO(good[name]), usecols=[0], nrows=1).iloc[0, 0]

    class TooLarge(WaferStore):
        def replace_batch(
            self, feed: LineFeed, batch: str, frame: pd.DataFrame, *args: Any, **more: Any
        ) -> BatchManifest:
            if batch == name:
                frame = frame.assign(wafer=frame["wafer"].replace(wafer, "0" * 17_000_000))
            return super().replace_batch(feed, batch, frame, *args, **more)

    result = ingest({**good, "notes.csv": b"not a batch"}, raise_on_error=False, wafers=TooLarge(settings))
    assert not result.success
    assert result.retry_attempts_for_node("secom__ingest_training_batches") == 0
    assert name in without_outcome(result)
    assert "too large" in without_outcome(result)
    # All others have their outcome, the ledger was made, and nothing is left of the one.
    assert {item.batch for item in mongo.batches(TRAINING)} == {*good, "notes.csv"} - {name}
    (ledger,) = result.asset_materializations_for_node("secom__ingest_training_batches")[-1:]
    assert ledger.metadata["received"].value == len(good)
    assert name in ledger.metadata["failed"].value
    assert not s3.exists(s3.lake, validated_key(TRAINING, name))
    ledger_alone = build_defs(settings).resolve_implicit_global_asset_job_def()
    again = ledger_alone.get_subset(asset_selection={dg.AssetKey(["secom", "training", "batch_ledger"])})
    checks = again.execute_in_process(instance=instance).get_asset_check_evaluations()
    (check,) = [item for item in checks if item.check_name == "all_accounted_for"]
    assert not check.passed
    assert "too large" in check.metadata["failed"].value[name]
    assert check.metadata["waiting"].value == check.metadata["miscounted"].value == []

    assert ingest({name: good[name] + b"\n"}).success
    assert mongo.failures(TRAINING) == []
    assert stored(mongo) == 8 * len(good)


def test_a_vanished_file_fails_the_run_and_holds_up_no_other(
    ingest: Ingest, good: dict[str, bytes], instance: dg.DagsterInstance, s3: S3Store, mongo: WaferStore
) -> None:
    first = ingest(good)
    gone = next(iter(good))
    s3.delete(s3.landing, landing_key(TRAINING, gone))
    again = first.job_def.execute_in_process(instance=instance, tags=first.dagster_run.tags, raise_on_error=False)

    assert not again.success
    (failure,) = [event for event in again.all_events if event.is_step_failure]
    assert gone in str(failure.step_failure_data.user_failure_data)
    assert len(mongo.batches(TRAINING, "accepted")) == len(good)


def test_a_table_reads_only_what_is_new_and_everything_after_a_correction(
    ingest: Ingest,
    good: dict[str, bytes],
    instance: dg.DagsterInstance,
    settings: Settings,
    mongo: WaferStore,
) -> None:
    read: list[str] = []

    class Counted(WaferStore):
        def read(self, feed: LineFeed, batch: str) -> StoredBatch:
            read.append(batch)
            return super().read(feed, batch)

    table = build_defs(settings, wafers=Counted(settings)).resolve_implicit_global_asset_job_def()

    def hash_of_table() -> str:
        read.clear()
        selection = {dg.AssetKey(["secom", "training", "wafer_table"])}
        result = table.get_subset(asset_selection=selection).execute_in_process(instance=instance)
        found, lost = wafer_table((item.batch, frame) for item, frame in mongo.read_batches(TRAINING))
        (event,) = result.asset_materializations_for_node("secom__training__wafer_table")
        assert event.metadata["content_hash"].value == frame_hash(found)
        assert event.metadata["superseded_rows"].value == lost
        return frame_hash(found)

    first, second, third = good
    ingest({first: good[first], second: good[second]})
    before = hash_of_table()
    assert read == [first, second]
    assert hash_of_table() == before
    assert read == []
    ingest({third: good[third]})
    assert hash_of_table() != before
    assert read == [third]
    ingest({first: good[second]})  # all its wafers are superseded now
    hash_of_table()
    assert read == [first, second, third]

"""The landing sensor on real services: what is new, changed or gone is told to Dagster, once and until it is done."""

import itertools

import dagster as dg
import pytest
from botocore.exceptions import BotoCoreError
from pymongo.errors import WriteError

from resources.mongo import BatchManifest, WaferStore
from resources.s3 import S3Store, StoredObject
from sensors.landing import landing_sensors
from tests.feeds import LINE, PREDICTION, TRAINING
from tests.sensors.conftest import BAD, INGESTED, Flow
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import reported_files
from wafer_assets.settings import AutomationSettings, Settings


def test_new_files_are_registered_and_reported_with_what_s3_says_of_them(flow: Flow, good: dict[str, bytes]) -> None:
    flow.drop(good)
    assert flow.tick().startswith("4 files are new or changed")
    assert set(flow.instance.get_dynamic_partitions("secom_training_batches")) == set(good)
    event = flow.instance.get_latest_materialization_event(dg.AssetKey(["secom", "training", "raw_batches"]))
    assert event is not None
    assert event.asset_materialization is not None
    facts = event.asset_materialization.metadata
    assert {"size_bytes", "etag", "last_modified", "uri"} <= set(facts)
    assert flow.tick().startswith("Nothing is new; 4 files")


def test_a_tick_reports_a_few_hundred_at_most_and_the_next_takes_the_rest(
    settings: Settings, good: dict[str, bytes]
) -> None:
    few = settings.model_copy(update={"automation": AutomationSettings(max_reports=3)})
    with dg.DagsterInstance.ephemeral() as instance:
        flow = Flow(few, instance)
        flow.drop(good)
        flow.tick()
        assert len(reported_files(instance, TRAINING)) == 3
        flow.tick()
        assert set(reported_files(instance, TRAINING)) == set(good)


def test_a_corrected_file_of_the_same_name_is_reported_again(flow: Flow, good: dict[str, bytes]) -> None:
    name = next(iter(good))
    flow.drop(good)
    flow.tick()
    before = reported_files(flow.instance, TRAINING)
    flow.drop({name: BAD})
    assert flow.tick().startswith("1 files are new or changed")
    after = reported_files(flow.instance, TRAINING)
    assert [batch for batch in good if before[batch] != after[batch]] == [name]


def test_a_vanished_file_is_reported_once_and_again_only_after_it_came_back(flow: Flow, good: dict[str, bytes]) -> None:
    name, content = next(iter(good.items()))
    flow.drop(good)
    flow.tick()
    flow.s3.delete(flow.s3.landing, landing_key(TRAINING, name))
    assert f"1 have vanished: {name}" in flow.tick()
    assert flow.tick().startswith("Nothing is new; 3 files")
    assert flow.observations(name) == 1
    assert name in flow.instance.get_dynamic_partitions("secom_training_batches")

    flow.drop({name: content})
    assert flow.tick().startswith("1 files are new or changed")
    flow.s3.delete(flow.s3.landing, landing_key(TRAINING, name))
    flow.tick()
    assert flow.observations(name) == 2


def test_a_failed_listing_is_a_failed_tick_that_changes_nothing(
    flow: Flow, good: dict[str, bytes], settings: Settings
) -> None:
    flow.drop(good)
    flow.tick()
    before = reported_files(flow.instance, TRAINING)

    class Unreachable(S3Store):
        def list_objects(self, *_: object) -> list[StoredObject]:
            raise BotoCoreError

    flow.s3 = Unreachable(settings)
    with pytest.raises(BotoCoreError):
        flow.tick()
    assert reported_files(flow.instance, TRAINING) == before
    assert flow.observations(next(iter(good))) == 0


def test_a_file_that_got_no_outcome_is_reported_again_later(flow: Flow, good: dict[str, bytes]) -> None:
    now = [1_000_000.0]
    flow.clock = lambda: now[0]
    flow.drop(good)
    flow.tick()  # reports them
    done = set(list(good)[:3])
    assert flow.run(*INGESTED, partitions=set(done))
    now[0] += 1_900
    assert "reported again" not in flow.tick()  # they are as old as the last search, not older
    now[0] -= 3_600  # the clock goes back
    assert "1 had no outcome and are reported again" in flow.tick()
    (late,) = set(good) - done
    assert flow.evaluate()["secom/training/validated_batches"] >= {late}


def test_what_stays_without_outcome_is_reported_after_pauses_that_grow_up_to_a_day(
    settings: Settings, good: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, hours = [1_000_000.0], 2
    monkeypatch.setattr("time.time", lambda: now[0])  # pauses are measured from the times of Dagster's events
    name = next(iter(good))
    patient = settings.model_copy(update={"automation": AutomationSettings(retry_minutes=hours * 60)})
    with dg.DagsterInstance.ephemeral() as instance:
        flow = Flow(patient, instance)
        flow.clock = lambda: now[0]
        flow.drop({name: good[name]})
        flow.tick()
        reports = [now[0]]
        for _ in range(6 * 24 // hours):  # six days
            now[0] += hours * 3_600
            if "1 had no outcome and are reported again" in flow.tick():
                reports.append(now[0])
        pauses = [(later - earlier) / 3_600 for earlier, later in itertools.pairwise(reports)]
        assert pauses == [4, 8, 16, 24, 24, 24, 24]

        flow.drop({name: good[name] + b"\n"})  # another file: from the beginning
        assert flow.tick().startswith("1 files are new or changed")
        now[0] += hours * 3_600
        flow.tick()
        now[0] += hours * 3_600
        assert "1 had no outcome and are reported again" in flow.tick()


def test_what_cannot_be_stored_is_reported_again_once_file_contract_or_code_has_changed(
    flow: Flow, good: dict[str, bytes]
) -> None:
    now = [1_000_000.0]
    flow.clock = lambda: now[0]
    name = next(iter(good))
    flow.drop({name: good[name]})
    flow.tick()

    class Refusing(WaferStore):
        def replace_batch(self, *_: object, **__: object) -> BatchManifest:
            raise WriteError("this document is not liked", 121)

    assert not flow.run(*INGESTED, partitions={name}, wafers=Refusing(flow.settings))
    for _ in range(10):
        now[0] += 100_000
        said = flow.tick()
        assert "reported again" not in said
        assert "1 cannot be stored" in said

    (failure,) = flow.store.failures(TRAINING)
    assert "this document is not liked" in failure.reason
    flow.store.note_failure(failure.model_copy(update={"code_version": "0, contract 0.9"}))
    now[0] += 100_000
    assert "1 had no outcome and are reported again" in flow.tick()

    flow.store.note_failure(failure)
    flow.drop({name: good[name] + b"\n"})
    assert flow.tick().startswith("1 files are new or changed")
    assert flow.run(*INGESTED, partitions={name})
    assert flow.store.failures(TRAINING) == []


def test_each_line_has_a_sensor_that_looks_as_often_as_the_settings_say() -> None:
    sensors = landing_sensors(LINE, AutomationSettings(landing_seconds=7))
    assert [sensor.name for sensor in sensors] == ["secom__land_training_batches", "secom__land_prediction_batches"]
    for sensor in sensors:
        assert sensor.minimum_interval_seconds == 7
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_a_sensor_looks_at_the_files_of_its_line_alone(flow: Flow, good: dict[str, bytes]) -> None:
    flow.drop(good, TRAINING)
    assert flow.tick(PREDICTION).startswith("Nothing is new; 0 files are there")
    assert flow.instance.get_dynamic_partitions("secom_prediction_batches") == []
    assert reported_files(flow.instance, TRAINING) == {}

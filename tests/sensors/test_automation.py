"""From a file in S3 to records, table and predictions by themselves: sensors and conditions on real services."""

import itertools
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from botocore.exceptions import BotoCoreError
from dagster._core.execution.api import create_execution_plan
from pymongo.errors import WriteError

from resources.mongo import BatchManifest, WaferStore
from resources.s3 import S3Store, StoredObject
from schemas.loader import Line, load_schema
from sensors.landing import landing_sensor
from wafer_assets.definitions import build_defs
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import reported_files
from wafer_assets.operations.ranges import batch_ranges
from wafer_assets.settings import AutomationSettings, Settings

Requested = Mapping[str, set[str | None]]

BAD = b"Wafer,Sensor-1\nWafer-1,1\n"


class Flow:
    """The platform of one test, tick by tick."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.s3, self.store, self.instance = S3Store(settings), WaferStore(settings), instance
        self.settings, self.clock = settings, time.time
        self.defs = build_defs(settings)
        self.repository = self.defs.get_repository_def()
        self.cursors: dict[str, str | None] = {}
        self.conditions = dg.evaluate_automation_conditions(self.defs, instance).cursor

    def drop(self, files: Mapping[str, bytes], line: Line = "training") -> None:
        for name, content in files.items():
            self.s3.put(self.s3.landing, landing_key(line, name), content)

    def tick(self, line: Line = "training") -> str:
        """Let the landing sensor look once; return what it says."""
        name = f"land_{line}_batches"
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            resources={"s3": self.s3, "wafers": self.store},
        )
        sensor = landing_sensor(load_schema(line), self.settings.automation, self.clock)
        result = sensor.evaluate_tick(context)
        self.cursors[name] = result.cursor
        return str(result.skip_message)

    def evaluate(self, at: datetime | None = None) -> Requested:
        """Evaluate all conditions once; return the partitions that are asked for, by asset."""
        result = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.conditions, evaluation_time=at)
        self.conditions = result.cursor
        found = {
            key.to_user_string(): result.get_requested_partitions(key)
            for key in self.repository.asset_graph.materializable_asset_keys
        }
        return {key: partitions for key, partitions in found.items() if partitions}

    def run(
        self,
        *assets: str,
        partitions: set[str | None] | None = None,
        line: Line = "training",
        wafers: WaferStore | None = None,
    ) -> bool:
        """Materialize assets, as the daemon would, on another store if one is given."""
        selection = [dg.AssetKey(asset.split("/")) for asset in assets]
        defs = build_defs(self.settings, wafers=wafers) if wafers else self.defs
        job = defs.get_repository_def().get_implicit_job_def_for_assets(selection)
        assert job is not None
        subset = job.get_subset(asset_selection=set(selection))
        tags: list[dict[str, str]] = [{}]
        if partitions:
            tags = [part.tags for part in batch_ranges(self.instance, line, [str(key) for key in partitions])]
        return all(
            subset.execute_in_process(instance=self.instance, tags=each, raise_on_error=False).success for each in tags
        )

    def begin(self, asset: str, tags: dict[str, str]) -> dg.DagsterRun:
        """Begin a run that does not end by itself."""
        key = dg.AssetKey(asset.split("/"))
        implicit = self.repository.get_implicit_job_def_for_assets([key])
        assert implicit is not None
        job = implicit.get_subset(asset_selection={key})
        return self.instance.create_run_for_job(
            job,
            execution_plan=create_execution_plan(job, tags=tags),
            tags=tags,
            asset_selection={key},
            status=dg.DagsterRunStatus.STARTED,
        )

    def observations(self, batch: str) -> int:
        found = self.instance.fetch_observations(
            dg.AssetRecordsFilter(dg.AssetKey(["training", "raw_batches"]), asset_partitions=[batch]), limit=10
        )
        return len(found.records)


@pytest.fixture
def flow(settings: Settings) -> Iterator[Flow]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Flow(settings, instance)


@pytest.fixture(scope="module")
def good() -> dict[str, bytes]:
    batches = simulate_batches(4, 6, line="training", schema=load_schema("training"), seed=5, fault_rate=0.3)
    return {batch.name: batch.content for batch in batches}


INGESTED = ("training/validated_batches", "training/wafer_records")
FOLLOWING = ("training/batch_ledger", "training/wafer_table")


# --- The landing sensor ---


def test_new_files_are_registered_and_reported_with_what_s3_says_of_them(flow: Flow, good: dict[str, bytes]) -> None:
    flow.drop(good)
    assert flow.tick().startswith("4 files are new or changed")
    assert set(flow.instance.get_dynamic_partitions("training_batches")) == set(good)
    event = flow.instance.get_latest_materialization_event(dg.AssetKey(["training", "raw_batches"]))
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
        assert len(reported_files(instance, "training")) == 3
        flow.tick()
        assert set(reported_files(instance, "training")) == set(good)


def test_a_corrected_file_of_the_same_name_is_reported_again(flow: Flow, good: dict[str, bytes]) -> None:
    name = next(iter(good))
    flow.drop(good)
    flow.tick()
    before = reported_files(flow.instance, "training")
    flow.drop({name: BAD})
    assert flow.tick().startswith("1 files are new or changed")
    after = reported_files(flow.instance, "training")
    assert [batch for batch in good if before[batch] != after[batch]] == [name]


def test_a_vanished_file_is_reported_once_and_again_only_after_it_came_back(flow: Flow, good: dict[str, bytes]) -> None:
    name, content = next(iter(good.items()))
    flow.drop(good)
    flow.tick()
    flow.s3.delete(flow.s3.landing, landing_key("training", name))
    assert f"1 have vanished: {name}" in flow.tick()
    assert flow.tick().startswith("Nothing is new; 3 files")
    assert flow.observations(name) == 1
    assert name in flow.instance.get_dynamic_partitions("training_batches")

    flow.drop({name: content})
    assert flow.tick().startswith("1 files are new or changed")
    flow.s3.delete(flow.s3.landing, landing_key("training", name))
    flow.tick()
    assert flow.observations(name) == 2


def test_a_failed_listing_is_a_failed_tick_that_changes_nothing(
    flow: Flow, good: dict[str, bytes], settings: Settings
) -> None:
    flow.drop(good)
    flow.tick()
    before = reported_files(flow.instance, "training")

    class Unreachable(S3Store):
        def list_objects(self, *_: object) -> list[StoredObject]:
            raise BotoCoreError

    flow.s3 = Unreachable(settings)
    with pytest.raises(BotoCoreError):
        flow.tick()
    assert reported_files(flow.instance, "training") == before
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
    assert flow.evaluate()["training/validated_batches"] >= {late}


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

    (failure,) = flow.store.failures("training")
    assert "this document is not liked" in failure.reason
    flow.store.note_failure(failure.model_copy(update={"code_version": "0, contract 0.9"}))
    now[0] += 100_000
    assert "1 had no outcome and are reported again" in flow.tick()

    flow.store.note_failure(failure)
    flow.drop({name: good[name] + b"\n"})
    assert flow.tick().startswith("1 files are new or changed")
    assert flow.run(*INGESTED, partitions={name})
    assert flow.store.failures("training") == []


# --- Conditions ---


def test_new_files_flow_to_records_ledger_and_table_and_then_all_is_calm(flow: Flow, good: dict[str, bytes]) -> None:
    flow.drop({**good, "wafer_1.csv": BAD})
    flow.tick()
    batches = {*good, "wafer_1.csv"}
    assert flow.evaluate() == dict.fromkeys(INGESTED, batches)
    assert flow.evaluate() == {}  # asked for once
    assert flow.run(*INGESTED, partitions=set(batches))
    assert flow.evaluate() == {asset: {None} for asset in FOLLOWING}
    assert flow.run(*FOLLOWING)
    assert flow.evaluate() == {}
    table = flow.instance.get_latest_materialization_event(dg.AssetKey(["training", "wafer_table"]))
    assert table is not None
    assert table.asset_materialization is not None
    assert table.asset_materialization.metadata["dagster/row_count"].value == 24


def test_a_correction_flows_alone(flow: Flow, good: dict[str, bytes]) -> None:
    name = list(good)[1]
    flow.drop(good)
    flow.tick()
    flow.evaluate()
    assert flow.run(*INGESTED, partitions=set(good))
    flow.evaluate()
    flow.drop({name: good[name].replace(b",-1", b",1")})
    flow.tick()
    assert flow.evaluate()["training/wafer_records"] == {name}


def test_missed_ticks_and_what_was_known_before_are_caught_up(settings: Settings, good: dict[str, bytes]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        flow = Flow(settings, instance)
        flow.drop(good)
        flow.tick()
        flow.conditions = None  # as if the daemon had never looked
        assert flow.evaluate()["training/validated_batches"] == set(good)


def test_a_stream_that_never_pauses_does_not_starve_the_table(flow: Flow, good: dict[str, bytes]) -> None:
    first, second = list(good)[:2]
    flow.drop({first: good[first]})
    flow.tick()
    start = datetime(2030, 1, 1, 12, 1, tzinfo=UTC)
    flow.evaluate(start)
    assert flow.run(*INGESTED, partitions={first})
    # Another batch is being ingested whenever the conditions are looked at.
    flow.drop({second: good[second]})
    flow.tick()
    flow.begin("training/wafer_records", {"dagster/partition": second})
    assert FOLLOWING[0] not in flow.evaluate(start + timedelta(minutes=1))
    assert FOLLOWING[0] not in flow.evaluate(start + timedelta(minutes=8))
    assert FOLLOWING[0] in flow.evaluate(start + timedelta(minutes=10))


def test_an_update_while_the_table_is_made_is_not_lost(flow: Flow, good: dict[str, bytes]) -> None:
    first, second = list(good)[:2]
    flow.drop({first: good[first]})
    flow.tick()
    flow.evaluate()
    assert flow.run(*INGESTED, partitions={first})
    assert flow.evaluate() == {asset: {None} for asset in FOLLOWING}
    # The table is begun; before it ends there are more records.
    run = flow.begin("training/wafer_table", {})
    flow.drop({second: good[second]})
    flow.tick()
    flow.evaluate()
    assert flow.run(*INGESTED, partitions={second})
    assert flow.evaluate() == {}
    for asset in FOLLOWING:
        flow.instance.report_runless_asset_event(dg.AssetMaterialization(asset.split("/")))
    flow.instance.report_run_failed(run)
    assert flow.evaluate() == {asset: {None} for asset in FOLLOWING}
    assert flow.evaluate() == {}


# --- Scoring ---


def test_records_wait_for_the_first_champion_and_later_ones_score_what_comes_after(flow: Flow) -> None:
    batches = simulate_batches(2, 4, line="prediction", schema=load_schema("prediction"), seed=6)
    files = {batch.name: batch.content for batch in batches}
    predictions, champion = "prediction/predictions", dg.AssetMaterialization(["training", "champion"])
    assets = ("prediction/validated_batches", "prediction/wafer_records")
    flow.drop(files, "prediction")
    flow.tick("prediction")
    flow.evaluate()
    assert flow.run(*assets, partitions=set(files), line="prediction")
    assert predictions not in flow.evaluate()
    flow.instance.report_runless_asset_event(champion)
    assert flow.evaluate()[predictions] == set(files)
    for batch in files:
        flow.instance.report_runless_asset_event(
            dg.AssetMaterialization(["prediction", "predictions"], partition=batch)
        )
    flow.instance.report_runless_asset_event(champion)
    assert predictions not in flow.evaluate()


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


class Scoring(Flow):
    """The prediction line of one test, whose clock the test sets."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        super().__init__(settings, instance)
        # In the past: what happens counts as later than the tick before it.
        self.now = datetime(2020, 1, 1, 14, 20, tzinfo=UTC)
        self.champion()
        self.conditions = None
        self.asked()

    def champion(self) -> None:
        """Tell of a decision on the champion, whatever it was."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(["training", "champion"]))

    def ingest(self, files: Mapping[str, bytes]) -> None:
        self.drop(files, "prediction")
        self.tick("prediction")
        assert self.run(
            "prediction/validated_batches", "prediction/wafer_records", partitions=set(files), line="prediction"
        )

    def asked(self) -> set[str | None]:
        """Return the batches whose predictions are asked for now."""
        key = dg.AssetKey(["prediction", "predictions"])
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.instance,
            asset_selection=dg.AssetSelection.assets(key),
            cursor=self.conditions,
            evaluation_time=self.now,
        )
        self.conditions = result.cursor
        return result.get_requested_partitions(key)

    def asked_within(self, hours: int) -> list[tuple[str, set[str | None]]]:
        """Let hours pass; return when which predictions were asked for."""
        found = []
        for _ in range(2 * hours):
            self.now += timedelta(minutes=30)
            if batches := self.asked():
                found.append((f"{self.now:%d %H:%M}", batches))
        return found

    def score(self, batches: set[str | None]) -> bool:
        return self.run("prediction/predictions", partitions=batches, line="prediction")


@pytest.mark.usefixtures("without_pauses")
def test_what_cannot_be_scored_is_asked_for_again_only_when_something_has_changed(platform_settings: Settings) -> None:
    found = simulate_batches(3, 4, line="prediction", schema=load_schema("prediction"), seed=6)
    files = {batch.name: batch.content for batch in found}
    first, second, third = files
    with dg.DagsterInstance.ephemeral() as instance:
        scoring = Scoring(platform_settings, instance)
        scoring.ingest({first: files[first], second: files[second]})
        assert scoring.asked() == {first, second}
        assert not scoring.score({first, second}), "there is no champion"
        assert scoring.asked_within(hours=11) == []

        # Other files come and go without them.
        scoring.ingest({third: files[third]})
        assert scoring.asked() == {third}
        assert not scoring.score({third})
        assert scoring.asked_within(hours=2) == []

        # What changes alone is asked for alone.
        scoring.ingest({first: files[first].replace(b".5", b".6")})
        assert scoring.asked() == {first}
        assert not scoring.score({first})
        assert scoring.asked_within(hours=2) == []

        # The champion concerns all, also where it changed while they were being refused.
        scoring.champion()
        assert scoring.asked() == set(files)
        scoring.champion()
        assert not scoring.score(set(files))
        assert scoring.asked() == set(files)
        assert not scoring.score(set(files))
        assert scoring.asked_within(hours=4) == []


@pytest.mark.usefixtures("without_pauses")
def test_what_failed_for_another_reason_is_tried_again_with_growing_pauses(settings: Settings) -> None:
    (batch,) = simulate_batches(1, 4, line="prediction", schema=load_schema("prediction"), seed=6)
    with dg.DagsterInstance.ephemeral() as instance:
        scoring = Scoring(settings, instance)
        scoring.ingest({batch.name: batch.content})
        assert scoring.asked() == {batch.name}
        assert not scoring.score({batch.name}), "MLflow is away"
        times = ["01 15:20", "01 16:20", "01 17:20", "01 18:20", "02 00:20", "03 00:20"]
        assert scoring.asked_within(hours=35) == [(time, {batch.name}) for time in times]

        # A correction is as urgent as a new file.
        scoring.ingest({batch.name: batch.content.replace(b".5", b".6")})
        assert scoring.asked() == {batch.name}
        assert not scoring.score({batch.name})
        assert [time for time, _ in scoring.asked_within(hours=2)] == ["03 02:20", "03 03:20"]

        instance.report_runless_asset_event(
            dg.AssetMaterialization(["prediction", "predictions"], partition=batch.name)
        )
        assert scoring.asked_within(hours=4) == []


def test_every_asset_has_a_named_condition(flow: Flow) -> None:
    graph = flow.repository.asset_graph
    unnamed = [
        key.to_user_string()
        for key in graph.materializable_asset_keys
        if (condition := graph.get(key).automation_condition) is None or not condition.get_label()
    ]
    assert unnamed == []
    running = [
        sensor.name for sensor in flow.repository.sensor_defs if sensor.default_status == dg.DefaultSensorStatus.RUNNING
    ]
    assert {
        "land_training_batches",
        "land_prediction_batches",
        "ingest_new_batches",
        "follow_batches",
        "score_new_records",
        "retrain",
    } <= set(running)

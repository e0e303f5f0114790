"""From a file in S3 to records, table and predictions by themselves: the conditions and their sensors."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from schemas.loader import load_schema
from tests.feeds import PREDICTION
from tests.sensors.conftest import BAD, FOLLOWING, INGESTED, Flow
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.settings import Settings

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
    table = flow.instance.get_latest_materialization_event(dg.AssetKey(["secom", "training", "wafer_table"]))
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
    assert flow.evaluate()["secom/training/wafer_records"] == {name}


def test_missed_ticks_and_what_was_known_before_are_caught_up(settings: Settings, good: dict[str, bytes]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        flow = Flow(settings, instance)
        flow.drop(good)
        flow.tick()
        flow.conditions = None  # as if the daemon had never looked
        assert flow.evaluate()["secom/training/validated_batches"] == set(good)


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
    flow.begin("secom/training/wafer_records", {"dagster/partition": second})
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
    run = flow.begin("secom/training/wafer_table", {})
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
    batches = simulate_batches(2, 4, feed="prediction", schema=load_schema("prediction"), seed=6)
    files = {batch.name: batch.content for batch in batches}
    predictions, champion = "secom/prediction/predictions", dg.AssetMaterialization(["secom", "training", "champion"])
    assets = ("secom/prediction/validated_batches", "secom/prediction/wafer_records")
    flow.drop(files, PREDICTION)
    flow.tick(PREDICTION)
    flow.evaluate()
    assert flow.run(*assets, partitions=set(files), feed=PREDICTION)
    assert predictions not in flow.evaluate()
    flow.instance.report_runless_asset_event(champion)
    assert flow.evaluate()[predictions] == set(files)
    for batch in files:
        flow.instance.report_runless_asset_event(
            dg.AssetMaterialization(["secom", "prediction", "predictions"], partition=batch)
        )
    flow.instance.report_runless_asset_event(champion)
    assert predictions not in flow.evaluate()


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


class Scoring(Flow):
    """The prediction feed of one test, whose clock the test sets."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        super().__init__(settings, instance)
        # In the past: what happens counts as later than the tick before it.
        self.now = datetime(2020, 1, 1, 14, 20, tzinfo=UTC)
        self.champion()
        self.conditions = None
        self.asked()

    def champion(self) -> None:
        """Tell of a decision on the champion, whatever it was."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(["secom", "training", "champion"]))

    def ingest(self, files: Mapping[str, bytes]) -> None:
        self.drop(files, PREDICTION)
        self.tick(PREDICTION)
        assert self.run(
            "secom/prediction/validated_batches",
            "secom/prediction/wafer_records",
            partitions=set(files),
            feed=PREDICTION,
        )

    def asked(self) -> set[str | None]:
        """Return the batches whose predictions are asked for now."""
        key = dg.AssetKey(["secom", "prediction", "predictions"])
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
        return self.run("secom/prediction/predictions", partitions=batches, feed=PREDICTION)


@pytest.mark.usefixtures("without_pauses")
def test_what_cannot_be_scored_is_asked_for_again_only_when_something_has_changed(platform_settings: Settings) -> None:
    found = simulate_batches(3, 4, feed="prediction", schema=load_schema("prediction"), seed=6)
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
    (batch,) = simulate_batches(1, 4, feed="prediction", schema=load_schema("prediction"), seed=6)
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
            dg.AssetMaterialization(["secom", "prediction", "predictions"], partition=batch.name)
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
        "secom__land_training_batches",
        "secom__land_prediction_batches",
        "secom__ingest_new_batches",
        "secom__follow_batches",
        "secom__score_new_records",
        "secom__retrain",
    } <= set(running)

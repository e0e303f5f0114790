"""Governed retraining as the daemon sees it: the sensor's word on an instance, and its settings."""

from collections.abc import Iterator
from uuid import uuid4

import dagster as dg
import pytest

from jobs.training import TRAIN
from schemas.lines import Line, Retraining
from sensors.retraining import REASON, retraining_schedules, retraining_sensors
from tests.feeds import LINE, line_like
from wafer_assets.keys import name_of
from wafer_assets.settings import RetrainingSettings

SETTINGS = RetrainingSettings(min_new_wafers=500, cooldown_hours=24)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp() as instance:
        yield instance


def rows(instance: dg.DagsterInstance, asset: str, count: int, line: str = "secom") -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization([line, "training", asset], metadata={"dagster/row_count": count})
    )


def ask(
    instance: dg.DagsterInstance, settings: RetrainingSettings = SETTINGS, line: Line = LINE
) -> dg.RunRequest | dg.SkipReason:
    (sensor,) = retraining_sensors(line, settings)
    answer = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


def trained(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    instance.add_run(dg.DagsterRun(name_of("secom", TRAIN), run_id=str(uuid4()), status=status))


def test_enough_new_wafers_start_a_training_that_says_why(instance: dg.DagsterInstance) -> None:
    rows(instance, "features", 1_000)
    rows(instance, "wafer_table", 1_400)
    answer = ask(instance)
    assert isinstance(answer, dg.SkipReason)
    assert "400 new labelled wafers" in str(answer.skip_message)
    rows(instance, "wafer_table", 1_600)
    answer = ask(instance)
    assert isinstance(answer, dg.RunRequest)
    assert answer.tags[REASON] == "600 new labelled wafers, no training before"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
def test_a_training_cools_down_even_if_it_failed(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    rows(instance, "wafer_table", 1_600)
    trained(instance, status)
    answer = ask(instance)
    assert isinstance(answer, dg.SkipReason)
    assert "24 h are wanted" in str(answer.skip_message)
    assert isinstance(ask(instance, RetrainingSettings(cooldown_hours=0)), dg.RunRequest)


def test_one_training_at_a_time(instance: dg.DagsterInstance) -> None:
    rows(instance, "wafer_table", 1_600)
    trained(instance, dg.DagsterRunStatus.STARTED)
    answer = ask(instance, RetrainingSettings(cooldown_hours=0))
    assert isinstance(answer, dg.SkipReason)
    assert "under way" in str(answer.skip_message)


def test_a_schedule_trains_as_soon_as_one_wafer_is_new(instance: dg.DagsterInstance) -> None:
    (schedule,) = retraining_schedules(LINE, RetrainingSettings(schedule="0 3 * * 1"))
    context = dg.build_schedule_context(instance=instance)
    rows(instance, "wafer_table", 1_600)
    rows(instance, "features", 1_600)
    assert schedule.evaluate_tick(context).run_requests == []
    rows(instance, "wafer_table", 1_601)
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.tags[REASON].startswith("1 new labelled wafers")


def test_a_line_with_a_rule_of_its_own_is_trained_by_that(instance: dg.DagsterInstance) -> None:
    rows(instance, "wafer_table", 400)
    eager = line_like("secom", retraining=Retraining(min_new_wafers=300, cooldown_hours=48))
    assert isinstance(ask(instance), dg.SkipReason)
    assert isinstance(ask(instance, line=eager), dg.RunRequest)
    trained(instance, dg.DagsterRunStatus.SUCCESS)
    assert "48 h are wanted" in str(ask(instance, line=eager).skip_message)
    assert retraining_sensors(eager, RetrainingSettings(enabled=False)) == []


def test_lines_are_trained_each_by_its_own_wafers_and_trainings(instance: dg.DagsterInstance) -> None:
    etch = line_like("etch")
    rows(instance, "wafer_table", 1_600)
    trained(instance, dg.DagsterRunStatus.STARTED)
    assert "under way" in str(ask(instance).skip_message)
    assert "0 new labelled wafers" in str(ask(instance, line=etch).skip_message)
    rows(instance, "wafer_table", 700, line="etch")
    (sensor,) = retraining_sensors(etch, SETTINGS)
    assert (sensor.name, sensor.job_name) == ("etch__retrain", "etch__train")
    answer = ask(instance, line=etch)
    assert isinstance(answer, dg.RunRequest)
    assert answer.tags[REASON] == "700 new labelled wafers, no training before"


def test_one_setting_turns_it_off() -> None:
    off = RetrainingSettings(enabled=False, schedule="0 3 * * 1")
    assert retraining_sensors(LINE, off) == []
    assert retraining_schedules(LINE, off) == []
    assert retraining_schedules(LINE, RetrainingSettings()) == []

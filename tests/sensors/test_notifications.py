"""Failures reach people: runs that failed for good, and files that broke the contract, each once."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from resources.notifier import NotificationError, Notifier
from schemas.lines import Line, LineFeed
from sensors.notifications import notification_sensors, notify_quarantine, run_failure_sensor
from tests.feeds import LINE, PREDICTION, TRAINING, line_like
from tests.inbox import Inbox, open_inbox
from wafer_assets.keys import feed_key
from wafer_assets.settings import NotificationSettings

notify_run_failure = run_failure_sensor({"secom": LINE})


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


def notifier(inbox: Inbox, *more_urls: str) -> Notifier:
    return Notifier(NotificationSettings(urls=tuple(SecretStr(url) for url in (inbox.url, *more_urls))))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


# Runs


class FailConfig(dg.Config):
    message: str
    described: bool = False


@dg.op
def fail(config: FailConfig) -> None:
    if config.described:
        raise dg.Failure(config.message)
    try:
        raise ValueError(config.message)
    except ValueError as error:
        raise RuntimeError("Something went wrong.") from error


@dg.job
def break_down() -> None:
    fail()


@dg.asset(key=["secom", "training", "breaks"], partitions_def=dg.StaticPartitionsDefinition(["a.csv", "b.csv"]))
def breaks() -> None:
    raise ValueError("no wafers")


def broken_config(message: str, **config: bool) -> dict[str, object]:
    return {"ops": {"fail": {"config": {"message": message, **config}}}}


def failed_run(
    instance: dg.DagsterInstance, message: str = "no wafers", tags: Mapping[str, str] | None = None, **config: bool
) -> dg.ExecuteInProcessResult:
    return break_down.execute_in_process(
        instance=instance, run_config=broken_config(message, **config), tags=dict(tags or {}), raise_on_error=False
    )


def tell(
    instance: dg.DagsterInstance,
    ended: dg.ExecuteInProcessResult | dg.DagsterEvent,
    notifier: Notifier,
    run_id: str = "",
    sensor: dg.SensorDefinition = notify_run_failure,
) -> None:
    if isinstance(ended, dg.ExecuteInProcessResult):
        run_id = ended.run_id
        ended = next(event for event in ended.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    with dg.build_run_status_sensor_context(
        "notify_run_failure", ended, instance, run, resources={"notifier": notifier}
    ) as context:
        sensor(context)


def test_a_failed_run_is_told_with_its_innermost_error(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    result = failed_run(instance)
    tell(instance, result, notifier(inbox))
    assert inbox.titles == ["Run failed: break_down"]
    assert inbox.bodies == [
        "break_down failed.\n"
        "fail: ValueError: no wafers\n"
        f"Logs: the Runs page of the Dagster UI (`wafer dev`), run {result.run_id}."
    ]


def test_a_described_failure_is_told_in_its_own_words(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    tell(instance, failed_run(instance, "Send these again.", described=True), notifier(inbox))
    assert "\nfail: Send these again.\n" in inbox.bodies[0]


def test_a_run_from_the_asset_graph_is_told_by_its_assets_and_partitions(
    inbox: Inbox, instance: dg.DagsterInstance
) -> None:
    job = dg.Definitions(assets=[breaks]).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance, asset_selection=[breaks.key], partition_key="b.csv", raise_on_error=False
    )
    tell(instance, result, notifier(inbox))
    assert inbox.titles == ["Run failed: secom/training/breaks"]
    assert "\nPartition: b.csv\n" in inbox.bodies[0]


def test_a_range_of_partitions_is_told_by_its_ends(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    tags = {"dagster/asset_partition_range_start": "a.csv", "dagster/asset_partition_range_end": "z.csv"}
    tell(instance, failed_run(instance, tags=tags), notifier(inbox))
    assert "\nPartitions: a.csv to z.csv\n" in inbox.bodies[0]


def test_only_the_last_try_of_a_retried_run_is_told(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    for will_retry in ("true", "false"):
        tell(instance, failed_run(instance, tags={"dagster/will_retry": will_retry}), notifier(inbox))
    assert len(inbox.titles) == 1


def test_a_long_error_is_cut_without_baring_its_passwords(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    # The password lies across the cut.
    tell(instance, failed_run(instance, "x" * 460 + " mongodb://wafer:geheimgeheim@host" + "y" * 500), notifier(inbox))
    (line,) = (line for line in inbox.bodies[0].splitlines() if line.startswith("fail: "))
    assert len(line) == 500
    assert "geheim" not in line
    assert "mongodb://***@host" in line


def test_a_run_that_failed_outside_of_its_steps_is_told_too(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(break_down, run_config=broken_config("no wafers"))
    tell(instance, instance.report_run_failed(run, "The pod was evicted."), notifier(inbox), run.run_id)
    assert "\nThe pod was evicted.\n" in inbox.bodies[0]


def test_a_failed_run_is_told_by_a_later_tick_if_nobody_could_be_reached(
    inbox: Inbox, instance: dg.DagsterInstance
) -> None:
    def tick(cursor: str | None) -> str | None:
        with dg.build_sensor_context(
            instance, cursor=cursor, resources={"notifier": notifier(inbox)}, definitions=dg.Definitions()
        ) as context:
            return notify_run_failure.evaluate_tick(context).cursor

    cursor = tick(None)
    failed_run(instance)
    inbox.status = 500
    with pytest.raises(NotificationError):
        tick(cursor)
    inbox.status = 200
    tick(tick(cursor))
    assert inbox.titles == ["Run failed: break_down"]


def told_of(instance: dg.DagsterInstance, inbox: Inbox, *arguments: str, **more: Any) -> bool:
    """Return whether people are told of another run that fails."""
    before = len(inbox.messages)
    tell(instance, failed_run(instance, *arguments, **more), notifier(inbox))
    return len(inbox.messages) > before


def test_what_fails_again_for_the_same_reason_is_told_once(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    range_of = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    assert told_of(instance, inbox, "MongoDB is away since 12:00", tags=range_of)
    assert not told_of(instance, inbox, "MongoDB is away since 13:00", tags=range_of)
    assert told_of(instance, inbox, "Send these again.", tags=range_of, described=True)
    assert told_of(instance, inbox, "Send those again.", tags=range_of, described=True)
    assert not told_of(instance, inbox, "Send those again.", tags=range_of, described=True)
    assert told_of(instance, inbox, "Send those again.", tags=range_of | {"dagster/asset_partition_range_end": "c"})


def test_what_fails_again_after_a_success_or_on_another_day_is_told_again(
    inbox: Inbox, instance: dg.DagsterInstance
) -> None:
    assert told_of(instance, inbox)
    instance.add_run(dg.DagsterRun("break_down", run_id=str(uuid4()), status=dg.DagsterRunStatus.SUCCESS))
    assert told_of(instance, inbox)
    assert not told_of(instance, inbox)
    told = []
    for time in (f"2099-01-{day:02} {hour:02}:07:00" for day in (1, 2, 3) for hour in (0, 12)):
        ended, before = failed_run(instance), len(inbox.messages)
        with instance.run_storage.connect() as storage:
            dated = text("UPDATE runs SET create_timestamp = :time WHERE run_id = :run")
            storage.execute(dated, {"time": time, "run": ended.run_id})
        tell(instance, ended, notifier(inbox))
        told.append(len(inbox.messages) > before)
    assert told == [True, False] * 3


# Lines


ETCH = line_like("etch", notify=("etch_team", "nobody_yet"))


@dg.asset(key=["etch", "training", "breaks"])
def etch_breaks() -> None:
    raise ValueError("no wafers")


@dg.job(name="etch__train")
def etch_trains() -> None:
    fail()


class Platform:
    """Two lines, of which one has a receiver of its own."""

    def __init__(self, instance: dg.DagsterInstance, everybody: Inbox, etch: Inbox, max_per_hour: int = 20) -> None:
        self.instance, self.lines = instance, {"secom": LINE, "etch": ETCH}
        self.notifier = Notifier(
            NotificationSettings(
                urls=(SecretStr(everybody.url),),
                receivers={"etch_team": SecretStr(etch.url)},
                max_per_hour=max_per_hour,
            )
        )

    def fail(self, asset: dg.AssetsDefinition | None = None, job: dg.JobDefinition = break_down) -> None:
        """Let a run over an asset fail, or else one of a job."""
        tell_of = run_failure_sensor(self.lines)
        if asset is None:
            config = broken_config("no wafers")
            ended = job.execute_in_process(instance=self.instance, run_config=config, raise_on_error=False)
        else:
            implicit = dg.Definitions(assets=[asset]).resolve_implicit_global_asset_job_def()
            ended = implicit.execute_in_process(
                instance=self.instance, asset_selection=[asset.key], raise_on_error=False
            )
        tell(self.instance, ended, self.notifier, sensor=tell_of)

    def quarantine(self, line: Line) -> None:
        """Let a file of a line be refused."""
        feed = line.feed("training")
        refuse(self.instance, "a.csv", {"bad_name": 1}, feed=feed)
        Quarantine(self.instance, self.notifier, feed, line).tick()


@pytest.fixture
def etch_inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


def test_what_happens_on_a_line_is_told_to_its_receivers_and_all_else_to_those_of_the_platform(
    inbox: Inbox, etch_inbox: Inbox, instance: dg.DagsterInstance
) -> None:
    platform = Platform(instance, inbox, etch_inbox)
    platform.fail(etch_breaks)
    platform.fail(job=etch_trains)
    platform.quarantine(ETCH)
    assert etch_inbox.titles == [
        "Run failed: etch/training/breaks",
        "Run failed: etch__train",
        "etch: 1 training file in quarantine",
    ]
    assert inbox.titles == []
    platform.quarantine(LINE)
    platform.fail()
    assert inbox.titles == ["secom: 1 training file in quarantine", "Run failed: break_down"]
    assert len(etch_inbox.titles) == 3


def test_a_line_whose_receivers_have_no_address_tells_those_of_the_platform(
    inbox: Inbox, etch_inbox: Inbox, instance: dg.DagsterInstance
) -> None:
    platform = Platform(instance, inbox, etch_inbox)
    platform.lines["etch"] = line_like("etch", notify=("nobody_yet",))
    platform.fail(etch_breaks)
    assert inbox.titles == ["Run failed: etch/training/breaks"]
    assert etch_inbox.titles == []


def test_a_line_that_is_not_declared_any_more_tells_those_of_the_platform(
    inbox: Inbox, etch_inbox: Inbox, instance: dg.DagsterInstance
) -> None:
    platform = Platform(instance, inbox, etch_inbox)
    del platform.lines["etch"]
    platform.fail(etch_breaks)
    assert inbox.titles == ["Run failed: etch/training/breaks"]


def test_a_line_that_floods_silences_no_other_line_and_not_the_platform(
    inbox: Inbox, etch_inbox: Inbox, instance: dg.DagsterInstance
) -> None:
    platform = Platform(instance, inbox, etch_inbox, max_per_hour=1)
    platform.fail(etch_breaks)
    platform.fail(job=etch_trains)
    assert etch_inbox.titles == ["Run failed: etch/training/breaks"], "one an hour"
    platform.quarantine(LINE)
    platform.fail()
    assert inbox.titles == ["secom: 1 training file in quarantine", "Run failed: break_down"]


# Quarantine


def refuse(
    instance: dg.DagsterInstance, batch: str, reasons: Mapping[str, int], etag: str = "1", feed: LineFeed = TRAINING
) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            feed_key(feed, "quarantined_batches"),
            partition=batch,
            metadata={"reason_counts": dg.MetadataValue.json(dict(reasons))},
            tags={"dagster/data_version": etag},
        )
    )


class Quarantine:
    """The sensor of a feed, ticking as the daemon makes it: a tick that fails leaves the cursor."""

    def __init__(
        self, instance: dg.DagsterInstance, notifier: Notifier, feed: LineFeed = TRAINING, line: Line = LINE
    ) -> None:
        self.sensor = notify_quarantine(line, feed)
        self.instance = instance
        self.notifier = notifier
        self.cursor: str | None = None

    def tick(self) -> str:
        with dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources={"notifier": self.notifier}
        ) as context:
            result = self.sensor.evaluate_tick(context)
        self.cursor = result.cursor
        assert not result.run_requests
        return result.skip_message or ""


@pytest.fixture
def quarantine(inbox: Inbox, instance: dg.DagsterInstance) -> Quarantine:
    return Quarantine(instance, notifier(inbox))


def test_a_refused_file_is_told_once(inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine) -> None:
    assert quarantine.tick() == "No file went to quarantine."
    refuse(instance, "a.csv", {"missing_column": 1, "not_a_number": 7})
    assert quarantine.tick().startswith("Told of 1 training file.")
    assert quarantine.tick() == "No file went to quarantine."
    assert inbox.titles == ["secom: 1 training file in quarantine"]
    assert inbox.bodies == [
        "a.csv: not_a_number (7), missing_column (1)\n"
        "`wafer quarantine show <batch> --line secom --feed training` says what is wrong and what to do; "
        "`wafer quarantine replay --line secom --feed training` checks files again."
    ]


def test_many_refused_files_are_told_in_one_message(
    inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine
) -> None:
    for number in range(13):
        refuse(instance, f"{number}.csv", {"bad_name": 1})
    quarantine.tick()
    assert inbox.titles == ["secom: 13 training files in quarantine"]
    assert inbox.bodies[0].splitlines()[:-1] == [
        *(f"{number}.csv: bad_name (1)" for number in range(10)),
        "and 3 more",
    ]


def test_more_files_than_a_tick_reads_are_left_to_the_next(
    inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine
) -> None:
    quarantine.sensor = notify_quarantine(LINE, TRAINING, 3)
    for number in range(5):
        refuse(instance, f"{number}.csv", {"bad_name": 1})
    for _ in range(3):
        quarantine.tick()
    assert inbox.titles == ["secom: 3 training files in quarantine", "secom: 2 training files in quarantine"]


def test_the_same_file_refused_again_for_the_same_reasons_is_not_told(
    inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine
) -> None:
    refuse(instance, "a.csv", {"bad_name": 1})
    refuse(instance, "a.csv", {"bad_name": 1})
    quarantine.tick()
    refuse(instance, "a.csv", {"bad_name": 1})
    assert quarantine.tick() == "No file is new in quarantine. 1 were refused before for the same reasons."
    assert quarantine.tick() == "No file went to quarantine."
    assert inbox.titles == ["secom: 1 training file in quarantine"]


def test_another_file_or_another_reason_is_told(
    inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine
) -> None:
    for etag, code in (("1", "bad_name"), ("2", "bad_name"), ("2", "not_a_number")):
        refuse(instance, "a.csv", {code: 1}, etag)
        quarantine.tick()
    assert [body.splitlines()[0] for body in inbox.bodies] == [
        "a.csv: bad_name (1)",
        "a.csv: bad_name (1)",
        "a.csv: not_a_number (1)",
    ]


def test_a_file_that_changed_between_two_ticks_is_told_as_it_is_now(
    inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine
) -> None:
    refuse(instance, "a.csv", {"bad_name": 1}, "1")
    refuse(instance, "a.csv", {"not_a_number": 2}, "2")
    quarantine.tick()
    assert [body.splitlines()[:-1] for body in inbox.bodies] == [["a.csv: not_a_number (2)"]]


def test_lines_are_told_apart(inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine) -> None:
    refuse(instance, "a.csv", {"bad_name": 1}, feed=PREDICTION)
    quarantine.tick()
    assert inbox.titles == []
    Quarantine(instance, notifier(inbox), PREDICTION).tick()
    assert inbox.titles == ["secom: 1 prediction file in quarantine"]


def test_what_could_not_be_sent_is_sent_by_a_later_tick(
    inbox: Inbox, instance: dg.DagsterInstance, quarantine: Quarantine
) -> None:
    refuse(instance, "a.csv", {"bad_name": 1})
    inbox.status = 500
    with pytest.raises(NotificationError, match=r"number 1 \(json\)"):
        quarantine.tick()
    inbox.status = 200
    refuse(instance, "b.csv", {"bad_name": 1})
    quarantine.tick()
    assert inbox.titles == ["secom: 2 training files in quarantine"]


def test_a_broken_address_makes_the_others_hear_nothing_twice(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    quarantine = Quarantine(instance, notifier(inbox, "slack://x"))
    refuse(instance, "a.csv", {"bad_name": 1})
    for _ in range(2):
        quarantine.tick()
    assert inbox.titles == ["secom: 1 training file in quarantine"]


def test_the_sensors_run_by_themselves() -> None:
    sensors = notification_sensors({"secom": LINE})
    assert [sensor.name for sensor in sensors] == [
        "notify_run_failure",
        "secom__notify_training_quarantine",
        "secom__notify_prediction_quarantine",
    ]
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}

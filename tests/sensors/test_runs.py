"""What follows when a run has ended: its MLflow run ends alike, and what its steps handed on is deleted."""

from collections.abc import Iterator
from uuid import uuid4

import dagster as dg
import pytest

from resources.mlflow import LineTracking, Tracking
from resources.s3 import S3Store
from sensors.runs import RUN_SENSORS, forget_handed_on
from wafer_assets.keys import training_folder
from wafer_assets.settings import Settings

ENDS = {
    dg.DagsterRunStatus.SUCCESS: ("FINISHED", dg.DagsterEventType.RUN_SUCCESS),
    dg.DagsterRunStatus.FAILURE: ("FAILED", dg.DagsterEventType.RUN_FAILURE),
    dg.DagsterRunStatus.CANCELED: ("KILLED", dg.DagsterEventType.RUN_CANCELED),
}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def ended(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    root: str | None = None,
    job: str = "secom__train",
    **resources: object,
) -> dg.RunStatusSensorContext:
    """Record a run that has ended so; return what the sensors are told of it."""
    run = dg.DagsterRun(job, run_id=str(uuid4()), status=status, root_run_id=root, parent_run_id=root)
    instance.add_run(run)
    kind = ENDS[status][1]
    return dg.build_run_status_sensor_context(
        sensor_name="a sensor",
        dagster_event=dg.DagsterEvent(kind.value, job, message="It has ended."),
        dagster_instance=instance,
        dagster_run=run,
        resources=resources,
    )


@pytest.mark.parametrize("status", ENDS)
def test_the_mlflow_run_ends_as_the_run_did(
    instance: dg.DagsterInstance, platform_settings: Settings, status: dg.DagsterRunStatus
) -> None:
    from mlflow import MlflowClient

    tracking = LineTracking(platform_settings, "secom")
    context = ended(instance, status, tracking=Tracking(platform_settings))
    with tracking.run(context.dagster_run) as run, run.nested("cluster 0 xgboost"):
        pass
    client = MlflowClient(platform_settings.mlflow.tracking_uri)
    assert client.get_run(run.run_id).info.status == "RUNNING"
    (sensor,) = [item for item in RUN_SENSORS if item.name == f"close_mlflow_run_on_{status.value.lower()}"]
    sensor(context)
    assert client.get_run(run.run_id).info.status == ENDS[status][0]


def test_the_mlflow_run_of_any_line_ends_and_no_other_one(
    instance: dg.DagsterInstance, platform_settings: Settings
) -> None:
    from mlflow import MlflowClient

    client, contexts, runs = MlflowClient(platform_settings.mlflow.tracking_uri), {}, {}
    for line in ("secom", "etch"):
        contexts[line] = ended(
            instance, dg.DagsterRunStatus.SUCCESS, job=f"{line}__train", tracking=Tracking(platform_settings)
        )
        with LineTracking(platform_settings, line).run(contexts[line].dagster_run) as run:
            runs[line] = run.run_id
    (sensor,) = [item for item in RUN_SENSORS if item.name == "close_mlflow_run_on_success"]
    sensor(contexts["etch"])
    assert {line: client.get_run(run).info.status for line, run in runs.items()} == {
        "secom": "RUNNING",
        "etch": "FINISHED",
    }


def test_what_a_successful_run_handed_on_is_deleted_and_its_results_stay(
    instance: dg.DagsterInstance, s3: S3Store
) -> None:
    context = ended(instance, dg.DagsterRunStatus.SUCCESS, s3=s3)
    folder = training_folder(context.dagster_run.run_id)
    others = [f"{training_folder('another')}training/features.parquet", "secom/training/features/features.parquet"]
    for key in (f"{folder}training/features.parquet", *others):
        s3.put(s3.lake, key, b"a value")
    forget_handed_on(context)
    assert [item.key for item in s3.list_objects(s3.lake)] == others


def test_a_re_execution_deletes_what_the_first_run_handed_on(instance: dg.DagsterInstance, s3: S3Store) -> None:
    first = ended(instance, dg.DagsterRunStatus.FAILURE).dagster_run.run_id
    s3.put(s3.lake, f"{training_folder(first)}training/features.parquet", b"a value")
    forget_handed_on(ended(instance, dg.DagsterRunStatus.SUCCESS, root=first, s3=s3))
    assert s3.list_objects(s3.lake) == []


def test_every_end_of_a_run_is_watched_from_the_start() -> None:
    watched = {item.name for item in RUN_SENSORS}
    assert watched == {"forget_handed_on", *(f"close_mlflow_run_on_{status.value.lower()}" for status in ENDS)}
    assert all(item.default_status == dg.DefaultSensorStatus.RUNNING for item in RUN_SENSORS)

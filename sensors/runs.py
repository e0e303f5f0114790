"""What follows when a run has ended, however it ended."""

import dagster as dg

from resources.mlflow import Tracking
from resources.s3 import S3Store
from resources.trainings import forget


def _mlflow_closer(status: dg.DagsterRunStatus) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        name=f"close_mlflow_run_on_{status.value.lower()}",
        run_status=status,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Gives the MLflow run of an ended Dagster run the same end.",
    )
    def close_mlflow_run(context: dg.RunStatusSensorContext, tracking: dg.ResourceParam[Tracking]) -> None:
        tracking.close(context.dagster_run.run_id, status)

    return close_mlflow_run


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Deletes what the steps of a successful run handed to each other; a failed run may be continued.",
)
def forget_handed_on(context: dg.RunStatusSensorContext, s3: dg.ResourceParam[S3Store]) -> None:
    """Delete what nobody needs any more."""
    forget(context.instance, s3, context.dagster_run)


RUN_SENSORS = [
    forget_handed_on,
    *(
        _mlflow_closer(status)
        for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    ),
]

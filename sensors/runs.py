"""What follows when a run has ended, however it ended."""

import dagster as dg

from resources.mlflow import Tracking


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


RUN_SENSORS = [
    _mlflow_closer(status)
    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
]

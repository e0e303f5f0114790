"""Scoring what waits: accepted batches that no champion has scored yet."""

from collections.abc import Iterator

import dagster as dg

from jobs.prediction import predict
from resources.champion import NoChampionError
from resources.mlflow import CHAMPION, Tracking
from resources.mongo import WaferStore
from resources.predictions import PredictionStore
from wafer_assets.landing import partition_ranges, waiting_batches
from wafer_assets.partitions import BATCHES

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    job=predict,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Scores accepted batches as soon as there is a champion: one run for all that wait side by side.",
)
def score_waiting_batches(
    context: dg.SensorEvaluationContext,
    wafers: dg.ResourceParam[WaferStore],
    predictions: dg.ResourceParam[PredictionStore],
    tracking: dg.ResourceParam[Tracking],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request runs over the batches that wait, or say what they wait for."""
    waiting = waiting_batches(wafers.batches("prediction", "accepted"), predictions.scored())
    if not waiting:
        yield dg.SkipReason("Every accepted batch is scored.")
        return
    champion = tracking.version(CHAMPION)
    if champion is None:
        yield dg.SkipReason(f"{len(waiting)} batches wait. {NoChampionError()}")
        return
    busy = context.instance.get_runs_count(dg.RunsFilter(job_name=predict.name, statuses=UNFINISHED))
    if busy:
        yield dg.SkipReason(f"{len(waiting)} batches wait for the run that is scoring.")
        return
    keys = context.instance.get_dynamic_partitions(str(BATCHES["prediction"].name))
    for part in partition_ranges(keys, waiting):
        # A run that failed for good is not tried again before the batches or the champion change.
        yield dg.RunRequest(run_key=f"{champion.version}:{part.first}:{part.last}:{len(waiting)}", tags=part.tags)


PREDICTION_SENSORS = [score_waiting_batches]

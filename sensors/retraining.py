"""Governed retraining: a line's training starts when enough labelled wafers are new, never on every file."""

import time

import dagster as dg

from jobs.training import TRAIN, TRAIN_END_TO_END
from schemas.lines import Line
from wafer_assets.domain.retraining import Retraining, decide_retraining
from wafer_assets.keys import name_of, training_key
from wafer_assets.operations.facts import latest_metadata
from wafer_assets.settings import RetrainingSettings

REASON = "wafer/reason"
"""Run tag that says why a training started by itself."""


def _rows(instance: dg.DagsterInstance, line: str, asset: str) -> int:
    metadata = latest_metadata(instance, training_key(line, asset))
    return int(str(metadata["dagster/row_count"].value)) if metadata else 0


def _decide(instance: dg.DagsterInstance, line: str, min_new_wafers: int, cooldown_hours: float) -> Retraining:
    trainings = [
        record
        for job in (TRAIN, TRAIN_END_TO_END)
        for record in instance.get_run_records(dg.RunsFilter(job_name=name_of(line, job)), limit=1)
    ]
    if any(not record.dagster_run.is_finished for record in trainings):
        return Retraining(False, "a training is under way")
    began = max((record.create_timestamp.timestamp() for record in trainings), default=None)
    return decide_retraining(
        # The features are those of the table that was trained on last.
        _rows(instance, line, "wafer_table") - _rows(instance, line, "features"),
        None if began is None else (time.time() - began) / 3600,
        min_new_wafers=min_new_wafers,
        cooldown_hours=cooldown_hours,
    )


def _request(decision: Retraining) -> dg.RunRequest | dg.SkipReason:
    if decision.due:
        return dg.RunRequest(tags={REASON: decision.reason})
    return dg.SkipReason(f"No training: {decision.reason}.")


def retraining_sensors(line: Line, settings: RetrainingSettings) -> list[dg.SensorDefinition]:
    """Build the sensor that retrains a line, by the line's own rule where it has one; none where retraining is off."""
    if not settings.enabled:
        return []
    rule = line.retraining or settings

    @dg.sensor(
        name=name_of(line.name, "retrain"),
        job_name=name_of(line.name, TRAIN),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
        description=f"Trains once {rule.min_new_wafers} labelled wafers are new, "
        f"{rule.cooldown_hours:g} h after the last training at the earliest.",
    )
    def retrain(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _request(_decide(context.instance, line.name, rule.min_new_wafers, rule.cooldown_hours))

    return [retrain]


def retraining_schedules(line: Line, settings: RetrainingSettings) -> list[dg.ScheduleDefinition]:
    """Build the schedule that retrains a line; none where there is no schedule or retraining is off."""
    if not settings.enabled or settings.schedule is None:
        return []

    @dg.schedule(
        name=name_of(line.name, "retrain_on_schedule"),
        job_name=name_of(line.name, TRAIN),
        cron_schedule=settings.schedule,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Trains if a labelled wafer is new, whatever the sensor's thresholds are.",
    )
    def retrain_on_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _request(_decide(context.instance, line.name, 1, 0))

    return [retrain_on_schedule]

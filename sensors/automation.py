"""The sensors that evaluate the automation conditions of `wafer_assets.automation` and start what they ask for."""

import dagster as dg

from jobs.prediction import predicted
from jobs.training import following, ingested
from schemas.lines import Line
from wafer_assets.keys import name_of
from wafer_assets.settings import AutomationSettings


def automation_sensors(line: Line, settings: AutomationSettings) -> list[dg.AutomationConditionSensorDefinition]:
    """Build the sensors of a line, running by default; what one asks for at a tick is one backfill of few runs."""

    def sensor(name: str, target: dg.AssetSelection, description: str) -> dg.AutomationConditionSensorDefinition:
        return dg.AutomationConditionSensorDefinition(
            name_of(line.name, name),
            target=target,
            description=description,
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=settings.evaluation_seconds,
        )

    return [
        sensor("ingest_new_batches", ingested(line), "Ingests files that landed."),
        # Of its own: in one backfill with the batches, ledger and table would wait for the last of them.
        sensor("follow_batches", following(line), "Updates ledger and training table."),
        sensor("score_new_records", predicted(line.name), "Scores accepted batches that wait."),
    ]

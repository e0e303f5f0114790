"""Telling people of lines that are gone or cannot be read, for nobody else would miss them."""

import json

import dagster as dg

from resources.mongo import WaferStore
from resources.notifier import Notifier
from schemas.lines import Lines
from wafer_assets.operations.lines import undeclared_lines


def lost_lines_sensor(declared: Lines) -> dg.SensorDefinition:
    """Build the sensor that tells of each line once that is stored and not declared, or whose folder is wrong."""

    @dg.sensor(
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=600,
        description="Tells people of lines that there are batches of though they are not declared any more, and of "
        "folders that cannot be read: each once, as long as it stays so.",
    )
    def notify_lost_lines(
        context: dg.SensorEvaluationContext, wafers: dg.ResourceParam[WaferStore], notifier: dg.ResourceParam[Notifier]
    ) -> dg.SkipReason:
        problems = {error.line or "": f"It is left out: {error}" for error in declared.errors}
        for name in undeclared_lines(wafers, declared.names):
            problems[name] = (
                "There are batches of it, and it is not declared any more: nothing of it is ingested, trained or "
                f"scored. Declare it again, or remove all of it with `wafer lines remove {name}`."
            )
        told = set(json.loads(context.cursor or "[]"))
        for name in sorted(problems.keys() - told):
            title = f"The line {name} is lost" if name else "The folder of lines cannot be read"
            notifier.send(context.instance, title, problems[name])
        context.update_cursor(json.dumps(sorted(problems)))
        return dg.SkipReason(
            f"{len(problems)} lines are lost." if problems else "All lines that are stored are declared."
        )

    return notify_lost_lines

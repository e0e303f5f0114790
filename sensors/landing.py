"""Files that land: what is new, changed or gone in the landing bucket is told to Dagster, which does the rest."""

from collections.abc import Callable
from itertools import islice
from time import time

import dagster as dg
from pydantic import BaseModel

from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.lines import FEEDS, Line
from schemas.loader import BatchSchema
from wafer_assets.keys import landing_folder, name_of
from wafer_assets.operations.backlog import stored_outcomes
from wafer_assets.operations.ingestion import ingestion_version
from wafer_assets.operations.landing import (
    due_batches,
    plan_tick,
    report_raw_batches,
    report_vanished,
    reported_files,
    settled_batches,
)
from wafer_assets.settings import AutomationSettings

MOST_LOOKED_AT = 1_000  # files without outcome, at one look


class _Search(BaseModel):
    """The last search for files without outcome: when it was, and the last event before it."""

    at: float = 0
    event: float = float("inf")


def landing_sensor(
    schema: BatchSchema, settings: AutomationSettings, clock: Callable[[], float] = time
) -> dg.SensorDefinition:
    """Build the sensor of a feed's files.

    It compares the listing with what Dagster was told before, so that a tick that was missed or that failed
    half-way is made up for by the next. Now and then it looks for files that were told and still have no outcome. A
    server that was away or a run that was killed may be the reason, so it tells them again, after pauses that grow; but
    not what cannot be stored as long as file, contract and code are the same.
    """
    feed, version = schema.line_feed, ingestion_version(schema)

    @dg.sensor(
        name=name_of(feed.line, f"land_{feed.kind}_batches"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=settings.landing_seconds,
        description="Registers new and replaced files of the landing bucket, and says which have vanished.",
    )
    def land(
        context: dg.SensorEvaluationContext, s3: dg.ResourceParam[S3Store], wafers: dg.ResourceParam[WaferStore]
    ) -> dg.SensorResult:
        instance, limit = context.instance, settings.max_reports
        listing = s3.list_objects(s3.landing, landing_folder(feed))  # raises unless it is complete
        reported = reported_files(instance, feed)
        search = _Search.model_validate_json(context.cursor) if context.cursor else _Search()
        settled, given_up = None, set[tuple[str, str]]()
        # The difference, because a clock that was put back must not stop the search.
        if abs(clock() - search.at) >= settings.retry_minutes * 60:
            settled = settled_batches(instance, feed, reported, stored_outcomes(feed, wafers, s3))
            given_up = {(item.batch, item.etag) for item in wafers.failures(feed) if item.code_version == version}
        tick = plan_tick(feed, listing, reported, settled, until=search.event, given_up=given_up)
        report_vanished(instance, feed, tick.vanished[:limit])
        report_raw_batches(instance, feed, s3.landing, dict(islice(tick.changed.items(), limit)))
        remarks = [f"{len(tick.changed)} files are new or changed"] if tick.changed else []
        if tick.vanished:
            remarks.append(f"{len(tick.vanished)} have vanished: {', '.join(tick.vanished[:10])}")
        if settled is not None:
            waiting = list(tick.waiting)[:MOST_LOOKED_AT]
            due = due_batches(instance, feed, waiting, clock(), settings.retry_minutes * 60)[:limit]
            report_raw_batches(instance, feed, s3.landing, {batch: tick.waiting[batch] for batch in due})
            remarks += [f"{len(due)} had no outcome and are reported again"] if due else []
            remarks += [f"{len(waiting) - len(due)} without outcome wait longer"] if len(waiting) > len(due) else []
            remarks += [f"{len(given_up)} cannot be stored"] if given_up else []
            search = _Search(at=clock(), event=max((file.event for file in reported.values()), default=0))
        if tick.vanished:
            context.log.warning("; ".join(remarks))
        return dg.SensorResult(
            skip_reason=f"{'; '.join(remarks) or 'Nothing is new'}; {len(listing)} files are there.",
            cursor=search.model_dump_json(),
        )

    return land


def landing_sensors(line: Line, settings: AutomationSettings) -> list[dg.SensorDefinition]:
    """Build the sensors of both feeds of a line."""
    return [landing_sensor(BatchSchema.of(line, kind), settings) for kind in FEEDS]

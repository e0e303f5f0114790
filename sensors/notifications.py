"""Telling people of what failed: runs, and files that broke the contract."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from resources.notifier import NotificationError, Notifier, redact
from schemas.lines import FEEDS, Line, LineFeed
from wafer_assets.keys import DATA_VERSION, feed_key, name_of

if TYPE_CHECKING:
    from resources.adapters.dagster import SerializableErrorInfo

MAX_LISTED = 10  # batches, steps or assets in a message
MAX_ERROR = 500  # characters
MAX_EVENTS = 500  # a tick
MAX_COMPARED = 20  # runs before one that failed
_RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_PARTITION_TAGS = ("dagster/partition", *_RANGE_TAGS)


def _tell(
    context: dg.SensorEvaluationContext | dg.RunFailureSensorContext,
    notifier: Notifier,
    line: Line | None,
    title: str,
    body: str,
) -> None:
    """Tell the receivers of a line, or of what belongs to none those of the platform."""
    try:
        notifier.send(context.instance, title, body, *((line.name, line.notify) if line else ()))
    except NotificationError as error:
        # Trying the tick again would tell the others twice.
        if not error.reached:
            raise
        context.log.error(str(error))


def run_failure_sensor(lines: Mapping[str, Line]) -> dg.SensorDefinition:
    """Build the sensor that tells of failed runs: those of a line to the line's receivers."""

    @dg.run_failure_sensor(
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people of every failed run, unless it is about to be retried or failed like the one "
        "before it.",
    )
    def notify_run_failure(context: dg.RunFailureSensorContext, notifier: dg.ResourceParam[Notifier]) -> None:
        """Send one message for a run that failed for good; what is tried again and again is told once a day."""
        run = context.dagster_run
        if _is_retried(run):
            return
        failures = context.get_step_failure_events()
        if _is_told(context.instance, run, failures):
            context.log.info("The same run failed for the same reason today already, and people were told.")
            return
        name = _run_name(run)
        errors = [step_error(event) for event in failures] or [_run_error(context.failure_event)]
        said = [
            f"{name} failed.",
            *_partitions(run),
            *_listed([_shortened(error) for error in errors]),
            f"Logs: the Runs page of the Dagster UI (`wafer dev`), run {run.run_id}.",
        ]
        _tell(context, notifier, _line_of(run, lines), f"Run failed: {name}", "\n".join(said))

    return notify_run_failure


def _line_of(run: dg.DagsterRun, lines: Mapping[str, Line]) -> Line | None:
    """Return the line that a run belongs to, by the name of its job or else by its assets."""
    assets = {key.path[0] for key in run.asset_selection or ()}
    name = assets.pop() if len(assets) == 1 else run.job_name.partition("__")[0]
    return lines.get(name)


def _is_told(instance: dg.DagsterInstance, run: dg.DagsterRun, failures: Sequence[dg.DagsterEvent]) -> bool:
    """Return whether the last run over the same failed in the same way, on the same day (UTC)."""
    own = instance.get_run_record_by_id(run.run_id)
    if own is None or not failures:
        return False
    same = dg.RunsFilter(
        job_name=run.job_name,
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
        tags={name: run.tags[name] for name in _PARTITION_TAGS if name in run.tags},
        created_after=own.create_timestamp.replace(hour=0, minute=0, second=0, microsecond=0),
    )
    before = [record.dagster_run for record in instance.get_run_records(same, MAX_COMPARED, cursor=run.run_id)]
    assets = run.asset_selection or frozenset()
    alike = (each for each in before if (each.asset_selection or frozenset()) == assets and not _is_retried(each))
    last = next(alike, None)
    if last is None or last.status == dg.DagsterRunStatus.SUCCESS:
        return False
    events = instance.all_logs(last.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return {_cause(event) for event in failures} == {
        _cause(entry.dagster_event) for entry in events if entry.dagster_event is not None
    }


def _is_retried(run: dg.DagsterRun) -> bool:
    return run.tags.get("dagster/will_retry") == "true"


def _cause(event: dg.DagsterEvent) -> tuple[str | None, str | None]:
    # Not the message of an error: drivers write times and addresses into theirs.
    data = event.step_failure_data
    described = data.user_failure_data.description if data.user_failure_data else None
    error = _innermost(data.error)
    return event.step_key, described or (error.cls_name if error else None)


def _run_name(run: dg.DagsterRun) -> str:
    # What is materialized from the asset graph runs as a job without a name of its own.
    if run.job_name != "__ASSET_JOB" or not run.asset_selection:
        return run.job_name
    return ", ".join(_listed(sorted(key.to_user_string() for key in run.asset_selection)))


def _partitions(run: dg.DagsterRun) -> list[str]:
    if partition := run.tags.get("dagster/partition"):
        return [f"Partition: {partition}"]
    first, last = map(run.tags.get, _RANGE_TAGS)
    return [f"Partitions: {first} to {last}"] if first and last else []


def step_error(event: dg.DagsterEvent) -> str:
    """Return the step that failed and, of the errors that led to it, the first one."""
    data = event.step_failure_data
    described = data.user_failure_data.description if data.user_failure_data else None
    return f"{(event.step_key or '').replace('__', '/')}: {described or _message(data.error)}"


def _run_error(event: dg.DagsterEvent) -> str:
    # A run that Dagster declares failed, such as one whose worker has vanished, may have no data.
    error = event.job_failure_data.error if event.event_specific_data else None
    return _message(error) if error else event.message or "No step failed."


def _innermost(error: "SerializableErrorInfo | None") -> "SerializableErrorInfo | None":
    while error and error.cause:
        error = error.cause
    return error


def _message(error: "SerializableErrorInfo | None") -> str:
    innermost = _innermost(error)
    return innermost.message.strip() if innermost else "failed"


def _shortened(message: str) -> str:
    # Redacted first, for a password that is cut in two looks like none.
    return redact(message.strip())[:MAX_ERROR]


def _listed(items: Collection[str]) -> list[str]:
    more = len(items) - MAX_LISTED
    return [*list(items)[:MAX_LISTED], *([f"and {more} more"] if more > 0 else [])]


def notify_quarantine(line: Line, feed: LineFeed, most: int = MAX_EVENTS) -> dg.SensorDefinition:
    """Build the sensor that tells of refused files of a feed, of so many at a tick."""
    asset_key, kind = feed_key(feed, "quarantined_batches"), feed.kind

    @dg.sensor(
        name=name_of(line.name, f"notify_{kind}_quarantine"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description=f"Tells people of {kind} files that went to quarantine: each once, all of a tick in one message.",
    )
    def notify(context: dg.SensorEvaluationContext, notifier: dg.ResourceParam[Notifier]) -> dg.SkipReason:
        records = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset_key, after_storage_id=int(context.cursor or 0)),
            limit=most,
            ascending=True,
        ).records
        if not records:
            return dg.SkipReason("No file went to quarantine.")
        news = [record for record in records if _is_news(context.instance, record)]
        remark = "No file is new in quarantine."
        if news:
            # A file that was replaced and refused meanwhile is told as it is now.
            refused = {str(record.partition_key): record for record in news}
            files = f"{len(refused)} {kind} {'file' if len(refused) == 1 else 'files'}"
            lines = [
                *_listed([f"{batch}: {_reasons(record)}" for batch, record in refused.items()]),
                f"`wafer quarantine show <batch> --line {line.name} --feed {kind}` says what is wrong and what to do; "
                f"`wafer quarantine replay --line {line.name} --feed {kind}` checks files again.",
            ]
            _tell(context, notifier, line, f"{line.name}: {files} in quarantine", "\n".join(lines))
            remark = f"Told of {files}."
        # A tick that fails keeps the old cursor, so what was not sent is sent by a later one.
        context.update_cursor(str(records[-1].storage_id))
        return dg.SkipReason(f"{remark} {len(records) - len(news)} were refused before for the same reasons.")

    return notify


def _is_news(instance: dg.DagsterInstance, record: dg.EventLogRecord) -> bool:
    """Return whether the file or the reasons differ from when the batch was last refused."""
    event = _materialization(record)
    before = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=event.asset_key,
            asset_partitions=[str(event.partition)],
            before_storage_id=record.storage_id,
        ),
        limit=1,
    ).records
    return not before or _identity(_materialization(before[0])) != _identity(event)


def _identity(event: dg.AssetMaterialization) -> tuple[str | None, set[str]]:
    return (event.tags or {}).get(DATA_VERSION), set(_reason_counts(event))


def _reasons(record: dg.EventLogRecord) -> str:
    counts = _reason_counts(_materialization(record))
    return ", ".join(f"{code} ({count})" for code, count in counts.most_common())


def _reason_counts(event: dg.AssetMaterialization) -> Counter[str]:
    counts = event.metadata.get("reason_counts")
    return Counter(counts.value if isinstance(counts, dg.JsonMetadataValue) else None)


def _materialization(record: dg.EventLogRecord) -> dg.AssetMaterialization:
    event = record.asset_materialization
    assert event is not None
    return event


def notification_sensors(lines: Mapping[str, Line]) -> list[dg.SensorDefinition]:
    """Build all sensors that tell people."""
    refusals = (notify_quarantine(line, line.feed(kind)) for line in lines.values() for kind in FEEDS)
    return [run_failure_sensor(lines), *refusals]

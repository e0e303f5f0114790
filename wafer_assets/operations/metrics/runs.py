"""What Dagster's instance tells: runs, daemons, sensors, backfills, and when each asset was made last."""

import time
from collections.abc import Iterable, Iterator

import dagster as dg
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from resources.adapters.dagster_storage import backfill_counts, run_counts, tick_counts

TICK_WINDOW = 3_600.0
"""Seconds that the ticks of a sensor are counted over: Dagster forgets older ones at times of its own."""

_WAITING = frozenset({"QUEUED", "NOT_STARTED"})
_AT_WORK = frozenset({"STARTING", "STARTED", "CANCELING"})
_ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
OTHER = "other"
"""Value of `job_name` for jobs that no declared line has, such as those of assets that were chosen in the UI."""


def run_metrics(instance: dg.DagsterInstance, lines: Iterable[str]) -> Iterator[Metric]:
    """Yield how many runs there are, how long they took, and since when the first waits."""
    prefixes = tuple(f"{line}__" for line in lines)
    counts = run_counts(instance)
    runs = GaugeMetricFamily("wafer_runs", "Runs that Dagster keeps, by job and state.", None, ["job_name", "state"])
    durations = SummaryMetricFamily(
        "wafer_run_duration_seconds", "Time that ended runs took.", None, None, ["job_name", "state"]
    )
    by_job: dict[tuple[str, str], tuple[int, float]] = {}
    for item in counts:
        key = (item.job if item.job.startswith(prefixes) else OTHER, item.status.lower())
        number, seconds = by_job.get(key, (0, 0.0))
        by_job[key] = (number + item.runs, seconds + item.seconds)
    for (job, state), (number, seconds) in sorted(by_job.items()):
        runs.add_metric([job, state], number)
        if state.upper() in _ENDED:
            durations.add_metric([job, state], number, seconds)
    oldest = GaugeMetricFamily(
        "wafer_runs_oldest_age_seconds",
        "Age of the oldest run that waits in the queue or is at work; 0 where there is none.",
        None,
        ["state"],
    )
    for state, statuses in (("queued", _WAITING), ("running", _AT_WORK)):
        created = [item.oldest for item in counts if item.status in statuses]
        oldest.add_metric([state], max(0.0, time.time() - min(created)) if created else 0.0)
    yield from (runs, durations, oldest)


def daemon_metrics(instance: dg.DagsterInstance) -> Iterator[Metric]:
    """Yield when each daemon last gave a sign of life, and the states of the backfills."""
    # Dagster's own flag of health stays 1 for half an hour.
    beats = GaugeMetricFamily(
        "wafer_daemon_heartbeat_age_seconds", "Time since a daemon's last heartbeat.", None, ["daemon"]
    )
    now = time.time()
    for name, status in sorted(instance.get_daemon_statuses().items()):
        if status.last_heartbeat is not None:
            beats.add_metric([name.lower()], max(0.0, now - status.last_heartbeat.timestamp))
    backfills = GaugeMetricFamily("wafer_backfills", "Backfills that Dagster keeps, by state.", None, ["state"])
    for state, number in sorted(backfill_counts(instance).items()):
        backfills.add_metric([state.lower()], number)
    yield from (beats, backfills)


def sensor_metrics(instance: dg.DagsterInstance) -> Iterator[Metric]:
    """Yield when each sensor and schedule last ticked, and how its ticks of the last hour ended."""
    last = GaugeMetricFamily(
        "wafer_sensor_tick_age_seconds", "Time since a running sensor's last tick ended.", None, ["sensor"]
    )
    ticks = GaugeMetricFamily(
        "wafer_sensor_ticks", "Ticks of a sensor in the last hour, by how they ended.", None, ["sensor", "state"]
    )
    now = time.time()
    for state in sorted(instance.all_instigator_state(), key=lambda each: each.instigator_name):
        if not state.is_running:
            continue
        moment = getattr(state.instigator_data, "last_tick_timestamp", None)
        if moment:
            last.add_metric([state.instigator_name], max(0.0, now - moment))
        for status, number in sorted(tick_counts(instance, state.selector_id, now - TICK_WINDOW).items()):
            ticks.add_metric([state.instigator_name, status.lower()], number)
    yield from (last, ticks)


def asset_metrics(instance: dg.DagsterInstance, lines: Iterable[str]) -> Iterator[Metric]:
    """Yield when each asset of the lines was made last, whichever partition of it."""
    wanted = set(lines)
    keys = [key for key in instance.all_asset_keys() if len(key.path) == 3 and key.path[0] in wanted]
    made = GaugeMetricFamily(
        "wafer_asset_age_seconds",
        "Time since an asset was materialized last, whichever partition of it.",
        None,
        ["line", "feed", "asset"],
    )
    now = time.time()
    for record in instance.get_asset_records(keys) if keys else ():
        if entry := record.asset_entry.last_materialization:
            made.add_metric(list(record.asset_entry.asset_key.path), max(0.0, now - entry.timestamp))
    yield made

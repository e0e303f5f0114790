"""What became of the files: those that came, as Dagster was told, and what is stored of them, as MongoDB says."""

import time
from collections.abc import Iterable, Iterator

import dagster as dg
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from resources.adapters.dagster_storage import partition_counts
from resources.mongo import WaferStore
from schemas.lines import FEEDS, Line
from wafer_assets.keys import feed_key

_OUTCOMES = ("validated_batches", "quarantined_batches")  # a held file counts as quarantined here
_STATUSES = ("accepted", "held", "quarantined")


def arrival_metrics(instance: dg.DagsterInstance, lines: Iterable[Line]) -> Iterator[Metric]:
    """Yield how many files came, and how many of them wait for their outcome, since when."""
    labels = ["line", "feed"]
    came = GaugeMetricFamily("wafer_files_received", "Files that landed, each name once.", None, labels)
    waiting = GaugeMetricFamily("wafer_files_waiting", "Files that landed and have no outcome yet.", None, labels)
    oldest = GaugeMetricFamily(
        "wafer_files_waiting_oldest_age_seconds",
        "Age of the oldest file that has no outcome; 0 where there is none.",
        None,
        labels,
    )
    for feed in (line.feed(kind) for line in lines for kind in FEEDS):
        found = partition_counts(instance, feed_key(feed, "raw_batches"), [feed_key(feed, name) for name in _OUTCOMES])
        values = [feed.line, feed.kind]
        came.add_metric(values, found.came)
        waiting.add_metric(values, found.waiting)
        oldest.add_metric(values, 0.0 if found.oldest is None else max(0.0, time.time() - found.oldest))
    yield from (came, waiting, oldest)


def outcome_metrics(wafers: WaferStore, lines: Iterable[Line]) -> Iterator[Metric]:
    """Yield how many files and wafers are stored, by outcome and, of what was refused, by reason."""
    feeds = {(line.name, str(kind)) for line in lines for kind in FEEDS}
    counts = {(item.line, item.feed, item.status): item for item in wafers.count_batches()}
    files = GaugeMetricFamily("wafer_files", "Files by their outcome.", None, ["line", "feed", "outcome"])
    stored = GaugeMetricFamily("wafer_wafers", "Wafers of accepted files.", None, ["line", "feed"])
    for name, feed in sorted(feeds):
        for status in _STATUSES:
            found = counts.get((name, feed, status))
            files.add_metric([name, feed, status], found.batches if found else 0)
        accepted = counts.get((name, feed, "accepted"))
        stored.add_metric([name, feed], accepted.wafers if accepted else 0)
    refused = GaugeMetricFamily(
        "wafer_files_refused", "Files in quarantine, or held, for a reason.", None, ["line", "feed", "reason"]
    )
    # Reasons are codes of the contract: there are as many as docs/reasons.md lists.
    for (name, feed, reason), number in sorted(wafers.count_reasons().items()):
        if (name, feed) in feeds:
            refused.add_metric([name, feed, reason], number)
    failed = GaugeMetricFamily(
        "wafer_files_failed", "Files that cannot be stored, though all servers are there.", None, ["line", "feed"]
    )
    failures = wafers.count_failures()
    for name, feed in sorted(feeds):
        failed.add_metric([name, feed], failures.get((name, feed), 0))
    yield from (files, stored, refused, failed)

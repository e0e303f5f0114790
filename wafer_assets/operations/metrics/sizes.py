"""How much the stores hold; counting that takes seconds, so it is done beside the scrapes."""

import time
from collections.abc import Iterator

import dagster as dg
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from resources.adapters.dagster_storage import storage_bytes
from resources.mongo import WaferStore
from resources.s3 import S3Store

REFRESH = 300.0
"""Seconds after which sizes are measured again."""


def bucket_sizes(s3: S3Store) -> Iterator[Metric]:
    """Yield bytes and objects of the buckets."""
    sizes: dict[str, float] = {}
    objects = GaugeMetricFamily("wafer_bucket_objects", "Objects in a bucket.", None, ["bucket"])
    for name, bucket in (("landing", s3.landing), ("lake", s3.lake)):
        listed = s3.list_objects(bucket)
        sizes[name] = sum(item.size for item in listed)
        objects.add_metric([name], len(listed))
    yield from (*_sizes("bucket", "bucket", sizes), objects)


def database_sizes(wafers: WaferStore, instance: dg.DagsterInstance) -> Iterator[Metric]:
    """Yield bytes of the databases."""
    yield from _sizes("database", "database", {"mongodb": wafers.size(), "dagster": storage_bytes(instance)})


def _sizes(what: str, label: str, sizes: dict[str, float]) -> Iterator[Metric]:
    size = GaugeMetricFamily(f"wafer_{what}_size_bytes", f"Size of a {what}.", None, [label])
    for name, number in sizes.items():
        size.add_metric([name], number)
    yield size
    yield GaugeMetricFamily(
        f"wafer_{what}_size_measured_timestamp_seconds",
        f"When the sizes of the {what}s were measured, in seconds since 1970.",
        time.time(),
    )

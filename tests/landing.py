"""Batch files in the landing bucket, for tests that then run something on them."""

import dagster as dg

from resources.s3 import S3Store
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import changed_batches, report_raw_batches
from wafer_assets.operations.ranges import partition_ranges
from wafer_assets.partitions import BATCHES
from wafer_assets.settings import Settings


def land(settings: Settings, instance: dg.DagsterInstance, files: dict[str, bytes]) -> dict[str, str]:
    """Drop files into the landing bucket and return the tags of a run over them."""
    s3 = S3Store(settings)
    for name, content in files.items():
        s3.put(s3.landing, landing_key("training", name), content)
    found = changed_batches("training", s3.list_objects(s3.landing), {})
    report_raw_batches(instance, "training", s3.landing, found)
    keys = instance.get_dynamic_partitions(str(BATCHES["training"].name))
    (only,) = partition_ranges(keys, found)
    return only.tags

"""Batch files in the landing bucket, for tests that then run something on them."""

from collections.abc import Mapping

import dagster as dg

from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.loader import Line
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import take_up
from wafer_assets.settings import Settings


def land(
    settings: Settings,
    instance: dg.DagsterInstance,
    files: Mapping[str, bytes],
    line: Line = "training",
    *,
    everything: bool = True,
) -> dict[str, str]:
    """Drop files into the landing bucket; return the tags of a run over all that are there, or what is new of them."""
    s3 = S3Store(settings)
    for name, content in files.items():
        s3.put(s3.landing, landing_key(line, name), content)
    (only,) = take_up(instance, line, s3, WaferStore(settings), everything=everything)
    return only.tags

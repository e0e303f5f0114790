"""Batch files in the landing bucket, for tests that then run something on them."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.lines import Feed, LineFeed
from schemas.loader import load_schema
from tests.feeds import TRAINING
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import take_up
from wafer_assets.settings import Settings


def land(
    settings: Settings,
    instance: dg.DagsterInstance,
    files: Mapping[str, bytes],
    feed: LineFeed = TRAINING,
    *,
    everything: bool = True,
) -> dict[str, str]:
    """Drop files into the landing bucket; return the tags of a run over all that are there, or what is new of them."""
    s3 = S3Store(settings)
    for name, content in files.items():
        s3.put(s3.landing, landing_key(feed, name), content)
    (only,) = take_up(instance, feed, s3, WaferStore(settings), everything=everything)
    return only.tags


def large_file(feed: Feed, wafers: int) -> tuple[str, bytes]:
    """Return name and content of a file whose readings have two decimals.

    With the four of simulated files, 5,000 wafers are more than the contract allows.
    """
    schema = load_schema(feed)
    table = simulate_table(wafers, seed=3).round(2)
    columns = {schema.wafer: table["wafer"], **{sensor: table[sensor] for sensor in schema.sensors}}
    if schema.label:
        columns[schema.label] = 2 * table["faulty"] - 1
    frame = pd.DataFrame(columns)[list(schema.columns)]
    return schema.file_names.example, frame.to_csv(index=False).encode()

"""Which sources there are: the one place where a new one is added."""

from collections.abc import Callable, Mapping
from functools import cache

import dagster as dg

from resources.mlflow import Tracking
from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.lines import Line
from wafer_assets.operations.metrics.collecting import Refreshed, Source
from wafer_assets.operations.metrics.files import arrival_metrics, outcome_metrics
from wafer_assets.operations.metrics.models import champion_reader
from wafer_assets.operations.metrics.runs import asset_metrics, daemon_metrics, run_metrics, sensor_metrics
from wafer_assets.operations.metrics.sizes import REFRESH, bucket_sizes, database_sizes
from wafer_assets.settings import Settings


def platform_sources(
    settings: Settings, lines: Mapping[str, Line], open_instance: Callable[[], dg.DagsterInstance]
) -> list[Source]:
    """Return the sources of the whole platform; none is asked before the first scrape.

    Parameters
    ----------
    settings
        Where the stores are.
    lines
        The declared lines: what belongs to others is not told of.
    open_instance
        Opens Dagster's instance; it is tried again where it fails.
    """
    instance = cache(open_instance)
    wafers, s3 = WaferStore(settings), S3Store(settings)
    return [
        Source(
            "dagster",
            lambda: [
                *run_metrics(instance(), lines),
                *daemon_metrics(instance()),
                *sensor_metrics(instance()),
                *asset_metrics(instance(), lines),
                *arrival_metrics(instance(), lines.values()),
            ],
        ),
        Source("mongodb", lambda: outcome_metrics(wafers, lines.values())),
        Source("mlflow", champion_reader(Tracking(settings), lines)),
        Source("s3", Refreshed(lambda: bucket_sizes(s3), REFRESH)),
        Source("sizes", Refreshed(lambda: database_sizes(wafers, instance()), REFRESH)),
    ]

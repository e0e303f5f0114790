"""What the registry tells: which version of each line predicts, since when it is registered, what it promised."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from resources.mlflow import CHAMPION, BundleVersion, Tracking

_PROMISED = ("auc", "average_precision")


def champion_reader(tracking: Tracking, lines: Iterable[str]) -> Callable[[], Iterator[Metric]]:
    """Return what reads the champions; the figures of a version never change, and are read once."""
    names = tuple(lines)

    @lru_cache(maxsize=4 * max(1, len(names)))
    def promised(line: str, run_id: str) -> dict[str, float]:
        return dict(tracking.of(line).figures(run_id))

    return lambda: _champion_metrics(tracking, names, lambda line, v: promised(line, v.run_id))


def _champion_metrics(
    tracking: Tracking, lines: Iterable[str], promised: Callable[[str, BundleVersion], dict[str, float]]
) -> Iterator[Metric]:
    there = GaugeMetricFamily("wafer_champion", "Whether a line has a champion (1) or not (0).", None, ["line"])
    number = GaugeMetricFamily("wafer_champion_version", "Version of the model that predicts.", None, ["line"])
    age = GaugeMetricFamily("wafer_champion_age_seconds", "Time since the champion was registered.", None, ["line"])
    quality = GaugeMetricFamily(
        "wafer_champion_quality_ratio",
        "What the champion's evaluation promised: area under the ROC curve (auc), average precision.",
        None,
        ["line", "protocol", "figure"],
    )
    for line in lines:
        version = tracking.of(line).version(CHAMPION)
        there.add_metric([line], version is not None)
        if version is None:
            continue
        number.add_metric([line], version.version)
        age.add_metric([line], max(0.0, time.time() - version.registered_at.timestamp()))
        for name, value in sorted(promised(line, version).items()):
            protocol, _, figure = name.partition(".")
            if figure in _PROMISED:
                quality.add_metric([line, protocol, figure], value)
    yield from (there, number, age, quality)

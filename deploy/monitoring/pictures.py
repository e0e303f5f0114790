"""Pictures of the dashboards, drawn from the same queries for the docs: Grafana itself draws them otherwise."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from deploy.monitoring.dashboards import dashboards

COLUMNS = 2
_UNITS = {"s": "seconds", "bytes": "bytes", "short": "", "percentunit": "share"}


def draw(url: str, folder: Path, line: str, minutes: float = 30) -> list[Path]:
    """Draw every dashboard on what a Prometheus knows of the last minutes; return the files.

    Parameters
    ----------
    url
        Address of the Prometheus.
    folder
        Of the pictures.
    line
        The line that is chosen where a dashboard asks for one.
    minutes
        That are drawn.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    written = []
    for name, page in dashboards().items():
        panels = page["panels"]
        rows = -(-len(panels) // COLUMNS)
        figure, places = plt.subplots(rows, COLUMNS, figsize=(14, 2.9 * rows), squeeze=False, layout="constrained")
        for place in places.flat[len(panels) :]:
            place.axis("off")
        for place, panel in zip(places.flat, panels, strict=False):
            _draw_panel(place, panel, url, line, minutes)
        figure.suptitle(page["title"])
        file = folder / f"dashboard-{name}.png"
        figure.savefig(file, dpi=75)
        plt.close(figure)
        written.append(file)
    return written


def _draw_panel(place: Any, panel: dict[str, Any], url: str, line: str, minutes: float) -> None:
    for target in panel["targets"]:
        for series in _series(url, target["expr"].replace("${line}", line).replace("$line", line), minutes):
            times = [datetime.fromtimestamp(moment, UTC) for moment, _ in series["values"]]
            label = _label(target["legendFormat"], series["metric"])
            place.plot(times, [float(value) for _, value in series["values"]], label=label, linewidth=1.3)
    place.set_title(panel["title"], fontsize=10)
    place.set_ylabel(_UNITS[panel["fieldConfig"]["defaults"]["unit"]])
    place.set_ylim(0, 1.1 * place.get_ylim()[1])
    place.tick_params(labelsize=7)
    if place.get_legend_handles_labels()[0]:
        place.legend(fontsize=6, ncols=2, loc="best")


def _label(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def _series(url: str, expression: str, minutes: float) -> list[dict[str, Any]]:
    end = time.time()
    asked = urlencode(
        {"query": expression, "start": end - minutes * 60, "end": end, "step": max(1, round(minutes * 60 / 200))}
    )
    with urlopen(f"{url}/api/v1/query_range?{asked}", timeout=30) as answer:  # noqa: S310  an address of one's own
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found

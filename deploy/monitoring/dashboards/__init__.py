"""Grafana's dashboards as code: a file each, with a function `dashboard`; here is what they are made of."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
TAG = "wafer"


def page(title: str, uid: str, description: str) -> dashboard.Dashboard:
    """Return an empty dashboard of the platform."""
    return (
        dashboard.Dashboard(title).uid(uid).description(description).tags([TAG]).refresh("1m").time("now-24h", "now")
    ).readonly()


def panel(title: str, description: str, unit: str, *queries: tuple[str, str]) -> timeseries.Panel:
    """Return a panel of lines over time.

    Parameters
    ----------
    title, description
        What people read, and read when they ask.
    unit
        Of the axis, in Grafana's words: `s`, `bytes`, `short`, `percentunit`.
    queries
        Expressions, each with the name of its lines.
    """
    built = timeseries.Panel().title(title).description(description).unit(unit).min(0).datasource(SOURCE)
    built = built.span(12).height(8)
    for number, (expression, legend) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        built = built.with_target(query.datasource(SOURCE))
    return built


def dashboards() -> dict[str, dict[str, Any]]:
    """Return all dashboards as Grafana takes them, by name of their file."""
    import json

    found = {}
    for module in iter_modules([str(Path(__file__).parent)]):
        build: Callable[[], dashboard.Dashboard] = import_module(f"{__name__}.{module.name}").dashboard
        found[module.name] = json.loads(JSONEncoder(sort_keys=True).encode(build().build()))
    return found


def queries(page: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the expressions of a dashboard, each with its panel's title."""
    return [(each["title"], target["expr"]) for each in page["panels"] for target in each.get("targets", ())]

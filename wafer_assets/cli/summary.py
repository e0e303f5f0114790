"""The summary of the latest facts, as people read it in a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from wafer_assets.operations.facts import LISTED, Summary

_PROTOCOLS = {
    "repeated_k_fold": "repeated k-fold",
    "time_split": "first 70% → last 30%",
    "rolling_refit": "rolling refit",
}


def render_summary(summary: Summary, where: Mapping[str, str]) -> RenderableType:
    """Return the summary as people read it in a terminal.

    Parameters
    ----------
    where
        Where to look next: what for, and the command or address.
    """
    parts: list[RenderableType] = [_facts(summary)]
    if members := summary.get("members"):
        parts.append(_members(members))
    if quality := summary.get("quality"):
        parts.append(_quality(quality))
    if predictions := summary.get("predictions"):
        parts.append(_scored(predictions))
    last = _grid("Model and where to look next")
    if registered := summary.get("registered"):
        version = f"{registered['model']} version {registered['version']}"
        last.add_row("registered", f"{version}, alias {registered['alias']}")
        last.add_row("policy", f"{registered['policy']}: alarm from {registered['alarm_threshold']:.3f} on")
    if champion := summary.get("champion"):
        version = champion["version"]
        last.add_row("champion", "none yet" if version is None else f"version {version}")
        for reason in champion["reasons"]:
            last.add_row(f"  {champion['decision']}", reason)
    for what, place in where.items():
        last.add_row(what, place)
    return Group(*parts, last)


def _facts(summary: Summary) -> Table:
    facts = _grid("Batches and wafers")
    if files := summary.get("files"):
        for name in ("received", "accepted", "quarantined"):
            facts.add_row(f"files {name}", f"{files[name]}")
        for code, count in files["quarantined_by_reason"].items():
            facts.add_row(f"  {code}", f"{count}")
    if to_score := summary.get("files_to_score"):
        for name in ("received", "accepted", "quarantined"):
            facts.add_row(f"files to score, {name}", f"{to_score[name]}")
    if wafers := summary.get("wafers"):
        facts.add_row("wafers stored", f"{wafers['stored']:,}, {wafers['faulty']} faulty")
    if table := summary.get("table"):
        facts.add_row("wafers trained on", f"{table['wafers']:,}, {table['superseded_rows']} rows superseded")
    if clusters := summary.get("clusters"):
        knee = "the knee" if clusters["elbow_is_knee"] else "no knee: the default"
        facts.add_row("elbow", f"k = {clusters['elbow_k']}, {knee}")
        for size in clusters["sizes"]:
            facts.add_row(f"  cluster {size['cluster']}", f"{size['wafers']:,} wafers, {size['faulty_wafers']} faulty")
    return facts


def _members(members: list[Mapping[str, Any]]) -> Table:
    table = Table("group", "member", "weight", "AUC", "average precision", "log loss", title="Members")
    for row in members:
        figures = (f"{row[name]:.3f}" for name in ("weight", "auc", "average_precision", "log_loss"))
        table.add_row(row["group"], row["member"], *figures)
    return table


def _scored(predictions: list[Mapping[str, Any]]) -> Table:
    title = "Scored batches" if len(predictions) < LISTED else f"The latest {LISTED} scored batches"
    table = Table("batch", "wafers", "alarms", "highest probability", "bundle", title=title)
    for row in predictions:
        highest = f"{row['highest_probability']:.3f}"
        table.add_row(row["batch"], f"{row['wafers']}", f"{row['alarms']}", highest, f"version {row['bundle_version']}")
    return table


def _grid(title: str) -> Table:
    table = Table(title=title, show_header=False, box=None, title_justify="left", padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    return table


def _quality(quality: Mapping[str, Any]) -> Table:
    metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]] = quality["metrics"]
    table = Table(
        "metric",
        *(_PROTOCOLS[protocol] for protocol in metrics),
        title="Quality of the bundle, 95% intervals",
    )
    for name in next(iter(metrics.values())):
        table.add_row(name.replace("_", " "), *(_figure(metrics[protocol][name]) for protocol in metrics))
    return table


def _figure(estimate: Mapping[str, float | None]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None:
        return "undefined"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"

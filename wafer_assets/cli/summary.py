"""The summary of the latest facts: printed for people, and written to `summary.json` for programs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import dagster as dg
from rich.console import Group, RenderableType

from schemas.lines import Line
from wafer_assets.cli.console import facts, output, table
from wafer_assets.operations.facts import LISTED, Summary, read_summary
from wafer_assets.settings import Settings

_PROTOCOLS = {
    "repeated_k_fold": "repeated k-fold",
    "time_split": "first 70% → last 30%",
    "rolling_refit": "rolling refit",
}


@contextmanager
def summarised(settings: Settings, instance: dg.DagsterInstance, line: Line) -> Iterator[None]:
    """Print the summary after the block, and before the error that it ends with."""
    try:
        yield
    except click.ClickException:
        print_summary(settings, instance, line)
        raise
    print_summary(settings, instance, line)


def print_summary(settings: Settings, instance: dg.DagsterInstance, line: Line) -> None:
    """Print the summary of a line, and write it to the state folder."""
    summary = read_summary(instance, line.name)
    file = settings.state_dir / "summary.json"
    file.parent.mkdir(parents=True, exist_ok=True)  # the instance may be elsewhere
    file.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    where = {
        "all plots and lineage": "`make dev` (or `wafer dev`)",
        "refused files": "`wafer quarantine list`",
        "these facts": str(file),
    }
    output.print(render_summary(summary, where))


def render_summary(summary: Summary, where: Mapping[str, str]) -> RenderableType:
    """Return the summary as people read it in a terminal.

    Parameters
    ----------
    summary
        The latest facts; a part that has none is left out.
    where
        Where to look next: what for, and the command or address.
    """
    parts: list[RenderableType] = []
    if batches_and_wafers := [*_batches_and_wafers(summary)]:
        parts.append(facts("Batches and wafers", batches_and_wafers))
    if members := summary.get("members"):
        parts.append(_members(members))
    if quality := summary.get("quality"):
        parts.append(_quality(quality))
    if predictions := summary.get("predictions"):
        parts.append(_scored(predictions))
    return Group(*parts, facts("Model and where to look next", [*_model(summary), *where.items()]))


def _batches_and_wafers(summary: Summary) -> Iterator[tuple[str, str]]:
    if files := summary.get("files"):
        for name in ("received", "accepted", "quarantined", "held"):
            yield f"files {name}", f"{files[name]}"
        for code, count in files["quarantined_by_reason"].items():
            yield f"  {code}", f"{count}"
    if to_score := summary.get("files_to_score"):
        for name in ("received", "accepted", "quarantined"):
            yield f"files to score, {name}", f"{to_score[name]}"
    if wafers := summary.get("wafers"):
        yield "wafers stored", f"{wafers['stored']:,}, {wafers['faulty']} faulty"
    if trained_on := summary.get("table"):
        yield "wafers trained on", f"{trained_on['wafers']:,}, {trained_on['superseded_rows']} rows superseded"
    if clusters := summary.get("clusters"):
        knee = "the knee" if clusters["elbow_is_knee"] else "no knee: the default"
        yield "elbow", f"k = {clusters['elbow_k']}, {knee}"
        for size in clusters["sizes"]:
            yield f"  cluster {size['cluster']}", f"{size['wafers']:,} wafers, {size['faulty_wafers']} faulty"


def _model(summary: Summary) -> Iterator[tuple[str, str]]:
    if registered := summary.get("registered"):
        yield "registered", f"{registered['model']} version {registered['version']}, alias {registered['alias']}"
        yield "policy", f"{registered['policy']}: alarm from {registered['alarm_threshold']:.3f} on"
    if champion := summary.get("champion"):
        version = champion["version"]
        yield "champion", "none yet" if version is None else f"version {version}"
        for reason in champion["reasons"]:
            yield f"  {champion['decision']}", reason


def _members(members: list[Mapping[str, Any]]) -> RenderableType:
    figures = ("weight", "auc", "average_precision", "log_loss")
    rows = ((row["group"], row["member"], *(f"{row[name]:.3f}" for name in figures)) for row in members)
    return table(("group", "member", "weight", "AUC", "average precision", "log loss"), rows, title="Members")


def _scored(predictions: list[Mapping[str, Any]]) -> RenderableType:
    title = "Scored batches" if len(predictions) < LISTED else f"The latest {LISTED} scored batches"
    rows = (
        (
            row["batch"],
            row["wafers"],
            row["alarms"],
            f"{row['highest_probability']:.3f}",
            f"version {row['bundle_version']}",
        )
        for row in predictions
    )
    return table(("batch", "wafers", "alarms", "highest probability", "bundle"), rows, title=title)


def _quality(quality: Mapping[str, Any]) -> RenderableType:
    metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]] = quality["metrics"]
    headers = ("metric", *(_PROTOCOLS[protocol] for protocol in metrics))
    rows = (
        (name.replace("_", " "), *(_figure(metrics[protocol][name]) for protocol in metrics))
        for name in next(iter(metrics.values()))
    )
    return table(headers, rows, title="Quality of the bundle, 95% intervals")


def _figure(estimate: Mapping[str, float | None]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None:
        return "undefined"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"

"""`wafer score`, `report`, `trace` and `predict`: what the champion says of wafers, and where that comes from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import RenderableType

from wafer_assets.cli.console import console, facts, output, print_json, table
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import (
    OutFile,
    OutFolder,
    from_option,
    json_option,
    line_option,
    require_all_or_range,
    to_option,
)
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from schemas.lines import Line
    from wafer_assets.operations.tracing import BundleOrigin, Influence, PredictionOrigin

SHOWN = 10  # reasons of a file


@click.command(cls=Command)
@line_option
@click.option("--all", "everything", is_flag=True, help="Score every batch again, not only those that wait.")
@from_option
@to_option
def score(line: "Line", everything: bool, first: str | None, last: str | None) -> None:
    """Score all accepted batches that wait, with the champion.

    The champion is the model that predicts: `wafer models list` shows it. A batch waits until the predictions of its
    present content are stored. With --all, --from or --to, batches are scored again, in one run.

    The command exits with 1 if a batch is left unscored, and says why.
    """
    require_all_or_range(everything, first, last)
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.cli.runs import run_range
    from wafer_assets.cli.summary import print_summary, summarised

    settings = load_settings()
    with open_instance(settings) as instance:
        if everything or first is not None or last is not None:
            run_range(settings, instance, line.feed("prediction"), "predict", first, last)
            print_summary(settings, instance, line)
        else:
            with summarised(settings, instance, line):
                score_waiting(settings, instance, line)


def score_waiting(settings: Settings, instance: "dg.DagsterInstance", line: "Line") -> None:
    """Score the accepted batches of a line that wait.

    Raises
    ------
    click.ClickException
        One is left unscored; the message says why.
    """
    from resources.mlflow import CHAMPION, LineTracking
    from resources.mongo import WaferStore
    from resources.predictions import PredictionStore
    from resources.s3 import S3Store
    from wafer_assets.cli.runs import run_batches
    from wafer_assets.operations.backlog import unscored_batches

    feed, wafers = line.feed("prediction"), WaferStore(settings)
    waiting = unscored_batches(instance, line, wafers, PredictionStore(settings), S3Store(settings))
    if not waiting:
        console.print("No batch waits to be scored.")
        return
    accepted = [item.batch for item in waiting if item.sha256]
    if accepted and LineTracking(settings, line.name).version(CHAMPION) is None:
        raise click.ClickException(_left_unscored(settings, line, accepted))
    # Refused batches have nothing to score, and every one would split the run.
    refused = {item.batch for item in wafers.batches(feed, "quarantined")}
    run_batches(settings, instance, feed, "predict", [item.batch for item in waiting], refused)


def _left_unscored(settings: Settings, line: "Line", batches: Sequence[str]) -> str:
    """Say which batches nobody can score yet, why there is no champion, and what to do."""
    from resources.champion import NoChampionError
    from resources.promotions import PromotionLog

    names = ", ".join(batches[:5]) + (f" and {len(batches) - 5} more" if len(batches) > 5 else "")
    lines = [f"Accepted but not scored: {names}. {NoChampionError(line.name)}"]
    for latest in PromotionLog(settings).history(settings.mlflow.of(line.name).model_name)[-1:]:
        lines += [
            f"Version {latest.version} was not promoted: {latest.reason}",
            f"`wafer models promote --line {line.name} {latest.version}` with a --reason lets it predict all the same; "
            f"then `wafer score --line {line.name}` scores what waits.",
        ]
    return "\n".join(lines)


@click.command(cls=Command)
@line_option
@click.argument("batch")
@click.option("--out", type=OutFile(), help="File to write; by default the batch's name with .html, here.")
def report(line: "Line", batch: str, out: Path | None) -> None:
    """Fetch the report of a scored BATCH as a page.

    It lists the wafers by risk, why, and how sure the model is. BATCH is the name of the file that was scored.

      wafer report wafer_13012020_090817.csv
    """
    from resources.predictions import PredictionStore
    from resources.s3 import S3Store

    settings = load_settings()
    scored = PredictionStore(settings).scored_batch(line.name, batch)
    if scored is None:
        raise click.ClickException(f"{batch!r} is not scored. `wafer score --line {line.name}` scores what waits.")
    s3 = S3Store(settings)
    file = out or Path(Path(scored.report).name)
    file.write_bytes(s3.get(s3.lake, scored.report))
    output.print(str(file.absolute()), soft_wrap=True)


@click.command(cls=Command)
@line_option
@json_option
@click.argument("name", metavar="WAFER|BATCH")
def trace(line: "Line", as_json: bool, name: str) -> None:
    """Show where predictions come from.

    A scored BATCH is followed back to the model, the files that it learned from, and its promotion; a WAFER, in every
    batch that holds it. A training batch is followed on, to the models and predictions that it went into.
    With --json, it is a document of two lists: `predictions`, each with its `batch`, `file` (`key` and `etag`),
    `wafers`, `alarms`, `scored_at`, `dagster_run_id`, `model`, `bundle_version`, `mlflow_run_id`,
    `training_table_hash`, `promotion` (`action`, `at`, `by` and `reason`) and `training_batches` (each with `batch`,
    `key`, `etag` and `wafers`); and `influences`, each with its `batch`, `file`, `wafers`, `bundle_versions` and
    `scored` (each with `batch`, `bundle_version` and `alarms`). What is not known, such as a file that was replaced
    since, is null.

      wafer trace wafer_13012020_090817.csv
      wafer trace Wafer-17
    """
    from wafer_assets.operations.tracing import trace as follow

    origins, influences = follow(load_settings(), line, name)
    if as_json:
        print_json(
            {
                "predictions": [_origin_document(origin) for origin in origins],
                "influences": [_influence_document(influence) for influence in influences],
            }
        )
        return
    for origin in origins:
        output.print(_origin(origin))
        output.print(_files(origin.bundle))
    for influence in influences:
        output.print(_influence(influence))


def _origin_document(origin: "PredictionOrigin") -> dict[str, Any]:
    scored, bundle = origin.scored, origin.bundle
    return {
        "batch": scored.batch,
        "file": {"key": origin.source.key, "etag": origin.source.etag} if origin.source else None,
        "wafers": scored.wafers,
        "alarms": scored.alarms,
        "scored_at": scored.scored_at,
        "dagster_run_id": scored.dagster_run_id,
        "model": scored.model,
        "bundle_version": scored.bundle_version,
        "mlflow_run_id": bundle.version.run_id,
        "training_table_hash": bundle.version.tags.get("table_hash"),
        "promotion": bundle.promotion.model_dump(include={"action", "at", "by", "reason"})
        if bundle.promotion
        else None,
        "training_batches": [
            {"batch": item.batch, "key": item.key, "etag": item.etag, "wafers": item.wafers} for item in bundle.batches
        ],
    }


def _influence_document(influence: "Influence") -> dict[str, Any]:
    batch = influence.batch
    return {
        "batch": batch.batch,
        "file": {"key": batch.key, "etag": batch.etag},
        "wafers": batch.wafers,
        "bundle_versions": [version.version for version in influence.versions],
        "scored": [
            {"batch": scored.batch, "bundle_version": scored.bundle_version, "alarms": scored.alarms}
            for scored in influence.scored
        ],
    }


def _origin(origin: "PredictionOrigin") -> RenderableType:
    scored, bundle = origin.scored, origin.bundle
    replaced = f"replaced or refused since: `wafer score --line {scored.line}` brings the predictions up to date"
    rows = [
        ("file", f"{origin.source.key}, ETag {origin.source.etag}" if origin.source else replaced),
        ("wafers", f"{scored.wafers}, {scored.alarms} alarms"),
        ("scored", f"{scored.scored_at:%Y-%m-%d %H:%M:%S} UTC by Dagster run {scored.dagster_run_id}"),
        ("bundle", f"{scored.model} version {scored.bundle_version}, MLflow run {bundle.version.run_id}"),
        ("training table", bundle.table_hash),
    ]
    if change := bundle.promotion:
        rows += [
            ("made champion", f"{change.at:%Y-%m-%d %H:%M:%S} UTC by {change.by} ({change.action})"),
            ("  because", change.reason),
        ]
    else:
        rows.append(("made champion", "never by this platform's commands"))
    return facts(f"Predictions of {scored.batch}", rows)


def _files(bundle: "BundleOrigin") -> RenderableType:
    rows = ((item.key, item.etag, item.wafers) for item in bundle.batches)
    return table(("file", "ETag", "wafers"), rows, title=f"Trained on {len(bundle.batches)} batches")


def _influence(influence: "Influence") -> RenderableType:
    batch = influence.batch
    versions = ", ".join(str(version.version) for version in influence.versions)
    rows = [
        ("file", f"{batch.key}, ETag {batch.etag}, {batch.wafers} wafers"),
        ("bundles", f"versions {versions}" if versions else "none yet"),
        *(
            ("predictions", f"{scored.batch} (version {scored.bundle_version}, {scored.alarms} alarms)")
            for scored in influence.scored
        ),
    ]
    return facts(f"What the training batch {batch.batch} influenced", rows)


@click.command(cls=Command)
@line_option
@click.argument("files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option(
    "--out",
    type=OutFolder(),
    help="Folder for a CSV file and a report (HTML) per file; without it, the rows are printed.",
)
@click.option(
    "--version", "number", type=click.IntRange(min=1), help="Number of the model's version; by default the champion's."
)
def predict(line: "Line", files: tuple[Path, ...], out: Path | None, number: int | None) -> None:
    """Score FILES with the champion; store nothing.

    A file is checked against the contract as if it had been uploaded. Files that break it are named with their
    reasons, the others are scored, and the command then exits with 1.

    The CSV holds every id as the fab wrote it, for programs. A spreadsheet that opens it makes other values of ids such
    as 1E5, 00012 or 2020-01-02: import the column `wafer` as text, or open the report. None begins a formula.

      wafer predict wafer_13012020_090817.csv    rows to the terminal
      wafer predict *.csv --out scored           a CSV file and a report each
    """
    if out is not None:
        _require_room(files, out)
    from resources.champion import load_bundle, load_champion
    from resources.mlflow import LineTracking
    from resources.promotions import PromotionLog
    from schemas.loader import BatchSchema
    from wafer_assets.domain.contract import Refused
    from wafer_assets.operations.champion import against_rule
    from wafer_assets.operations.scoring import score_file

    settings = load_settings()
    tracking, schema = LineTracking(settings, line.name), BatchSchema.of(line, "prediction")
    if number is None:
        version, bundle = load_champion(tracking)
    else:
        version = tracking.get_version(number)
        bundle = load_bundle(tracking, version)
    bundle.check_contract(schema.contract_version, "The file")
    by_hand = against_rule(PromotionLog(settings).history(version.name), version.version)
    refused = 0
    for file in files:
        scores = score_file(bundle, version, schema, file.name, file.read_bytes(), against_rule=by_hand)
        if isinstance(scores, Refused):
            refused += 1
            for reason in scores.reasons[:SHOWN]:
                console.print(f"{file}: {reason.message}")
            if (more := len(scores.reasons) - SHOWN) > 0:
                again = f"`wafer check --line {line.name} --feed prediction {file}`"
                console.print(f"{file}: {more} more reasons; {again} shows all of them.")
            continue
        csv = scores.rows.to_csv(index=False)
        if out is None:
            click.echo(csv, nl=False)
            continue
        out.mkdir(parents=True, exist_ok=True)
        (out / file.name).write_text(csv)
        (out / f"{file.stem}.html").write_bytes(scores.report)
        alarms = int(scores.rows["faulty"].sum())
        console.print(f"{file.name}: {alarms} alarms of {len(scores.rows)} wafers, in {out}")
    if refused:
        others = "; the others were scored" if refused < len(files) else ""
        raise click.ClickException(f"{refused} of {len(files)} files break the contract{others}.")


def _require_room(files: Sequence[Path], out: Path) -> None:
    """Refuse to write over one of the files, or to write two results to one place."""
    names: set[str] = set()
    for file in files:
        if file.parent.resolve() == out.resolve():
            raise click.BadParameter(
                f"{str(out)!r} holds {file.name!r} itself, which would be lost.", param_hint="--out"
            )
        # A page has the name of its file with another ending.
        if file.stem.casefold() in names:
            raise click.BadParameter(f"it cannot hold two results for {file.name!r}.", param_hint="--out")
        names.add(file.stem.casefold())

"""`wafer predict`, `report` and `trace`: what the champion says of wafers, and where that comes from."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from wafer_assets.cli.console import console, output
from wafer_assets.cli.help import Command
from wafer_assets.settings import load_settings

if TYPE_CHECKING:
    from wafer_assets.operations.tracing import BundleOrigin, Influence, PredictionOrigin


@click.command(cls=Command)
@click.argument("files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a CSV file and a report (HTML) per file; without it, the rows are printed.",
)
@click.option(
    "--version", "number", type=click.IntRange(min=1), help="Number of the model's version; by default the champion's."
)
def predict(files: tuple[Path, ...], out: Path | None, number: int | None) -> None:
    """Score FILES with the champion; store nothing.

    A file is checked against the contract as if it had been uploaded. Files that break it are named with their
    reasons, the others are scored, and the command then exits with 1.

      wafer predict wafer_13012020_090817.csv    rows to the terminal
      wafer predict *.csv --out scored           a CSV file and a report each
    """
    from resources.champion import load_bundle, load_champion
    from resources.mlflow import Tracking
    from schemas.loader import load_schema
    from wafer_assets.domain.contract import Refused
    from wafer_assets.operations.scoring import score_file

    tracking, schema = Tracking(load_settings()), load_schema("prediction")
    if number is None:
        version, bundle = load_champion(tracking)
    else:
        version = tracking.get_version(number)
        bundle = load_bundle(tracking, version)
    bundle.check_contract(schema.contract_version, "The file")
    refused = 0
    for file in files:
        scores = score_file(bundle, version, schema, file.name, file.read_bytes())
        if isinstance(scores, Refused):
            refused += 1
            for reason in scores.reasons[:10]:
                console.print(f"{file}: {reason.message}", markup=False)
            continue
        csv = scores.rows.to_csv(index=False)
        if out is None:
            click.echo(csv, nl=False)
            continue
        out.mkdir(parents=True, exist_ok=True)
        (out / file.name).write_text(csv)
        (out / f"{file.stem}.html").write_bytes(scores.report)
        alarms = int(scores.rows["faulty"].sum())
        console.print(f"{file.name}: {alarms} alarms of {len(scores.rows)} wafers, in {out}", markup=False)
    if refused:
        raise click.ClickException(f"{refused} of {len(files)} files break the contract; the others were scored.")


@click.command(cls=Command)
@click.argument("batch")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; by default the batch's name with .html, here.",
)
def report(batch: str, out: Path | None) -> None:
    """Fetch the report of a scored BATCH as a page.

    It lists the wafers by risk, why, and how sure the model is. BATCH is the name of the file that was scored.

      wafer report wafer_13012020_090817.csv
    """
    from resources.predictions import PredictionStore
    from resources.s3 import S3Store

    settings = load_settings()
    scored = PredictionStore(settings).scored_batch(batch)
    if scored is None:
        raise click.ClickException(f"{batch!r} is not scored. `wafer score` scores what waits.")
    s3 = S3Store(settings)
    file = out or Path(Path(scored.report).name)
    file.write_bytes(s3.get(s3.lake, scored.report))
    output.print(str(file.absolute()))


@click.command(cls=Command)
@click.argument("name", metavar="WAFER|BATCH")
def trace(name: str) -> None:
    """Show where predictions come from.

    A scored BATCH is followed back to the model, the files that it learned from, and its promotion; a WAFER, in every
    batch that holds it. A training batch is followed on, to the models and predictions that it went into.

      wafer trace wafer_13012020_090817.csv
      wafer trace Wafer-17
    """
    from wafer_assets.operations.tracing import trace as follow

    origins, influences = follow(load_settings(), name)
    for origin in origins:
        output.print(_origin(origin))
        output.print(_files(origin.bundle))
    for influence in influences:
        output.print(_influence(influence))


def _grid(title: str) -> Table:
    table = Table(title=title, show_header=False, box=None, title_justify="left", padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _origin(origin: "PredictionOrigin") -> Table:
    scored, bundle = origin.scored, origin.bundle
    table = _grid(f"Predictions of {scored.batch}")
    if origin.source:
        table.add_row("file", f"{origin.source.key}, ETag {origin.source.etag}")
    else:
        table.add_row("file", "replaced or refused since: `wafer score` brings the predictions up to date")
    table.add_row("wafers", f"{scored.wafers}, {scored.alarms} alarms")
    table.add_row("scored", f"{scored.scored_at:%Y-%m-%d %H:%M:%S} UTC by Dagster run {scored.dagster_run_id}")
    table.add_row("bundle", f"{scored.model} version {scored.bundle_version}, MLflow run {bundle.version.run_id}")
    table.add_row("training table", bundle.table_hash)
    if change := bundle.promotion:
        table.add_row("made champion", f"{change.at:%Y-%m-%d %H:%M:%S} UTC by {change.by} ({change.action})")
        table.add_row("  because", change.reason)
    else:
        table.add_row("made champion", "never by this platform's commands")
    return table


def _files(bundle: "BundleOrigin") -> Table:
    table = Table(title=f"Trained on {len(bundle.batches)} batches")
    for header in ("file", "ETag", "wafers"):
        table.add_column(header, overflow="fold")
    for item in bundle.batches:
        table.add_row(item.key, item.etag, f"{item.wafers}")
    return table


def _influence(influence: "Influence") -> Table:
    batch = influence.batch
    table = _grid(f"What the training batch {batch.batch} influenced")
    table.add_row("file", f"{batch.key}, ETag {batch.etag}, {batch.wafers} wafers")
    versions = ", ".join(str(version.version) for version in influence.versions)
    table.add_row("bundles", f"versions {versions}" if versions else "none yet")
    for scored in influence.scored:
        table.add_row("predictions", f"{scored.batch} (version {scored.bundle_version}, {scored.alarms} alarms)")
    return table

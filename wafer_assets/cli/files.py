"""`wafer simulate` and `upload`: batch files, made up and brought to where partners drop theirs."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from wafer_assets.cli.console import console
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import OutFolder, feed_option, line_option
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from schemas.lines import Feed, Line, LineFeed

_Item = TypeVar("_Item")


@click.command(cls=Command)
@line_option
@feed_option
@click.option("--out", type=OutFolder(), required=True, help="Folder to write the files to.")
@click.option(
    "--batches", type=click.IntRange(1, 10_000), default=14, show_default=True, help="Number of good files to make."
)
@click.option(
    "--wafers",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Number of wafers in each of them.",
)
@click.option("--bad/--no-bad", default=True, show_default=True, help="Add one bad file of every kind, or none.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number that all chance follows from: same seed, same files.",
)
def simulate(line: "Line", feed: "Feed", out: Path, batches: int, wafers: int, bad: bool, seed: int) -> None:
    """Make batch files like a partner's, to play with.

    Their readings drift and have gaps, and their faults have causes that are known. Files of the feed `training` say
    which wafers were faulty, files of the feed `prediction` do not.

      wafer simulate --out batches
      wafer simulate --feed prediction --out to-score
    """
    simulate_files(line, feed, out, batches, wafers, bad=bad, seed=seed)


def simulate_files(
    line: "Line",
    feed: "Feed",
    out: Path,
    batches: int,
    wafers: int,
    *,
    bad: bool = True,
    seed: int = 0,
    first_wafer: int = 1,
) -> None:
    """Write simulated batch files to a folder, and say how many."""
    from schemas.loader import BatchSchema
    from wafer_assets.domain.simulation import broken_batches, simulate_batches

    schema = BatchSchema.of(line, feed)
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    good = simulate_batches(batches, wafers, feed=feed, schema=schema, seed=seed, first_wafer=first_wafer)
    for batch in _tracked(good, batches, "simulating"):
        (out / batch.name).write_bytes(batch.content)
        count += 1
    if bad:
        for broken in broken_batches(schema, seed):
            (out / broken.name).write_bytes(broken.content)
            count += 1
    console.print(f"{count} files in {out}")


@click.command(cls=Command)
@line_option
@feed_option
@click.argument("paths", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
def upload(line: "Line", feed: "Feed", paths: tuple[Path, ...]) -> None:
    """Drop files into the landing bucket.

    PATHS are files, or folders whose files are meant. A file that is there already with the same content is left
    alone; one whose content differs replaces it. `wafer ingest` then takes them up.

      wafer upload batches
      wafer upload --feed prediction to-score/*.csv
    """
    upload_files(load_settings(), line.feed(feed), files_of(paths))


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the files that are meant: those given, and those in the folders given.

    Raises
    ------
    click.UsageError
        There are none.
    """
    from wafer_assets.operations import landing

    files = landing.files_of(paths)
    if not files:
        raise click.UsageError(f"There is no file in {', '.join(repr(str(path)) for path in paths)}.")
    return files


def upload_files(settings: Settings, feed: "LineFeed", files: Sequence[Path]) -> None:
    """Upload the files that the landing bucket does not hold yet, and say how many."""
    from resources.s3 import S3Store
    from wafer_assets.operations import landing

    uploads = landing.upload(S3Store(settings), feed, files)
    sent = sum(_tracked(uploads, len(files), "uploading"))
    console.print(f"{sent} files uploaded, {len(files) - sent} were there already.")


def _tracked(items: Iterable[_Item], total: int, what: str) -> Iterator[_Item]:
    """Yield the items, and show how many of them are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield from progress.track(items, total=total, description=what)

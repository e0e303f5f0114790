"""`wafer ingest`: what has landed is checked, and stored or refused."""

from typing import TYPE_CHECKING

import click

from wafer_assets.cli.console import console
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import feed_option, from_option, line_option, require_all_or_range, to_option
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from schemas.lines import Feed, Line, LineFeed


@click.command(cls=Command)
@line_option
@feed_option
@click.option("--all", "everything", is_flag=True, help="Ingest every file again, not only new and changed ones.")
@from_option
@to_option
def ingest(line: "Line", feed: "Feed", everything: bool, first: str | None, last: str | None) -> None:
    """Check and store what has landed; quarantine what breaks the contract.

    Only files that are new or changed are ingested, and those of which the stores have lost something. With --from or
    --to, all batches of that range are ingested again, in one run.

      wafer ingest
      wafer ingest --feed prediction
      wafer ingest --from wafer_07012020_041011.csv
    """
    require_all_or_range(everything, first, last)
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.cli.runs import run_range
    from wafer_assets.cli.summary import print_summary

    settings = load_settings()
    with open_instance(settings) as instance:
        if first is None and last is None:
            ingest_landed(settings, instance, line.feed(feed), everything=everything)
        else:
            run_range(settings, instance, line.feed(feed), f"ingest_{feed}", first, last)
        print_summary(settings, instance, line)


def ingest_landed(
    settings: Settings, instance: "dg.DagsterInstance", feed: "LineFeed", *, everything: bool = False
) -> None:
    """Ingest the files that are new or changed, or else bring the ledger up to date if it is behind."""
    from resources.mongo import WaferStore
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import run_job
    from wafer_assets.cli.runs import require_success
    from wafer_assets.keys import feed_key, name_of
    from wafer_assets.operations.backlog import ledger_is_behind
    from wafer_assets.operations.landing import take_up

    job = name_of(feed.line, f"ingest_{feed.kind}")
    ranges = take_up(instance, feed, S3Store(settings), WaferStore(settings), everything=everything)
    for part in ranges:
        require_success(run_job(settings, instance, job, tags=part.tags))
    if not ranges:
        console.print("No file is new or changed.")
        if ledger_is_behind(instance, feed):
            require_success(run_job(settings, instance, job, assets=[feed_key(feed, "batch_ledger")]))

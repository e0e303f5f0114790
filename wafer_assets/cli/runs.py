"""Runs of the platform's jobs over batches, and what the commands say when one fails."""

from collections.abc import Container, Iterable

import click
import dagster as dg

from resources.store_health import silent_stores
from schemas.lines import LineFeed
from wafer_assets.cli.console import console
from wafer_assets.cli.instance import run_job
from wafer_assets.keys import name_of
from wafer_assets.operations.ranges import EmptyRangeError, UnknownBatchError, batch_ranges, range_between
from wafer_assets.settings import Settings, load_settings


def run_batches(
    settings: Settings,
    instance: dg.DagsterInstance,
    feed: LineFeed,
    job: str,
    batches: Iterable[str],
    between: Container[str] = (),
) -> None:
    """Run a job over batches, in as many runs as they have gaps; batches that may come `between` make none.

    Raises
    ------
    click.ClickException
        A run failed; those after it were not begun.
    """
    for part in batch_ranges(instance, feed, batches, between):
        require_success(run_job(settings, instance, name_of(feed.line, job), tags=part.tags))


def run_range(
    settings: Settings, instance: dg.DagsterInstance, feed: LineFeed, job: str, first: str | None, last: str | None
) -> None:
    """Run a job of the feed's line over all known batches from the first to the last one, in one run.

    Raises
    ------
    click.ClickException
        The run failed, or nothing was run: an end of the range is unknown, or the last came before the first.
    """
    try:
        part = range_between(instance, feed, first, last)
    except UnknownBatchError as error:
        raise click.BadParameter(str(error), param_hint="--from" if error.batch == first else "--to") from error
    except EmptyRangeError as error:
        raise click.BadParameter(str(error), param_hint="--from") from error
    if part is None:
        console.print(
            f"The feed {feed} knows no batch yet. `wafer ingest --line {feed.line} --feed {feed.kind}` takes up what "
            "landed."
        )
    else:
        require_success(run_job(settings, instance, name_of(feed.line, job), tags=part.tags))


def require_success(result: dg.JobExecutionResult) -> None:
    """Refuse to go on after a run that failed, and say which steps did.

    Raises
    ------
    click.ClickException
    """
    if result.success:
        return
    from sensors.notifications import step_error

    lines = [step_error(event) for event in result.all_events if event.is_step_failure]
    # What a check that stops a run has to say is in no step's error.
    lines += [
        f"{check.check_name}: {check.description}"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.blocking and check.description
    ]
    lines += silent_stores(load_settings()).values()  # one that is away is often the reason, and seldom named
    raise click.ClickException(
        f"Run {result.run_id} failed.\n" + "\n".join(lines) + "\n`wafer dev` shows the run with all its logs."
    )

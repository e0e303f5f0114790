"""`wafer quarantine`: the files that broke the contract, with every reason, and another try."""

from typing import TYPE_CHECKING, Any

import click

from wafer_assets.cli.console import console, output, print_json, table
from wafer_assets.cli.help import Group
from wafer_assets.cli.options import feed_option, json_option, line_option
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from resources.mongo import BatchManifest
    from schemas.lines import Feed, Line, LineFeed


@click.group(cls=Group)
def quarantine() -> None:
    """Look at the files that broke the contract."""


def _quarantined(settings: Settings, feed: "LineFeed") -> "dict[str, BatchManifest]":
    from resources.mongo import WaferStore

    return {item.batch: item for item in WaferStore(settings).batches(feed, "quarantined")}


@quarantine.command("list")
@line_option
@feed_option
@json_option
def list_batches(line: "Line", feed: "Feed", as_json: bool) -> None:
    """List the quarantined batches with their reasons.

    With --json, each has `batch`, `size_bytes`, `refused_at` and `codes`, its reasons' codes.
    """
    documents: list[dict[str, Any]] = [
        {
            "batch": item.batch,
            "size_bytes": item.size,
            "refused_at": item.stored_at,
            "codes": sorted({str(reason["code"]) for reason in item.reasons}),
        }
        for item in _quarantined(load_settings(), line.feed(feed)).values()
    ]
    if as_json:
        print_json(documents)
    elif documents:
        rows = ((item["batch"], f"{item['size_bytes']:,} B", ", ".join(item["codes"])) for item in documents)
        output.print(table(("batch", "size", "reasons"), rows))
    else:
        output.print("The quarantine is empty.")


@quarantine.command()
@line_option
@feed_option
@json_option
@click.argument("batch")
def show(line: "Line", feed: "Feed", as_json: bool, batch: str) -> None:
    """Show every reason why BATCH was refused.

    A reason names the row (the line of the file, from 1), the column, what was found and what to do. The page also
    says where the refused file is kept.
    With --json, it is a document of `batch`, `kept_as` and `reasons`, each with `code`, `row`, `column`, `found` and
    `remedy`; `row` and `column` are null where none is to blame.
    """
    from resources.s3 import S3Store
    from wafer_assets.keys import quarantine_folder

    settings = load_settings()
    manifest = _quarantined(settings, line.feed(feed)).get(batch)
    if manifest is None:
        raise click.ClickException(f"{batch!r} is not in quarantine. `wafer quarantine list` shows what is.")
    names = ("code", "row", "column", "found", "remedy")
    kept_as = f"s3://{S3Store(settings).lake}/{quarantine_folder(line.feed(feed), batch)}{batch}"
    if as_json:
        reasons = [{name: reason[name] for name in names} for reason in manifest.reasons]
        print_json({"batch": batch, "kept_as": kept_as, "reasons": reasons})
        return
    rows = (["" if reason[name] is None else reason[name] for name in names] for reason in manifest.reasons)
    output.print(table(("code", "row", "column", "found", "what to do"), rows, title=batch))
    output.print(f"kept as {kept_as}", soft_wrap=True)


@quarantine.command()
@line_option
@feed_option
@click.argument("batches", nargs=-1)
def replay(line: "Line", feed: "Feed", batches: tuple[str, ...]) -> None:
    """Check quarantined BATCHES again; without a name, all of them.

    That helps after a change of the contract. A file that has left the landing bucket is put back from the copy that
    the quarantine keeps.
    """
    settings = load_settings()
    chosen = line.feed(feed)
    quarantined = _quarantined(settings, chosen)
    if unknown := sorted(set(batches) - set(quarantined)):
        names = ", ".join(map(repr, unknown))
        raise click.ClickException(f"Not in quarantine: {names}. `wafer quarantine list` shows what is.")
    wanted = set(batches) or set(quarantined)
    if not wanted:
        console.print("The quarantine is empty.")
        return
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.cli.runs import run_batches
    from wafer_assets.operations.landing import restore_quarantined

    with open_instance(settings) as instance:
        restored = restore_quarantined(chosen, wanted, S3Store(settings))
        if restored:
            console.print(f"{len(restored)} files put back into the landing bucket.")
        run_batches(settings, instance, chosen, f"ingest_{feed}", wanted)
        left = wanted & set(_quarantined(settings, chosen))
        console.print(f"{len(wanted) - len(left)} of {len(wanted)} batches are accepted now.")

"""`wafer quarantine`: the files that were refused or held, with every reason; another try, and letting one in."""

from getpass import getuser
from typing import TYPE_CHECKING, Any

import click

from wafer_assets.cli.console import console, output, print_json, table
from wafer_assets.cli.help import Group
from wafer_assets.cli.options import Sentence, feed_option, json_option, line_option
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resources.mongo import BatchManifest
    from schemas.lines import Feed, Line, LineFeed

_FIELDS = ("code", "row", "column", "count", "found", "remedy")


@click.group(cls=Group)
def quarantine() -> None:
    """Look at the files that were refused or held.

    A refused file breaks the contract. A held one keeps it, but its labels contradict what the line has seen: somebody
    looks, and lets it in with `release` or sees to another file.
    """


def _quarantined(settings: Settings, feed: "LineFeed") -> "dict[str, BatchManifest]":
    from resources.mongo import WaferStore

    wafers = WaferStore(settings)
    items = [*wafers.batches(feed, "quarantined"), *wafers.batches(feed, "held")]
    return {item.batch: item for item in sorted(items, key=lambda item: item.batch)}


def _chosen(quarantined: "dict[str, BatchManifest]", names: "Iterable[str]") -> "list[BatchManifest]":
    """Return the batches that are meant, which may be named as their files or as their partitions.

    Raises
    ------
    click.ClickException
        One is not in quarantine.
    """
    from wafer_assets.partitions import batch_key

    chosen = {name: quarantined.get(batch_key(name)) or quarantined.get(name) for name in names}
    if unknown := sorted(name for name, manifest in chosen.items() if manifest is None):
        raise click.ClickException(
            f"Not in quarantine: {', '.join(map(repr, unknown))}. `wafer quarantine list` shows what is."
        )
    return [manifest for manifest in chosen.values() if manifest is not None]


@quarantine.command("list")
@line_option
@feed_option
@json_option
def list_batches(line: "Line", feed: "Feed", as_json: bool) -> None:
    """List the refused and the held batches with their reasons.

    With --json, each has `batch`, `status` (quarantined or held), `size_bytes`, `refused_at` and `codes`, its reasons'
    codes.
    """
    from wafer_assets.partitions import batch_name

    documents: list[dict[str, Any]] = [
        {
            "batch": batch_name(item.batch),
            "status": item.status,
            "size_bytes": item.size,
            "refused_at": item.stored_at,
            "codes": sorted({str(reason["code"]) for reason in item.reasons}),
        }
        for item in _quarantined(load_settings(), line.feed(feed)).values()
    ]
    if as_json:
        print_json(documents)
    elif documents:
        rows = (
            (item["batch"], item["status"], f"{item['size_bytes']:,} B", ", ".join(item["codes"])) for item in documents
        )
        output.print(table(("batch", "status", "size", "reasons"), rows))
    else:
        output.print("The quarantine is empty.")


@quarantine.command()
@line_option
@feed_option
@json_option
@click.argument("batch")
def show(line: "Line", feed: "Feed", as_json: bool, batch: str) -> None:
    """Show every reason why BATCH was refused or held.

    A reason names the row (the line of the file, from 1), the column, how many cells, rows or columns show the same
    mistake, what was found and what to do. The page also says where the file is kept, and when it shortens.
    With --json, it is a document of `batch`, `status`, `kept_as` and `reasons`, each with `code`, `row`, `column`,
    `count`, `found` and `remedy`; `row` and `column` are null where none is to blame.
    """
    from resources.s3 import S3Store
    from wafer_assets.keys import quarantine_folder
    from wafer_assets.partitions import batch_name

    settings = load_settings()
    (manifest,) = _chosen(_quarantined(settings, line.feed(feed)), [batch])
    kept_as = f"s3://{S3Store(settings).lake}/{quarantine_folder(line.feed(feed), manifest.batch)}{manifest.batch}"
    reasons, name = [_with_count(reason) for reason in manifest.reasons], batch_name(manifest.batch)
    if as_json:
        print_json({"batch": name, "status": manifest.status, "kept_as": kept_as, "reasons": reasons})
        return
    rows = (["" if reason[name] is None else reason[name] for name in _FIELDS] for reason in reasons)
    output.print(table(("code", "row", "column", "count", "found", "what to do"), rows, title=name))
    if shortened := sum(int(reason["count"] or 1) - 1 for reason in reasons):
        output.print(f"Shortened: {shortened:,} more places show the same {len(reasons):,} mistakes.")
    output.print(f"kept as {kept_as}", soft_wrap=True)
    if manifest.status == "held":
        output.print(f"Held: `wafer quarantine release {name} --reason ...` lets it in.", soft_wrap=True)


def _with_count(reason: "Mapping[str, str | int | None]") -> "dict[str, str | int | None]":
    """Return the fields of a stored reason; older ones are of one place each."""
    return {name: reason.get(name, 1 if name == "count" else None) for name in _FIELDS}


@quarantine.command()
@line_option
@feed_option
@click.argument("batch")
@click.option(
    "--reason",
    type=Sentence(),
    required=True,
    metavar="TEXT",
    help="Why, in a sentence; kept for good beside your name.",
)
def release(line: "Line", feed: "Feed", batch: str, reason: str) -> None:
    """Let the held BATCH in, and ingest it.

    It holds for this very file: one that replaces it under the same name is judged anew.

      wafer quarantine release BATCH --reason "The lab confirms it"
    """
    from resources.mongo import WaferStore
    from resources.releases import ReleaseLog
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.cli.runs import run_batches
    from wafer_assets.operations.landing import restore_quarantined
    from wafer_assets.operations.releasing import release as write_down

    settings = load_settings()
    chosen = line.feed(feed)
    name = _chosen(_quarantined(settings, chosen), [batch])[0].batch
    wafers = WaferStore(settings)
    record = write_down(wafers, ReleaseLog(settings), chosen, name, by=getuser(), reason=reason)
    with open_instance(settings) as instance:
        restore_quarantined(chosen, [name], S3Store(settings))
        run_batches(settings, instance, chosen, f"ingest_{feed}", [name])
    if name in _quarantined(settings, chosen):
        raise click.ClickException(
            f"{name!r} is still there: the file has changed since. `wafer quarantine show {name}` says why."
        )
    console.print(f"{name} is ingested, released by {record.by}: {record.reason}")


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
    wanted = {item.batch for item in _chosen(quarantined, batches)} or set(quarantined)
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

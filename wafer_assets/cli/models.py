"""`wafer models`: see which model predicts, compare versions, and change the champion by hand."""

from getpass import getuser
from typing import TYPE_CHECKING, Any

import click

from wafer_assets.cli.console import console, output, print_json, table
from wafer_assets.cli.help import Group
from wafer_assets.cli.options import Sentence, json_option, line_option
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from resources.mlflow import BundleVersion, LineTracking
    from resources.promotions import Promotion
    from schemas.lines import Line


@click.group(cls=Group)
def models() -> None:
    """See which model predicts, and change it by hand.

    Every training run registers a version with the alias `challenger`. The asset training/champion gives it
    the alias `champion`, with which it predicts, if it is better on the same wafers. These commands show what
    was decided and overrule it; whatever changes the champion is recorded with who did it and why.

      wafer models list           all versions, and what became of them
      wafer models compare        is the challenger better?
      wafer models compare 7 5    is version 7 better than version 5?
      wafer models promote 7 --reason "New tool on line"
      wafer models rollback --reason "Too many alarms"
    """


_reason_option = click.option(
    "--reason",
    type=Sentence(),
    required=True,
    metavar="TEXT",
    help="Why, in a sentence; kept for good beside your name.",
)


@models.command("list")
@line_option
@json_option
def list_versions(line: "Line", as_json: bool) -> None:
    """List all versions, with the latest decision on each.

    The newest is listed first. The alias `champion` marks the one that predicts, `challenger` the newest. With
    --json, each has `version`, `aliases`, `registered_at`, `mlflow_run_id` and `latest_decision`: null, or with
    `action`, `by`, `at` and `reason`.
    """
    from resources.mlflow import LineTracking
    from resources.promotions import PromotionLog

    settings = load_settings()
    tracking = LineTracking(settings, line.name)
    versions = tracking.versions()
    aliases = tracking.aliases()
    latest = {record.version: record for record in PromotionLog(settings).history(tracking.settings.model_name)}
    documents: list[dict[str, Any]] = [
        {
            "version": version.version,
            "aliases": sorted(alias for alias, number in aliases.items() if number == version.version),
            "registered_at": version.registered_at,
            "mlflow_run_id": version.run_id,
            "latest_decision": latest[version.version].model_dump(include={"action", "by", "at", "reason"})
            if version.version in latest
            else None,
        }
        for version in versions
    ]
    if as_json:
        print_json(documents)
        return
    if not versions:
        output.print(f"No model is registered yet. `wafer train --line {line.name}` makes one.")
        return
    rows = (
        (
            item["version"],
            ", ".join(item["aliases"]),
            f"{item['registered_at']:%Y-%m-%d %H:%M}",
            *_described(latest.get(item["version"])),
        )
        for item in documents
    )
    output.print(table(("version", "aliases", "registered (UTC)", "latest decision", "why"), rows))


def _described(record: "Promotion | None") -> tuple[str, str]:
    if record is None:
        return "", ""
    return f"{record.action} by {record.by}, {record.at:%Y-%m-%d %H:%M}", record.reason.partition(". ")[0]


@models.command()
@line_option
@click.argument("a", default="challenger")
@click.argument("b", default="champion")
@click.option("--clearly-better", is_flag=True, help="Ask for a log loss that is lower with its whole 95% interval.")
@json_option
def compare(line: "Line", a: str, b: str, clearly_better: bool, as_json: bool) -> None:
    """Say whether A should take the place of B; change nothing.

    A and B are version numbers or aliases; without them the challenger is held against the champion. The rules are
    those of the asset training/champion. Both are compared on the same out-of-fold wafers: every figure is
    A's minus B's, with its 95% interval when wafers are drawn again. With --json, it is a document of
    `challenger` and `champion` (version numbers; null for the base rate), `promote`, `reasons`, `wafers`, `faults` and
    `gates`: the conditions, each with `name`, `meaning`, `passed`, `value`, `low`, `high`, `spread` and `reason`, which
    says why there is no value.
    """
    from resources.mlflow import CHAMPION, LineTracking
    from resources.promotions import PromotionLog
    from wafer_assets.operations import champion as champions

    settings = load_settings()
    tracking = LineTracking(settings, line.name)
    challenger = _version(tracking, a)
    # Before there is a champion the challenger is compared with the base rate.
    champion = None if b == CHAMPION and CHAMPION not in tracking.aliases() else _version(tracking, b)
    with console.status("comparing"):
        decision = champions.judge(
            tracking,
            PromotionLog(settings),
            challenger,
            champion,
            seed=line.hyperparameters.seed,
            clearly_better=clearly_better,
        )
    if as_json:
        print_json(
            {
                "challenger": challenger.version,
                "champion": champion.version if champion else None,
                **decision.as_dict(),
            }
        )
        return
    against = f"version {champion.version}" if champion else "the base rate"
    if decision.gates:
        rows = ((gate.meaning, "yes" if gate.passed else "no", gate.figure) for gate in decision.gates)
        headers = ("condition", "passed", "difference [95% interval]")
        output.print(table(headers, rows, title=f"version {challenger.version}, {against}"))
    for note in decision.reasons[: len(decision.reasons) - len(decision.gates)]:
        output.print(note)
    output.print(f"By the rules version {challenger.version} is {'promoted' if decision.promote else 'not promoted'}.")


@models.command()
@line_option
@click.argument("version", type=click.IntRange(min=1))
@_reason_option
def promote(line: "Line", version: int, reason: str) -> None:
    """Let VERSION predict from now on, whatever the rules say.

    It is one atomic step: a prediction run that has begun ends with the old champion, the next one uses VERSION.
    `wafer models compare VERSION` shows beforehand how it differs.
    """
    from resources.mlflow import LineTracking
    from resources.promotions import PromotionLog
    from wafer_assets.operations import champion as champions

    settings = load_settings()
    tracking = LineTracking(settings, line.name)
    record = champions.promote(
        tracking,
        PromotionLog(settings),
        tracking.get_version(version),
        by=getuser(),
        reason=reason,
        figures={},
    )
    _report(settings, line, record)


@models.command()
@line_option
@_reason_option
@click.option(
    "--to",
    type=click.IntRange(min=1),
    metavar="VERSION",
    help="Number of an earlier champion; by default the one before this.",
)
def rollback(line: "Line", reason: str, to: int | None) -> None:
    """Let the champion before this one predict again.

    It predicts the very same figures as then. Rolling back again goes further back. The asset training/champion does
    not promote a version again that was rolled back; `wafer models promote` does.
    """
    from resources.mlflow import LineTracking
    from resources.promotions import PromotionLog
    from wafer_assets.operations import champion as champions

    settings = load_settings()
    record = champions.rollback(
        LineTracking(settings, line.name), PromotionLog(settings), by=getuser(), reason=reason, to=to
    )
    _report(settings, line, record)


def _version(tracking: "LineTracking", name: str) -> "BundleVersion":
    if name.isdecimal():
        return tracking.get_version(int(name))
    version = tracking.version(name)
    if version is None:
        raise click.ClickException(f"No version has the alias {name!r}. `wafer models list` shows what there is.")
    return version


def _report(settings: Settings, line: "Line", record: "Promotion") -> None:
    """Say what was decided here and in the Dagster UI, where batches may wait for a champion."""
    import dagster as dg

    from wafer_assets.cli.instance import open_instance
    from wafer_assets.domain.foreign_text import markdown
    from wafer_assets.keys import DATA_VERSION, training_key

    with open_instance(settings) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                training_key(line.name, "champion"),
                metadata={
                    "decision": record.action,
                    "reasons": dg.MetadataValue.md(f"- {markdown(f'By {record.by}: {record.reason}')}"),
                    "champion_version": record.version,
                },
                tags={DATA_VERSION: str(record.version)},
            )
        )
    before = f", in place of version {record.previous}" if record.previous else ""
    console.print(f"Version {record.version} is champion{before}.")

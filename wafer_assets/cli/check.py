"""`wafer check`: files against a line's contract, without any service."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wafer_assets.cli.console import console, output, print_json, table
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import OutFile, OutFolder, feed_option, json_option, line_option

if TYPE_CHECKING:
    from schemas.lines import Feed, Line
    from schemas.loader import BatchSchema
    from wafer_assets.domain.contract.judgement import Judgement


@click.command(cls=Command)
@line_option
@feed_option
@json_option
@click.option("--html", type=OutFile(), help="Page to write, which can be sent to the files' sender.")
@click.option("--fix", "out", type=OutFolder(), help="Folder for repaired copies of the files that can be repaired.")
@click.argument("files", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
def check(
    line: "Line", feed: "Feed", as_json: bool, html: Path | None, out: Path | None, files: tuple[Path, ...]
) -> None:
    """Check FILES, or folders of them, against a line's contract; start and store nothing.

    It prints what would become of each file and why, a reason a mistake, and exits with 1 if one would be refused, or
    held for a person to decide. What the line has stored already is not asked, so that ingestion may hold a file that
    is accepted here.

    With --fix, copies are written where a repair cannot change a value: separators, decimal marks, UTF-16, spelling of
    headers, rows of units, separators at the ends of lines, blank lines. What was done is listed, and the copies are
    judged. With --json, it is a list, a file each: `file`, `verdict` (accepted, held or refused), `reasons` and
    `warnings`, each with `code`, `row`, `column`, `count`, `message` and `remedy`; `row` and `column` are null where
    none is to blame.

      wafer check batches/*.csv
      wafer check --feed prediction to-score --html for-the-partner.html
      wafer check wafer_13012020_090817.csv --fix repaired
    """
    from schemas.loader import BatchSchema
    from wafer_assets.cli.files import files_of

    schema = BatchSchema.of(line, feed)
    found = files_of(files)
    if out is not None:
        _require_elsewhere(found, out)
    judgements = [_judge(file, schema) for file in found]
    if html is not None:
        from wafer_assets.domain.contract.judgement import judgement_page

        html.write_bytes(judgement_page(judgements, schema))
        console.print(f"Page written: {html}")
    if out is not None:
        _repair(found, judgements, schema, out)
    if as_json:
        print_json([judgement.as_dict() for judgement in judgements])
    else:
        _print(judgements)
    counts = {verdict: sum(each.verdict == verdict for each in judgements) for verdict in ("refused", "held")}
    if any(counts.values()):
        words = " and ".join(f"{count} would be {verdict}" for verdict, count in counts.items() if count)
        raise click.ClickException(f"Of {len(judgements)} files, {words}.")


def _judge(file: Path, schema: "BatchSchema") -> "Judgement":
    from wafer_assets.domain.contract import check_object
    from wafer_assets.domain.contract.judgement import Judgement, judge

    size = file.stat().st_size
    if size > schema.max_file_size:  # refused unread
        return Judgement(str(file), "refused", check_object(file.name, size, schema))
    return judge(str(file), file.name, file.read_bytes(), schema)


def _print(judgements: "list[Judgement]") -> None:
    rows = [
        [
            each.file,
            each.verdict if reason in each.reasons or reason is None else "warning",
            "" if reason is None or reason.row is None else f"{reason.unit} {reason.row}",
            "" if reason is None else reason.column or "",
            "" if reason is None else reason.count,
            f"{each.wafers:,} wafers keep the contract" if reason is None else f"{reason.code}: {reason.found}",
            "" if reason is None else reason.remedy,
        ]
        for each in judgements
        for reason in (each.reasons + each.warnings or (None,))
    ]
    output.print(table(("file", "verdict", "where", "column", "times", "found", "what to do"), rows))


def _repair(files: list[Path], judgements: "list[Judgement]", schema: "BatchSchema", out: Path) -> None:
    """Write the copies that can be repaired, and say what was done and what became of them."""
    from wafer_assets.domain.contract.judgement import judge
    from wafer_assets.domain.contract.repair import repair

    count = 0
    for file, judgement in zip(files, judgements, strict=True):
        size = file.stat().st_size
        repaired = None
        if judgement.verdict == "refused" and size <= schema.max_file_size:
            repaired = repair(file.read_bytes(), schema)
        if repaired is None:
            continue
        out.mkdir(parents=True, exist_ok=True)
        (out / file.name).write_bytes(repaired.content)
        count += 1
        after = judge(file.name, file.name, repaired.content, schema)
        left = "" if after.verdict == "accepted" else f" for: {'; '.join(reason.code for reason in after.reasons)}"
        console.print(f"{out / file.name}: {'; '.join(repaired.done)}. It would be {after.verdict}{left}.")
    console.print(f"{count} of {len(files)} files repaired.")


def _require_elsewhere(files: list[Path], out: Path) -> None:
    """Refuse to write over one of the files, or two copies to one place."""
    from wafer_assets.operations.landing import require_own_names

    require_own_names(files)
    for file in files:
        if file.parent.resolve() == out.resolve():
            raise click.BadParameter(
                f"{str(out)!r} holds {file.name!r} itself, which would be lost.", param_hint="--fix"
            )

"""`wafer lines`: which production lines are declared, what each says, and whether a folder or a file keeps to it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wafer_assets.cli.console import console, facts, output, print_json, table
from wafer_assets.cli.help import Group
from wafer_assets.cli.options import OutFolder, json_option
from wafer_assets.settings import load_settings

if TYPE_CHECKING:
    from schemas.lines import Line, Lines
    from schemas.loader import Feed


def _new_name(_: click.Context, __: click.Parameter, name: str) -> str:
    from schemas.lines import IDENTIFIER

    if not re.fullmatch(IDENTIFIER, name):
        raise click.BadParameter(f"{name!r}: small letters, digits and _, 32 at most, a letter first.")
    return name


@click.group(cls=Group)
def lines() -> None:
    """Look at the production lines that are declared.

    A line is a folder: `line.yaml` beside the schemas of its two feeds. The platform ships some, and WAFER_LINES names
    a folder that holds more. So far the platform runs the line `secom`; others can be declared and checked.
    """


@lines.command("list")
@json_option
def list_lines(as_json: bool) -> None:
    """List all lines; exit with 1 if a folder cannot be read.

    A folder that is wrong is named with what to do, and takes no other line along. With --json, each line has `line`,
    `title`, `contract`, `sensors`, `labelled_columns` and `order`.
    """
    declared = _declared()
    documents = [
        {
            "line": line.name,
            "title": line.title,
            "contract": line.contract,
            "sensors": len(_sensors(line)),
            "labelled_columns": len(line.training.columns),
            "order": line.order,
        }
        for line in declared.lines.values()
    ]
    if as_json:
        print_json(documents)
    else:
        rows = ([item[name] for name in ("line", "title", "contract", "sensors", "order")] for item in documents)
        output.print(table(("line", "title", "contract", "sensors", "order of wafers"), rows))
    if declared.errors:
        raise click.ClickException("\n".join(map(str, declared.errors)))


@lines.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what the line NAME declares.

    With --json, it is the content of its `line.yaml`, with what it leaves out.
    """
    line = _line(name)
    if as_json:
        print_json(line.model_dump(mode="json", by_alias=True, exclude={"training", "prediction"}))
        return
    sensors = [line.sensor(name) for name in _sensors(line)]
    optional, ranged = sum(each.optional for each in sensors), sum(bool(each.valid or each.usual) for each in sensors)
    files = line.files
    rows: list[tuple[str, object]] = [
        ("title", line.title),
        ("owner", line.owner or "nobody is named"),
        ("process", line.process or "not described"),
        ("contract", line.contract),
        ("format", _format(line)),
        ("files", f"{files.name}, such as {line.file_names.example}; at most {files.max_size_mb} MB"),
        ("wafers a file", f"{files.wafers.min} to {files.wafers.max or 'any number'}"),
        ("wafer id", f"{line.wafer_id.pattern}, such as {line.wafer_id.example}"),
        ("passed", ", ".join(line.labels.passed)),
        ("faulty", ", ".join(line.labels.faulty)),
        ("not measured", ", ".join(["an empty cell", *line.missing])),
        ("order of wafers", line.order),
        ("sensors", f"{len(sensors)}, of which {optional} are optional and {ranged} have a range"),
        ("context", ", ".join(line.context) or "none"),
        ("alarms", _policy(line)),
    ]
    output.print(facts(f"Line {line.name}", rows))


@lines.command()
@click.argument("name")
def check(name: str) -> None:
    """Check the folder of the line NAME; start nothing.

    It exits with 1 if the folder is wrong, and says why. `wafer check --line NAME` checks files against it.
    """
    _line(name)
    console.print(f"The folder of {name} says all that a line needs.")


@lines.command()
@click.argument("name", metavar="NAME", callback=_new_name)
@click.option(
    "--from",
    "paths",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    required=True,
    help="Sample files of both feeds, or folders of them; may be repeated.",
)
@click.option(
    "--out",
    type=OutFolder(),
    help="Folder of lines to write the new one into; by default the one that WAFER_LINES names.",
)
def new(name: str, paths: tuple[Path, ...], out: Path | None) -> None:
    """Make the folder of the line NAME from sample files, with a comment on every guess.

    It infers names, columns, labels, ranges, codes and sampled sensors, says what a person must decide, and checks
    the samples against what it wrote. Nothing is overwritten.

      wafer lines new metal_etch --from labelled --from to-score --out lines
    """
    from schemas.loader import BatchSchema
    from wafer_assets.domain.contract import Refused, validate
    from wafer_assets.operations.landing import files_of
    from wafer_assets.operations.lines import new_line

    folder = out or load_settings().lines
    if folder is None:
        raise click.UsageError("Say with --out, or with WAFER_LINES, which folder of lines it belongs to.")
    if (folder / name).exists():
        raise click.UsageError(f"{folder / name} is there already: take another name, or change it by hand.")
    files = files_of(paths)
    line, inferred = new_line(folder, name, files)
    output.print(str(folder / name), soft_wrap=True)
    for decision in inferred.decisions:
        console.print(f"Decide: {decision}")
    refused = 0
    for file in files:
        feed: Feed = "training" if str(file) in inferred.labelled else "prediction"
        verdict = validate(file.name, file.read_bytes(), BatchSchema.of(line, feed))
        if isinstance(verdict, Refused):
            refused += 1
            console.print(f"{file}: {verdict.reasons[0].message}")
    console.print(
        f"{len(files) - refused} of {len(files)} samples keep to it. `wafer check --line {name}` looks again."
    )


def _declared() -> "Lines":
    from schemas.lines import load_lines

    return load_lines(load_settings().lines)


def _line(name: str) -> "Line":
    declared = _declared()
    if name in declared.lines:
        return declared.lines[name]
    errors = [str(error) for error in declared.errors if error.line == name]
    known = ", ".join(declared.lines)
    raise click.ClickException("\n".join(errors) or f"There is no line {name!r}; there are {known}.")


def _sensors(line: "Line") -> tuple[str, ...]:
    from schemas.loader import BatchSchema

    return BatchSchema.of(line, "prediction").sensors


def _format(line: "Line") -> str:
    files = line.files
    return (
        f"{files.format}, {files.delimiter!r} between cells, {files.decimal!r} as decimal mark"
        if ("csv" in files.format)
        else files.format
    )


def _policy(line: "Line") -> str:
    if line.alarm.capacity is not None:
        return f"for at most {line.alarm.capacity:.0%} of the wafers"
    return f"where a missed fault costs {line.alarm.cost_ratio:g} inspections"

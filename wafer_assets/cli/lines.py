"""`wafer lines`: which production lines are declared, what each says, and whether a folder or a file keeps to it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wafer_assets.cli.console import console, facts, output, print_json, table
from wafer_assets.cli.help import Group
from wafer_assets.cli.options import OutFolder, declared_line, declared_lines, json_option
from wafer_assets.settings import load_settings

if TYPE_CHECKING:
    from schemas.lines import Line, Lines
    from schemas.loader import Feed


def _name(_: click.Context, __: click.Parameter, name: str) -> str:
    """Refuse what is no line's name: as a path or a prefix it would be more than one line's."""
    from schemas.lines import RESERVED_NAMES, is_line_name

    if name in RESERVED_NAMES:
        raise click.BadParameter(f"{name!r}: the platform keeps things of its own there.")
    if not is_line_name(name):
        raise click.BadParameter(f"{name!r}: small letters, digits and single underscores, 32 at most, a letter first.")
    return name


@click.group(cls=Group)
def lines() -> None:
    """Look at the production lines that are declared.

    A line is a folder: `line.yaml` beside the schemas of its two feeds. The platform ships one, and WAFER_LINES names
    a folder that holds more. All of them run side by side, each with its own files, tables, models and champion.
    """


@lines.command("list")
@json_option
def list_lines(as_json: bool) -> None:
    """List all lines; exit with 1 if a folder cannot be read, or a line is gone that there are batches of.

    A folder that is wrong is named with what to do, and takes no other line along. Batches are looked for where the
    services run. With --json, each line has `line`,
    `title`, `contract`, `sensors`, `labelled_columns` and `order`.
    """
    declared = declared_lines()
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
    problems = [str(error) for error in declared.errors]
    problems += [
        f"There are batches of {name}, which is not declared any more: declare it again, or remove all of it with "
        f"`wafer lines remove {name}`."
        for name in _undeclared(declared)
    ]
    if problems:
        raise click.ClickException("\n".join(problems))


@lines.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what the line NAME declares.

    With --json, it is the content of its `line.yaml`, with what it leaves out.
    """
    line = declared_line(name)
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

    It exits with 1 if the folder is wrong, and says why. Where the services run, it also says what a contract that has
    changed means for what is stored, in quarantine and predicting. `wafer check --line NAME` checks files.

      wafer lines check metal_etch
    """
    line = declared_line(name)
    console.print(f"The folder of {name} says all that a line needs.")
    _tell_of_changes(line)


@lines.command()
@click.argument("name", metavar="NAME", callback=_name)
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

    It infers format, names, columns, labels, ranges, codes and sampled sensors, says what a person must decide, and
    checks the samples against what it wrote. Nothing is overwritten.

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
        f"{len(files) - refused} of {len(files)} samples keep to it. `WAFER_LINES={folder} wafer check --line {name} "
        "FILE` looks again, with `--feed prediction` at files without labels."
    )


@lines.command()
@click.argument("name", metavar="NAME", callback=_name)
@click.option("--confirm", metavar="NAME", help="The name once more, in place of the question for it.")
def remove(name: str, confirm: str | None) -> None:
    """Remove all that is stored of the line NAME, and its folder if it is one of WAFER_LINES.

    It says what will go, and wants the name typed. Nothing of it can be brought back; other lines lose nothing.

      wafer lines remove metal_etch
    """
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.operations.lines import LineStores

    settings, declared = load_settings(), declared_lines()
    folder = settings.lines / name if settings.lines and (settings.lines / name).is_dir() else None
    with open_instance(settings) as instance:
        stores = LineStores(settings, instance, name, declared.lines.values())
        with console.status("looking"):
            stored = stores.look()
        if not stored and folder is None:
            raise click.ClickException(f"Nothing is stored of a line {name!r}, and no folder of WAFER_LINES is its.")
        rows: list[tuple[str, object]] = [
            ("files that landed", len(stored.landed)),
            ("objects in the lake", len(stored.kept)),
            ("batches", f"{stored.batches}, with {stored.wafers:,} wafers"),
            ("batches scored", stored.scored),
            ("versions of its model", stored.versions),
            ("runs in Dagster's history", len(stored.runs)),
            ("folder", folder or "none of WAFER_LINES"),
        ]
        output.print(facts(f"All of the line {name}, which will be gone", rows))
        if (confirm or click.prompt("Type the name of the line to remove it", err=True)) != name:
            raise click.ClickException("That is not its name: nothing was removed.")
        stores.remove(stored)
    if folder is not None:
        shutil.rmtree(folder)
    console.print(f"The line {name} is removed.")


def _undeclared(declared: "Lines") -> list[str]:
    from resources.mongo import WaferStore
    from wafer_assets.operations.lines import undeclared_lines

    settings = load_settings()
    return undeclared_lines(WaferStore(settings), declared.names) if settings.mongo.uri else []


def _tell_of_changes(line: "Line") -> None:
    """Say what a changed contract means for what is stored, where the stores run."""
    from resources.mlflow import LineTracking
    from resources.mongo import WaferStore
    from wafer_assets.operations.lines import changed_contract

    settings = load_settings()
    if settings.mongo.uri is None or settings.mlflow.tracking_uri is None:
        console.print("The services do not run: whether stored batches keep another contract was not looked up.")
        return
    for news in changed_contract(line, WaferStore(settings), LineTracking(settings, line.name)):
        output.print(news)


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

"""Options that several commands share, and values that are refused before anything is started or written."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wafer_assets.settings import load_settings

if TYPE_CHECKING:
    from schemas.lines import Line, Lines


def declared_line(name: str, declared: "Lines | None" = None) -> "Line":
    """Return the line of that name, of all that are declared.

    Raises
    ------
    click.ClickException
        It cannot be read, or there is none.
    """
    declared = declared or declared_lines()
    if name in declared.lines:
        return declared.lines[name]
    errors = [str(error) for error in declared.errors if error.line == name]
    raise click.ClickException("\n".join(errors) or _unknown(name, declared))


def declared_lines() -> "Lines":
    """Return the lines that the platform ships, and those that the settings name."""
    from schemas.lines import load_lines

    return load_lines(load_settings().lines)


def _unknown(name: str, declared: "Lines") -> str:
    return f"There is no line {name!r}; there are {', '.join(declared.lines)}."


def _line(_: click.Context, __: click.Parameter, name: str | None) -> "Line":
    declared = declared_lines()
    if name is not None:
        if name not in declared.names:
            raise click.BadParameter(_unknown(name, declared))
        return declared_line(name, declared)
    if len(declared.lines) == 1 and not declared.errors:
        return next(iter(declared.lines.values()))
    asked = f"Say with --line which line is meant: {', '.join(declared.lines)}."
    raise click.UsageError("\n".join([asked, *map(str, declared.errors)]))


line_option = click.option(
    "--line",
    metavar="NAME",
    callback=_line,
    help="Name of the production line; it may be left out where there is only one. `wafer lines list` shows all.",
)
feed_option = click.option(
    "--feed",
    type=click.Choice(["training", "prediction"]),
    default="training",
    show_default=True,
    help="Files to learn from (labelled) or files to score (unlabelled).",
)
from_option = click.option(
    "--from",
    "first",
    metavar="BATCH",
    help="First batch of a range, in the order of arrival; without it, from the very first.",
)
to_option = click.option("--to", "last", metavar="BATCH", help="Last batch of the range; without it, up to the latest.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON document instead, with times in UTC, for programs."
)


def require_all_or_range(everything: bool, first: str | None, last: str | None) -> None:
    """Refuse a range of all batches."""
    if everything and (first is not None or last is not None):
        raise click.UsageError("--all takes all batches: leave out --from and --to, or --all.")


class OutFolder(click.Path):
    """A folder to write files to; it need not exist yet."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, if a folder is there or can be made."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        nearest = next(each for each in (path.absolute(), *path.absolute().parents) if os.path.lexists(each))
        if problem := _problem(nearest):
            self.fail(problem, param, ctx)
        return path


class OutFile(click.Path):
    """A file to write, in a folder that exists."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, if its folder is there."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if problem := _problem(path.absolute().parent):
            self.fail(problem, param, ctx)
        return path


def _problem(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"{str(folder)!r} is not a folder."
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {str(folder)!r} cannot be written to."
    return None


class Sentence(click.ParamType[str]):
    """A text that says something."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, unless it is empty."""
        if not str(value).strip():
            self.fail("it is empty.", param, ctx)
        return str(value)


def require_free_port(host: str, port: int | None) -> None:
    """Refuse an address that no server can listen on; without a port, for its host alone.

    Raises
    ------
    click.BadParameter
        The host is no address of this machine, or the port is taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family):
            pass
    except (socket.gaierror, UnicodeError) as error:
        raise click.BadParameter(f"{host!r} is no address of this machine.", param_hint="--host") from error
    except OSError as error:
        if port is None:
            raise click.BadParameter(f"{host!r}: {error.strerror}.", param_hint="--host") from error
        raise click.BadParameter(
            f"{port} on {host}: {error.strerror}. Without --port a free one is chosen.", param_hint="--port"
        ) from error

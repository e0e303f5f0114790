"""Where the command line prints: results, as tables or JSON, to the standard output, all else to the standard error.

Text from outside, such as the names of files and columns, is printed by what is here, and as text: it holds no markup,
and what no terminal should obey is escaped. How a run is shown belongs to `run_view`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console, ConsoleDimensions, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

_ENDLESS = 1_000_000  # characters


class _PlainConsole(Console):
    """A console that prints text as it stands, and that wraps and cuts nothing unless it is a terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    @property
    def size(self) -> ConsoleDimensions:
        """Characters on a line, and lines."""
        return super().size if self.file.isatty() else ConsoleDimensions(_ENDLESS, super().size.height)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        self._width, self._height = size

    def render_str(self, text: str, **options: Any) -> Text:
        """Return what is printed of a text."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)


output = _PlainConsole()
"""The result of a command, which can be piped."""

console = _PlainConsole(stderr=True)
"""Everything else: progress and remarks."""


def printable(text: str) -> str:
    """Return a line of text with all escaped that is no character to be seen, such as a terminal's commands."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class _Rows:
    """A table that knows the width of the terminal before it decides what may be folded."""

    def __init__(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self._headers = [*map(printable, headers)]
        self._rows = [[printable(str(cell)) for cell in row] for row in rows]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = Table()
        for number, header in enumerate(self._headers):
            column = [header, *(row[number] for row in self._rows)]
            # Whoever copies a name wants it in one piece; the sentences beside it can give way.
            is_name = not any(" " in cell for cell in column)
            table.add_column(
                Text(header),
                overflow="fold",
                no_wrap=is_name and max(map(len, column)) <= options.max_width // 3,
            )
        for row in self._rows:
            table.add_row(*map(Text, row))
        yield table


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> RenderableType:
    """Return a table of things, each on a line of its own, for `output` to print."""
    body = _Rows(headers, rows)
    return body if title is None else Group(_title(title), body)


class _Facts:
    """Names and what belongs to each, beside each other; in a terminal, what is long is folded beside its name."""

    def __init__(self, rows: Iterable[tuple[str, object]]) -> None:
        self._rows = [(printable(name), printable(str(fact))) for name, fact in rows]

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> Iterator[RenderableType]:
        if not console.file.isatty():
            widest = max((len(name) for name, _ in self._rows), default=0)
            for name, fact in self._rows:
                yield Text(f"{name:{widest}}  {fact}")
            return
        grid = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, fact in self._rows:
            grid.add_row(Text(name), Text(fact))
        yield grid


def facts(title: str, rows: Iterable[tuple[str, object]]) -> RenderableType:
    """Return facts on one thing, each with its name, for `output` to print."""
    return Group(_title(title), _Facts(rows))


def _title(text: str) -> Text:
    return Text(printable(text), style="italic", overflow="fold")


def print_json(document: Any) -> None:
    """Print a document of plain values and times on the standard output, for programs to read."""
    click.echo(json.dumps(document, indent=2, allow_nan=False, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    raise TypeError(f"{value!r} has no plain form")

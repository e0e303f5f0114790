"""Every `--help` page of `wafer`, as a person reads it in a terminal."""

import inspect
import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from wafer_assets.cli import main


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a command, itself included, with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


COMMANDS = dict(commands(main))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(["wafer", *path]))
every_width = pytest.mark.parametrize("columns", [80, 100])


def page(path: tuple[str, ...], columns: int = 80) -> str:
    result = CliRunner().invoke(main, [*path, "--help"], prog_name="wafer", env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.output


def words(text: str) -> str:
    return " ".join(text.split())


@every_width
@every_command
def test_a_page_fits_the_terminal_and_shows_no_markup(path: tuple[str, ...], columns: int) -> None:
    text = page(path, columns)
    assert "\\b" not in text
    assert "\b" not in text
    assert [line for line in text.splitlines() if len(line) > columns] == []


@every_width
@every_command
def test_examples_stand_on_lines_of_their_own(path: tuple[str, ...], columns: int) -> None:
    help_text = inspect.cleandoc(COMMANDS[path].help or "")
    examples = [line.strip() for line in help_text.splitlines() if line.startswith("  ")]
    assert set(examples) <= {line.strip() for line in page(path, columns).splitlines()}
    # The other way round, no call of the command hides in running text that is wrapped.
    begun = [line.strip() for line in help_text.splitlines() if re.match(r"\s*wafer ", line)]
    assert set(begun) <= set(examples)


@every_command
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    command, text = COMMANDS[path], page(path)
    context = click.Context(command, info_name="wafer")
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help text"
            assert words(parameter.help).rstrip(".") in words(text)
        else:
            # Click lists no arguments, so the text has to say what each of them is.
            described = text.partition("\n\n")[2].partition("\nOptions:")[0]
            names = re.findall(r"\w+", parameter.make_metavar(context))
            assert all(re.search(rf"\b{name}\b", described) for name in names), f"{names} are not explained"


@every_command
def test_defaults_are_shown(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    context = click.Context(command, info_name="wafer")
    for parameter in command.get_params(context):
        if not isinstance(parameter, click.Option) or parameter.required or parameter.is_eager:
            continue
        default = parameter.get_default(context)
        plain_flag = parameter.is_flag and not parameter.secondary_opts
        if isinstance(default, str | int | float) and not plain_flag:
            assert parameter.show_default, f"{parameter.opts} hides its default"
        if default is None and not plain_flag:
            explained = re.search(r"default|without|else|up to|from the", parameter.help or "")
            assert explained, f"{parameter.opts} does not say what happens without it"


@every_width
@every_command
def test_every_command_begins_with_a_sentence_that_is_shown_whole(path: tuple[str, ...], columns: int) -> None:
    command = COMMANDS[path]
    first = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    assert re.match(r"[A-Z].*[.:]", first, re.DOTALL), "no sentence says what it does"
    assert "..." not in page(path, columns).replace("[OPTIONS]...", "").partition("Commands:")[2]
    if path:
        listed = words(page(path[:-1], columns).partition("Commands:")[2])
        assert words(command.get_short_help_str(1_000)) in listed

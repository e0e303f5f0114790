"""How `wafer` and its commands print their `--help` pages: examples as they stand, sentences whole."""

import inspect

import click

_WHOLE = 1_000  # characters; no first sentence is longer


class Command(click.Command):
    """A command whose docstring is its page: paragraphs with indented lines are examples and are not wrapped."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the docstring."""
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        # A backspace on a line of its own is click's mark for lines that are left alone.
        marked = [f"\b\n{part}" if "\n  " in f"\n{part}" else part for part in paragraphs]
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("\n\n".join(marked))

    def get_short_help_str(self, limit: int = _WHOLE) -> str:
        """Return the first sentence, which a list of commands wraps rather than cuts."""
        return super().get_short_help_str(max(limit, _WHOLE))


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which they are needed, as they were added."""
        return list(self.commands)

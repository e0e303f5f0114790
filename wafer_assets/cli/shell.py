"""What every command does as a process of a shell: end when it is asked to, and say what went wrong."""

import logging
import signal
from typing import Any

import click
from pydantic import ValidationError

from wafer_assets.cli.console import console, printable
from wafer_assets.cli.help import Group
from wafer_assets.settings import NotConfiguredError, Settings, load_settings


class Shell(Group):
    """Shows errors as messages where they say what to do, so that a traceback would only hide it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        _end_when_asked()
        # Third parties' remarks would come between the lines of progress.
        logging.getLogger().setLevel(logging.ERROR)
        from resources.store_health import watched

        try:
            with watched(load_settings, lambda sentence: console.print(sentence)):
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):  # click knows what to do
            raise
        except click.ClickException as error:
            error.message = _printable_lines(error.message)  # type: ignore[misc]
            raise
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            raise click.ClickException(_printable_lines(message)) from error


def _end_when_asked() -> None:
    # Being asked to end by a process manager is no different from Ctrl-C, which a shell's background jobs ignore.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Nor is the end of its terminal, unless `nohup` asks to outlive that. Dagster defers the signal it knows.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGINT))


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.splitlines()))


def _message(error: Exception) -> str | None:
    """Return what an error has to tell people; None where it is one of the program itself."""
    if isinstance(error, ValidationError) and error.title == Settings.__name__:
        return "\n".join(
            ["The settings of the environment are wrong:", *map(_wrong_setting, error.errors(include_input=False))]
        )
    if isinstance(error, NotConfiguredError):
        return "\n".join(filter(None, [_epitaph(), str(error)]))
    if getattr(error, "code", None) == "tracking_unreachable":
        return _with_silent_stores(str(error))
    if hasattr(error, "code") and not type(error).__module__.startswith("sqlalchemy."):  # whose codes are web pages
        return str(error)
    from resources.store_errors import in_short, is_outage, state_problem

    state_dir = Settings().state_dir
    if problem := state_problem(error, state_dir):
        return f"The state folder {state_dir} cannot be used: {problem}"
    if not is_outage(error):
        return None
    if isinstance(error, OSError | MemoryError):
        return in_short(error)
    return _with_silent_stores(
        f"{in_short(error)}\n`wafer services status` shows what runs on this machine, and whether it answers."
    )


def _with_silent_stores(message: str) -> str:
    """Return the message, below the stores that are away: one of them may be at fault for another one's error."""
    from resources.store_health import silent_stores

    return "\n".join([*silent_stores(load_settings()).values(), message])


def _epitaph() -> str:
    from resources.local_services.state import StateFolder

    return StateFolder(load_settings().state_dir).epitaph()


def _wrong_setting(error: Any) -> str:
    name = "__".join(map(str, error["loc"])).upper()
    variable = name if name == "DAGSTER_HOME" else f"{Settings.model_config.get('env_prefix')}{name}"
    return f"  {variable}: {error['msg']}."

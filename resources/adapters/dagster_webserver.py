"""What the platform borrows from inside Dagster's webserver and `dagster dev`: the place to put a guard into.

Importing it imports the webserver, which takes seconds. What the guard refuses is no matter of this module.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn
from dagster._cli import dev
from dagster_shared.ipc import open_ipc_subprocess
from dagster_webserver import cli

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["run_dev", "run_webserver"]


def run_webserver(arguments: list[str], guarded: "Callable[[ASGIApp, str, int], ASGIApp]") -> None:
    """Run the command `dagster-webserver` with an application around its own.

    Parameters
    ----------
    arguments
        Of the command.
    guarded
        Returns the application that is served, for Dagster's, the host and the port.
    """
    run = uvicorn.run

    def run_guarded(app: "ASGIApp", *, host: str, port: int, **options: Any) -> None:
        run(guarded(app, host, port), host=host, port=port, **options)

    # The command calls it by this name, with host and port as it has found them.
    uvicorn.run = run_guarded  # type: ignore[assignment]
    cli.cli(arguments, auto_envvar_prefix="DAGSTER_WEBSERVER", prog_name="dagster-webserver")


def run_dev(arguments: list[str], webserver: str) -> None:
    """Run the command `dagster dev` with another webserver.

    Parameters
    ----------
    arguments
        Of the command.
    webserver
        The module that is run in place of `dagster_webserver`.
    """

    def start_ours(command: list[str], **options: Any) -> Any:
        theirs = [sys.executable, "-m", "dagster_webserver"]
        ours = [sys.executable, "-m", webserver] if command[:3] == theirs else command[:3]
        return open_ipc_subprocess([*ours, *command[3:]], **options)

    vars(dev)["open_ipc_subprocess"] = start_ours
    dev.dev_command(arguments, prog_name="dagster dev")

"""Dagster's webserver behind the guard: ``python -m wafer_assets.web.dagster_ui`` takes what `dagster-webserver` takes.

With the option ``--dev`` first, it is `dagster dev` with that webserver. The platform's image runs it under the name
`dagster-webserver`, so that Dagster's chart starts it too.
"""

import sys
from typing import TYPE_CHECKING

from resources.adapters import dagster_webserver
from wafer_assets.settings import Settings
from wafer_assets.web.guard import Guard, origins_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

DEV = "--dev"
MODULE = "wafer_assets.web.dagster_ui"


def guarded(app: "ASGIApp", host: str, port: int) -> Guard:
    """Return the application for whoever may reach it: by the server's own address and those of the settings."""
    return Guard(app, origins_of(host, port, Settings().web.origins))


def main(arguments: list[str]) -> None:
    """Run the webserver, or all of `dagster dev`, until it is asked to end."""
    if arguments[:1] == [DEV]:
        dagster_webserver.run_dev(arguments[1:], MODULE)
    else:
        dagster_webserver.run_webserver(arguments, guarded)


if __name__ == "__main__":
    main(sys.argv[1:])

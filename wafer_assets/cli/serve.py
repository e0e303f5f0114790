"""`wafer serve`: the champion behind the scoring server."""

import sys
from typing import TYPE_CHECKING

import click

from wafer_assets.cli.console import console
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import line_option, require_free_port
from wafer_assets.settings import load_settings

if TYPE_CHECKING:
    from schemas.lines import Line


@click.command(cls=Command)
@line_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port; by default 5001 or, where that is taken, a free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; nobody is asked for a password."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Number of scoring processes."
)
def serve(line: "Line", port: int | None, host: str, workers: int) -> None:
    """Answer scoring requests over HTTP with the champion.

    A request holds one to 1,000 wafers as CSV or JSON, with the columns of a batch file; the answer holds the very
    rows that scoring a batch gives, and the version of the model. A new champion answers within seconds of its
    promotion, without a restart. Ctrl-C stops everything that was started.

    Under other names than its own, and to pages of other origins, nothing is answered: WAFER_WEB__ORIGINS lists more.
    """
    require_free_port(host, port)
    from resources.local_services import LocalServices, free_port
    from resources.mlflow import LineTracking
    from wafer_assets.web import scoring_server
    from wafer_assets.web.guard import origins_of
    from wafer_assets.web.scoring import Served

    settings = load_settings()
    local = None
    if settings.environment == "local":
        local = LocalServices(settings)
        with console.status("starting S3, MongoDB and MLflow"):
            settings = local.up()
    try:
        tracking = LineTracking(settings, line.name)
        champion = scoring_server.checked_champion(tracking)
        port = port or free_port(scoring_server.PORT)
        address = f"http://{host}:{port}"
        console.print(f"champion   version {champion.version.version} of {champion.version.name}")
        console.print(f"address    {address}/invocations (ready when {address}/ping answers, in some seconds)")
        console.print("example    ", end="")
        console.print(
            f"curl {address}/invocations -H 'Content-Type: text/csv' --data-binary @wafers.csv", soft_wrap=True
        )
        console.print("Ctrl-C stops everything.")
        served = Served(line=line.name, origins=origins_of(host, port, settings.web.origins))
        sys.exit(scoring_server.serve(tracking, champion, served, console.print, port=port, workers=workers, host=host))
    finally:
        if local is not None and local.started:
            local.down()

"""`wafer dev`: the Dagster UI with its daemon, and the services and pages that it links to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from wafer_assets.cli.console import console
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import require_free_port
from wafer_assets.settings import Settings, load_settings

_HOST = "127.0.0.1"


@click.command(cls=Command)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the Dagster UI; by default 3000 or, where that is taken, a free one.",
)
def dev(port: int | None) -> None:
    """Open the Dagster UI on the state that is there.

    The services, the MLflow UI and the reports come with it, and files that land are ingested and scored by
    themselves. Ctrl-C stops everything that was started.
    """
    require_free_port(_HOST, port)
    from resources.local_services import LocalServices, free_port
    from wafer_assets.cli.instance import dagster_home, open_instance
    from wafer_assets.web.pages import served

    settings = load_settings()
    local = LocalServices(settings)
    with console.status("starting S3, MongoDB and MLflow"):
        settings = local.up()
    try:
        with open_instance(settings):
            pass  # sensors follow only what happens while they run, so what was killed before is ended here
        port = port or free_port(3000)
        command = [str(Path(sys.executable).with_name("dagster")), "dev", "-h", _HOST, "-p", str(port)]
        environment = {
            "PYTHONWARNINGS": "ignore",  # Dagster's remarks on itself
            **os.environ,
            "DAGSTER_HOME": str(settings.dagster_home or dagster_home(settings)),
        }
        # In a session of its own, so that Ctrl-C reaches it once, from here, and it can stop its children.
        with (
            served(settings) as reports,
            _metrics(settings, environment) as metrics,
            subprocess.Popen(command, env=environment, start_new_session=True) as process,
        ):
            console.print(f"Dagster UI   http://{_HOST}:{port}")
            console.print(f"MLflow UI    {settings.mlflow.tracking_uri}")
            console.print(f"Reports      {reports or f'not served: {settings.pages_url} is taken or elsewhere'}")
            console.print(f"Metrics      {metrics or 'not offered: WAFER_METRICS__ENABLED is false'}")
            console.print("Ctrl-C stops everything.")
            try:
                sys.exit(process.wait())
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait()
    finally:
        if local.started:
            local.down()


@contextmanager
def _metrics(settings: Settings, environment: Mapping[str, str]) -> Iterator[str | None]:
    """Offer the metrics from a process of their own; yield their address, None where they are turned off."""
    from resources.local_services import free_port

    if not settings.metrics.enabled:
        yield None
        return
    port = free_port(settings.metrics.port)
    command = [sys.executable, "-c", "from wafer_assets.cli import main; main()", "metrics", "--port", str(port)]
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield f"http://{_HOST}:{port}/metrics"
        finally:
            process.terminate()

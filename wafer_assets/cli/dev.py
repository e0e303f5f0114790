"""`wafer dev`: the Dagster UI with its daemon, and the services and pages that it links to."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from wafer_assets.cli.alone import alone
from wafer_assets.cli.console import console
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import require_free_port
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from resources.local_services import LocalServices
    from wafer_assets.cli.dev_processes import DagsterProcesses

_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.5


@click.command(cls=Command)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the Dagster UI; by default 3000 or, where that is taken, a free one.",
)
def dev(port: int | None) -> None:
    """Open the Dagster UI on the state that is there.

    The services, the MLflow UI and the reports come with it, and files that land are ingested and scored by
    themselves. What dies is started again, and said. Ctrl-C stops everything that was started, and so does whatever
    else ends this command.
    """
    require_free_port(_HOST, port)
    from resources.local_services import LocalServices
    from resources.reaper import MARK, reaped
    from wafer_assets.cli.dagster_config import differences
    from wafer_assets.cli.dev_processes import DagsterProcesses
    from wafer_assets.cli.instance import dagster_home, open_instance
    from wafer_assets.web.pages import served

    settings = load_settings()
    mark = str(settings.state_dir.resolve())
    with alone(settings, "dev"), reaped(mark):
        local = LocalServices(settings)
        with console.status("starting S3, MongoDB and MLflow"):
            settings = local.up()
        try:
            with open_instance(settings):
                pass  # sensors follow only what happens while they run, so what was killed before is ended here
            home = settings.dagster_home or dagster_home(settings)
            if edited := differences(home / "dagster.yaml"):
                console.print(f"{home / 'dagster.yaml'} was edited: {'; '.join(edited)}.")
            environment = {
                "PYTHONWARNINGS": "ignore",  # Dagster's remarks on itself
                **os.environ,
                "DAGSTER_HOME": str(home),
            }
            dagster = DagsterProcesses(lambda: _command(port), environment, mark, _HOST)
            dagster.start()
            try:
                with served(settings) as reports, _metrics(settings, {**environment, MARK: mark}) as metrics:
                    _open(dagster, local)
                    console.print(f"Dagster UI   http://{_HOST}:{dagster.port}")
                    console.print(f"MLflow UI    {settings.mlflow.tracking_uri}")
                    console.print(
                        f"Reports      {reports or f'not served: {settings.pages_url} is taken or elsewhere'}"
                    )
                    console.print(f"Metrics      {metrics or 'not offered: WAFER_METRICS__ENABLED is false'}")
                    console.print("Ctrl-C stops everything.")
                    _look_after(dagster, local)
            except KeyboardInterrupt:
                pass
            finally:
                dagster.stop()
        finally:
            if local.started:
                local.down()


def _command(port: int | None) -> tuple[Sequence[str], int]:
    from resources.local_services import free_port

    port = port or free_port(3000)
    # Dagster's own webserver, behind the guard.
    return [sys.executable, "-m", "wafer_assets.web.dagster_ui", "--dev", "-h", _HOST, "-p", str(port)], port


def _open(dagster: "DagsterProcesses", local: "LocalServices") -> None:
    """Wait until the UI answers, for an address that is shown is one that works."""
    with console.status("starting Dagster"):
        while not dagster.is_open():
            _require_services(local)
            dagster.look_after()
            time.sleep(_LOOK_SECONDS)


def _look_after(dagster: "DagsterProcesses", local: "LocalServices") -> None:
    """Have all that dies started again, and say so, until it dies too often."""
    known, port = dict(local.away()), dagster.port
    while True:
        _require_services(local)
        away = dict(local.away())
        for name in away.keys() | known.keys():
            if name not in known:
                console.print(f"{name} {away[name]}.")
            elif name not in away:
                console.print(f"{name} works again.")
        known = away
        dagster.look_after()
        if dagster.port != port:
            port = dagster.port
            console.print(f"Dagster UI   http://{_HOST}:{port}, once it has started")
        time.sleep(_LOOK_SECONDS)


def _require_services(local: "LocalServices") -> None:
    ended = local.ended()
    if ended is None:
        return
    if not local.lost_supervisor:
        raise click.ClickException(ended or "The services were stopped, such as by `wafer services down`.")
    console.print("The supervisor of S3, MongoDB and MLflow was killed; they are started again.")
    local.up()


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

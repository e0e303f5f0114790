"""Prometheus and Alertmanager of this machine, on loopback, beside a platform: `make observe`, and the tests."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from deploy.monitoring.routes import read_routes
from deploy.monitoring.rules import RUNBOOK, read_rules, rule_files

HOST = "127.0.0.1"
APT = "apt-get install prometheus prometheus-alertmanager"
SCRAPE_SECONDS = 15.0


class NotInstalledError(RuntimeError):
    """A program of the system is missing."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not installed: {APT}")


def program(name: str) -> str:
    """Return where a program is.

    Raises
    ------
    NotInstalledError
        It is nowhere.
    """
    found = shutil.which(name)
    if found is None:
        raise NotInstalledError(name)
    return found


def prometheus_config(
    folder: Path, targets: Mapping[str, str], alertmanager: str | None, *, factor: int = 1
) -> dict[str, Any]:
    """Write the rules to a folder; return the configuration of a Prometheus that follows them.

    Parameters
    ----------
    folder
        Of the rules.
    targets
        Host and port to scrape, by job.
    alertmanager
        Host and port of the Alertmanager; None sends alerts nowhere.
    factor
        That every duration of rules and scrapes is divided by.
    """
    files = []
    for file in rule_files():
        written = folder / file.name
        written.write_text(yaml.safe_dump(read_rules(file, RUNBOOK, factor)))
        files.append(str(written))
    every = f"{max(500, round(SCRAPE_SECONDS * 1_000 / factor))}ms"
    jobs = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    managers = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every, "scrape_timeout": every},
        "rule_files": files,
        "scrape_configs": jobs,
        "alerting": {"alertmanagers": managers},
    }


def prometheus_command(folder: Path, config: Mapping[str, Any], port: int) -> list[str]:
    """Write the configuration; return the command of a Prometheus that keeps its data in the folder for a week."""
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(dict(config)))
    return [
        *(program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}"),
        *(f"--web.listen-address={HOST}:{port}", "--storage.tsdb.retention.time=7d", "--log.level=warn"),
    ]


def alertmanager_command(folder: Path, config: Mapping[str, Any], port: int) -> list[str]:
    """Write the configuration, which holds credentials; return the command of an Alertmanager without peers."""
    file = folder / "alertmanager.yml"
    file.touch(0o600)
    file.write_text(yaml.safe_dump(dict(config)))
    return [
        *(program("prometheus-alertmanager"), f"--config.file={file}", f"--storage.path={folder / 'alertmanager'}"),
        *(f"--web.listen-address={HOST}:{port}", "--cluster.listen-address=", "--log.level=warn"),
    ]


@contextmanager
def started(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a program until the block ends; what it says goes to a file."""
    with (
        log.open("a") as said,
        subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def observe() -> int:
    """Run `wafer dev` with Prometheus and Alertmanager beside it, until Ctrl-C; return its exit code."""
    from resources.local_services import free_port
    from wafer_assets.settings import load_settings
    from wafer_assets.settings.layout import make_ready

    for name in ("prometheus", "prometheus-alertmanager"):
        program(name)
    settings = load_settings()
    make_ready(settings.state_dir)
    folder = settings.state_dir / "observe"
    folder.mkdir(exist_ok=True)
    exporter, alerts, watch = free_port(settings.metrics.port), free_port(9093), free_port(9090)
    targets = {"wafer": f"{HOST}:{exporter}"}
    if shutil.which("prometheus-node-exporter"):
        targets["node"] = f"{HOST}:{free_port(9100)}"
    config = prometheus_config(folder, targets, f"{HOST}:{alerts}")
    with ExitStack() as stack:
        stack.enter_context(
            started(alertmanager_command(folder, read_routes({}, {}), alerts), folder / "alertmanager.log")
        )
        stack.enter_context(started(prometheus_command(folder, config, watch), folder / "prometheus.log"))
        if "node" in targets:
            command = [program("prometheus-node-exporter"), f"--web.listen-address={targets['node']}"]
            stack.enter_context(started(command, folder / "node.log"))
        print(f"Prometheus   http://{HOST}:{watch}/alerts", file=sys.stderr)  # noqa: T201
        print(f"Alertmanager http://{HOST}:{alerts}", file=sys.stderr)  # noqa: T201
        environment = {**os.environ, "WAFER_METRICS__PORT": str(exporter)}
        wafer = [sys.executable, "-c", "from wafer_assets.cli import main; main()", "dev"]
        # In a session of its own, so that Ctrl-C reaches it once, from here.
        with subprocess.Popen(wafer, env=environment, start_new_session=True) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                return process.wait()

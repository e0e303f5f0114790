"""Real Prometheus and Alertmanager on loopback, for tests of what they make of the project's files."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from deploy.monitoring.local import APT, HOST, alertmanager_command, prometheus_command
from resources.local_services import free_port
from tests.waiting import wait_until

PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")

needs_prometheus = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"Prometheus and Alertmanager are not installed: {APT}"
)


@contextmanager
def running(command: Sequence[str], url: str, log: Path) -> Iterator[str]:
    """Run a server until the block ends; yield its address once it is ready."""
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()[-2_000:]
                try:
                    return requests.get(f"{url}/-/ready", timeout=5).ok
                except requests.ConnectionError:
                    return False

            wait_until(ready, seconds=60)
            yield url
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def prometheus(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Run a Prometheus as `make observe` does."""
    port = free_port()
    with running(prometheus_command(folder, config, port), f"http://{HOST}:{port}", folder / "prometheus.log") as url:
        yield url


@contextmanager
def alertmanager(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Run an Alertmanager as `make observe` does."""
    port = free_port()
    with running(
        alertmanager_command(folder, config, port), f"http://{HOST}:{port}", folder / "alertmanager.log"
    ) as url:
        yield url


def query(url: str, expression: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10).json()
    assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found

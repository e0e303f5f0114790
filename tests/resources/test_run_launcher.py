"""What run monitoring is told of a run whose process or code server is gone."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from resources.run_launcher import WatchedRunLauncher

CODE = "import dagster as dg\ndefs = dg.Definitions()\n"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    overrides = {
        "run_launcher": {"module": WatchedRunLauncher.__module__, "class": WatchedRunLauncher.__name__},
        "run_monitoring": {"enabled": True},
    }
    with dg.DagsterInstance.local_temp(overrides=overrides) as instance:
        yield instance


@pytest.fixture
def code_server(tmp_path: Path) -> Iterator[str]:
    """The socket of a code server."""
    (tmp_path / "code.py").write_text(CODE)
    socket = str(tmp_path / "code.sock")
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-f", str(tmp_path / "code.py"), "--socket", socket]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not Path(socket).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield socket
        process.terminate()


def health(instance: dg.DagsterInstance, tags: dict[str, str]) -> WorkerStatus:
    run = dg.DagsterRun("train", run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.add_run(run)
    return instance.run_launcher.check_run_worker_health(run).status


def at(socket: str) -> dict[str, str]:
    return {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": socket})}


def test_a_run_that_its_code_server_does_not_know_is_gone(instance: dg.DagsterInstance, code_server: str) -> None:
    assert instance.run_launcher.supports_check_run_worker_health
    assert health(instance, at(code_server)) == WorkerStatus.NOT_FOUND


def test_a_run_whose_code_server_is_gone_is_failed(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert health(instance, at(str(tmp_path / "nobody.sock"))) == WorkerStatus.FAILED


def test_a_run_of_the_command_line_looks_after_itself(instance: dg.DagsterInstance) -> None:
    assert health(instance, {}) == WorkerStatus.RUNNING

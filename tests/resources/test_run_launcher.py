"""What run monitoring is told of a run whose process or code server is gone."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring import execute_run_monitoring_iteration

from resources.run_launcher import RunProcess, WatchedRunLauncher

CODE = "import dagster as dg\ndefs = dg.Definitions()\n"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    overrides = {
        "run_launcher": {"module": WatchedRunLauncher.__module__, "class": WatchedRunLauncher.__name__},
        "run_monitoring": {"enabled": True},
        "run_retries": {"enabled": True, "max_retries": 2},
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
    run = dg.DagsterRun("secom__train", run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.add_run(run)
    return instance.run_launcher.check_run_worker_health(run).status


def at(socket: str) -> dict[str, str]:
    return {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": socket})}


def test_a_run_that_its_code_server_does_not_know_is_gone(instance: dg.DagsterInstance, code_server: str) -> None:
    assert instance.run_launcher.supports_check_run_worker_health
    assert health(instance, at(code_server)) == WorkerStatus.NOT_FOUND


def test_a_run_whose_code_server_is_gone_is_failed(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert health(instance, at(str(tmp_path / "nobody.sock"))) == WorkerStatus.FAILED


# --- Runs of the command line ---


@contextmanager
def sleeping() -> Iterator[RunProcess]:
    """The process of a command; it is killed and reaped at the end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield RunProcess.of_pid(process.pid)
        process.kill()


def begin(instance: dg.DagsterInstance, tags: dict[str, str], parent: str | None = None) -> str:
    run = dg.DagsterRun(
        "secom__train",
        run_id=str(uuid4()),
        status=dg.DagsterRunStatus.STARTED,
        tags=tags | {"dagster/max_retries": "0"},
        parent_run_id=parent,
        root_run_id=parent,
    )
    return instance.add_run(run).run_id


def monitored(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    """Let run monitoring look once, as the daemon does; return what has become of the run."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        assert not any(execute_run_monitoring_iteration(workspace, logging.getLogger("test")))
    return status(instance, run_id)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_command_was_killed_is_failed_without_a_retry(instance: dg.DagsterInstance) -> None:
    with sleeping() as process:
        run = begin(instance, process.tags)
        assert monitored(instance, run) == dg.DagsterRunStatus.STARTED
    assert monitored(instance, run) == dg.DagsterRunStatus.FAILURE
    ended = instance.get_run_by_id(run)
    assert ended is not None
    assert ended.tags["dagster/will_retry"] == "false"


def test_another_process_of_the_same_id_is_not_taken_for_the_command(instance: dg.DagsterInstance) -> None:
    pid, boot, start = RunProcess.current().identity.split()
    for other in (f"{pid} {boot} {int(start) - 1}", f"{pid} {uuid4()} {start}"):
        run = begin(instance, RunProcess(gethostname(), other).tags)
        assert monitored(instance, run) == dg.DagsterRunStatus.FAILURE


def test_the_runs_of_another_host_are_left_alone(instance: dg.DagsterInstance) -> None:
    run = begin(instance, RunProcess("elsewhere", "1 x 1").tags)
    assert monitored(instance, run) == dg.DagsterRunStatus.STARTED
    assert not instance.run_launcher.terminate(run)
    said = [str(entry.message) for entry in instance.all_logs(run)]
    assert any("on the host elsewhere" in message for message in said)
    assert status(instance, run) == dg.DagsterRunStatus.STARTED


def test_the_process_of_the_first_run_is_not_that_of_its_re_execution(instance: dg.DagsterInstance) -> None:
    with sleeping() as process:
        first = begin(instance, process.tags)
    again = begin(instance, process.tags, parent=first)
    assert monitored(instance, again) == dg.DagsterRunStatus.STARTED


def test_a_run_whose_command_is_gone_is_terminated_at_once(instance: dg.DagsterInstance) -> None:
    with sleeping() as process:
        run = begin(instance, process.tags)
    assert instance.run_launcher.terminate(run)
    assert status(instance, run) == dg.DagsterRunStatus.CANCELED
    assert not instance.run_launcher.terminate(run)


def test_a_run_that_nothing_is_known_of_is_left_alone(instance: dg.DagsterInstance) -> None:
    assert health(instance, {}) == WorkerStatus.RUNNING

"""`wafer dev`: the UI answers, what dies in it comes back, and no end of it leaves anything behind."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from resources.local_services import free_port
from resources.local_services.state import StateFolder
from tests.shell import WAFER, call, processes_of, wafer
from tests.waiting import wait_until


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def listening(state: Path) -> set[int]:
    """Return every port that a process of the state folder listens on."""
    connections = [each for process in processes_of(state) for each in process.net_connections("tcp")]
    addresses = {each.laddr for each in connections if each.status == psutil.CONN_LISTEN}
    assert {address.ip for address in addresses} == {"127.0.0.1"}
    return {address.port for address in addresses}


def refused(port: int) -> tuple[int, int, int]:
    """Return what a foreign host, a foreign page, and a foreign page's change are answered."""
    address, foreign = f"http://127.0.0.1:{port}/", {"Origin": "http://evil.example"}
    return (
        requests.get(address, headers={"Host": "rebound.example"}, timeout=10).status_code,
        requests.get(address, headers=foreign, timeout=10).status_code,
        requests.post(f"{address}graphql", json={}, headers=foreign, timeout=10).status_code,
    )


@contextmanager
def opened(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    """Run `wafer dev` until the end of the block, once its UI answers."""
    state, port, remarks = tmp_path / "state", free_port(), tmp_path / "remarks"
    environment = {**os.environ, "WAFER_STATE_DIR": str(state)}
    with (
        remarks.open("w") as shown,
        subprocess.Popen([WAFER, "dev", "--port", str(port)], env=environment, stdout=shown, stderr=shown) as process,
    ):
        try:
            wait_until(lambda: "Ctrl-C stops everything" in remarks.read_text(), seconds=120)
            yield process, remarks, port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    wait_until(lambda: not processes_of(state), seconds=30)


def running(state: Path, *words: str) -> list[psutil.Process]:
    return [each for each in processes_of(state) if set(words) <= set(each.cmdline())]


def location_answers(port: int) -> bool:
    """Ask for what only the process with the code knows: the config that a job would be launched with."""
    query = """{ pipelineOrError(params: {pipelineName: "secom__train", repositoryName: "__repository__",
        repositoryLocationName: "wafer_assets.definitions"}) { __typename } }"""
    answer = requests.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=30).json()
    return bool(answer["data"]["pipelineOrError"]["__typename"] == "Pipeline")


@pytest.mark.slow
def test_the_ui_is_open_until_it_is_interrupted(tmp_path: Path) -> None:
    with opened(tmp_path) as (process, remarks, port):
        assert answers(f"http://127.0.0.1:{port}/server_info"), "what is announced is open"
        state = tmp_path / "state"
        doors = listening(state) - set(StateFolder(state).identity().ports.values())
        refusals = {each: refused(each) for each in doors}
    # The UI, the metrics, and the reports unless their port was taken; all of them answer foreigners nothing.
    assert set(refusals.values()) == {(421, 403, 403)}
    assert port in refusals
    assert len(refusals) <= 3
    shown = remarks.read_text()
    assert process.returncode == 0, shown
    assert f"Dagster UI   http://127.0.0.1:{port}\n" in shown
    assert "Traceback" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_it_nothing_stays_behind(tmp_path: Path, how: signal.Signals) -> None:
    with opened(tmp_path) as (process, _, _):
        process.send_signal(how)
        process.wait(timeout=60)
        wait_until(lambda: not processes_of(tmp_path / "state"), seconds=30)


@pytest.mark.slow
def test_what_is_killed_comes_back_and_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with opened(tmp_path) as (_, remarks, port):
        second = wafer(state, "dev", seconds=60)
        assert second.returncode == 1
        assert f"`wafer dev` runs in {state} already (process " in second.stderr

        (old,) = running(state, "api", "grpc")
        time.sleep(4)  # it is seen once
        old.kill()
        wait_until(lambda: "it is loaded again" in remarks.read_text(), seconds=10)
        wait_until(lambda: [each.pid for each in running(state, "api", "grpc")] not in ([], [old.pid]), seconds=60)
        wait_until(lambda: location_answers(port), seconds=60)

        for each in running(state, "--live-data-poll-rate"):
            each.kill()
        wait_until(lambda: "Dagster ended by itself" in remarks.read_text(), seconds=60)
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/server_info"), seconds=120)

        for each in running(state, "resources.local_services"):
            each.kill()
        wait_until(lambda: "they are started again" in remarks.read_text(), seconds=10)
        wait_until(lambda: wafer(state, "services", "status").returncode == 0, seconds=60)


def test_a_port_that_there_is_not_is_refused() -> None:
    refused = call("dev", "--port", "99999")
    assert refused.exit_code == 2
    assert "99999" in refused.output

"""`wafer dev`: the UI answers, and Ctrl-C leaves nothing behind."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import requests

from resources.local_services import free_port
from resources.local_services.state import StateFolder
from tests.shell import WAFER, processes_of
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


@pytest.mark.slow
def test_the_ui_is_open_until_it_is_interrupted(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    environment = {**os.environ, "WAFER_STATE_DIR": str(state)}
    with (
        (tmp_path / "remarks").open("w") as remarks,
        subprocess.Popen(
            [WAFER, "dev", "--port", str(port)], env=environment, stdout=remarks, stderr=remarks
        ) as process,
    ):
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/server_info"), seconds=120)
            opened = listening(state) - set(StateFolder(state).identity().ports.values())
            refusals = {each: refused(each) for each in opened}
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    # The UI, and the reports unless their port was taken; both answer foreigners nothing.
    assert refusals in ({port: (421, 403, 403)}, {port: (421, 403, 403), 3001: (421, 403, 403)})
    shown = (tmp_path / "remarks").read_text()
    assert process.returncode == 0, shown
    assert f"Dagster UI   http://127.0.0.1:{port}\n" in shown
    assert "Traceback" not in shown
    wait_until(lambda: not processes_of(state), seconds=30)

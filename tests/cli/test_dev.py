"""`wafer dev`: the UI answers, and Ctrl-C leaves nothing behind."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import requests

from resources.local_services import free_port
from tests.shell import WAFER, processes_of
from tests.waiting import wait_until


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


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
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    shown = (tmp_path / "remarks").read_text()
    assert process.returncode == 0, shown
    assert f"Dagster UI   http://127.0.0.1:{port}\n" in shown
    assert "Traceback" not in shown
    wait_until(lambda: not processes_of(state), seconds=30)

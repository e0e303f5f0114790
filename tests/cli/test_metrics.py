"""`wafer metrics`: what is refused before anything is read; what it tells is in tests/operations/test_metrics.py."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import requests

from resources.local_services import free_port
from tests.shell import WAFER, call
from tests.waiting import wait_until


def test_turned_off_it_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAFER_METRICS__ENABLED", "false")
    result = call("metrics")
    assert result.exit_code == 1
    assert "WAFER_METRICS__ENABLED is false" in result.output


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = call("metrics", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "Without --port a free one is chosen" in result.output


@pytest.mark.services
def test_without_any_store_it_says_which_are_away_and_ends_when_asked(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "WAFER_STATE_DIR": str(tmp_path / "state")}
    with subprocess.Popen(
        [WAFER, "metrics", "--port", str(port)], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:

            def told() -> str:
                try:
                    return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
                except requests.ConnectionError:
                    return ""

            wait_until(told, seconds=60)
            wait_until(lambda: 'wafer_source_up{source="s3"} 0.0' in told(), seconds=20)
            page = told()
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=20)
    assert 'wafer_source_up{source="dagster"} 1.0' in page
    assert 'wafer_source_up{source="mongodb"} 0.0' in page
    assert f"Metrics      http://127.0.0.1:{port}/metrics" in said
    assert "Traceback" not in said

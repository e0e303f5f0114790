"""Processes that are looked after: started again, known by their own port, and ended with all that they started."""

import os
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from resources.local_services import free_port
from resources.reaper import marked
from tests.waiting import wait_until
from wafer_assets.cli.dev_processes import DagsterEndedError, DagsterProcesses

SERVER = """
import http.server, sys

class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ok).serve_forever()
"""


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    for process in marked(str(tmp_path)):
        process.kill()


def processes(mark: str, port: int, script: str) -> DagsterProcesses:
    return DagsterProcesses(
        lambda: ([sys.executable, "-c", script, str(port)], port), dict(os.environ), mark, "127.0.0.1"
    )


def test_what_ends_is_started_again_and_nothing_of_it_stays(mark: str) -> None:
    looked_after = processes(mark, free_port(), SERVER)
    looked_after.start()
    wait_until(looked_after.is_open, 10)
    (first,) = marked(mark)
    first.kill()
    deadline = time.monotonic() + 10
    while not looked_after.is_open() and time.monotonic() < deadline:
        looked_after.look_after()
        time.sleep(0.05)
    (second,) = marked(mark)
    assert second.pid != first.pid
    looked_after.stop()
    assert marked(mark) == []


def test_the_answer_of_another_program_on_the_port_does_not_count(mark: str) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        looked_after = processes(mark, other.server_port, "import time; time.sleep(60)")
        looked_after.start()
        wait_until(lambda: marked(mark), 5)
        assert not looked_after.is_open()
        looked_after.stop()
        other.shutdown()


def test_what_ends_again_and_again_is_given_up(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.local_services.restarts._FIRST_PAUSE", 0.01)
    looked_after = processes(mark, free_port(), "import sys; sys.exit(3)")
    looked_after.start()

    def look_until_it_is_given_up() -> None:
        for _ in range(400):
            looked_after.look_after()
            time.sleep(0.02)

    with pytest.raises(DagsterEndedError, match=r"exit code 3\), for the 6th time in 10 minutes"):
        look_until_it_is_given_up()

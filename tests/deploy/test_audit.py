"""Which packages are audited, and that an audit that could not ask is none that found nothing."""

import http.server
import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from deploy.audit import LOCKS, ROOT, audit, pins


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_is_audited(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert len(pins(ROOT / lock)) == len(re.findall(r"^[a-z0-9][\w.-]*(?:\[[^]]+\])?==", text, re.MULTILINE)) > 100
    assert "uvicorn==" in " ".join(pins(ROOT / lock))


def test_a_marker_stays_and_hashes_go(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "a[b]==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n    # via c\nd==2 \\\n    --hash=sha256:1\n"
    )
    assert pins(lock) == ["a[b]==1.0 ; sys_platform == 'win32'", "d==2"]


@pytest.fixture
def database() -> Iterator[str]:
    """A database that knows something against every package."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _send(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(
                {"results": [{"vulns": [{"id": "X-1", "modified": "2026-01-01T00:00:00Z"}]} for _ in asked["queries"]]}
            )

        def do_GET(self) -> None:
            self._send({"id": "X-1", "modified": "2026-01-01T00:00:00Z", "summary": "bad", "affected": []})

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def test_what_is_known_fails_the_audit_and_so_does_a_database_that_does_not_answer(
    database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("click==8.1.8 \\\n")
    assert audit(lock, database) != 0
    assert "X-1" in "".join(capfd.readouterr())
    assert audit(lock, "http://127.0.0.1:9/") != 0

"""A webhook on loopback that keeps what Alertmanager sends it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Hook(ThreadingHTTPServer):
    """Takes messages on every path below its address."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def names(self, path: str, status: str = "firing") -> set[str]:
        """Return the alerts that were told under a path."""
        return {
            alert["labels"]["alertname"]
            for came, message in self.messages
            for alert in message["alerts"]
            if came == f"/hook{path}" and alert["status"] == status
        }


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.messages.append((self.path, content))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@contextmanager
def open_hook() -> Iterator[Hook]:
    with Hook() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()

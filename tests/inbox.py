"""A service that takes messages, for tests of what is told to people."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Inbox(ThreadingHTTPServer):
    """Takes messages, or refuses them while its status is no 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.messages: list[dict[str, str]] = []
        self.url = f"json://robot:hunter2@127.0.0.1:{self.server_port}/t0ken"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]

    @property
    def bodies(self) -> list[str]:
        return [message["message"] for message in self.messages]


class _Handler(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.messages.append(content)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """Serve an inbox on a free port."""
    with Inbox() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()

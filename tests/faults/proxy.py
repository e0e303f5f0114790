"""An S3 server that misbehaves as told: a proxy on loopback in front of a good one."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

_NOT_PASSED_ON = {"connection", "expect", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for; `copied_from` is the source of a copy, else empty."""

    number: int
    method: str
    path: str
    copied_from: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the good server never sees; a status of 0 drops the connection without any answer."""

    status: int
    code: str = ""


DROPPED = Refusal(0)
UNAVAILABLE = Refusal(503, "ServiceUnavailable")
DISK_FULL = Refusal(507, "InsufficientStorage")

Rule = Callable[[Request], Refusal | None]


class FaultProxy:
    """Passes requests on unchanged, unless its rule refuses them.

    Attributes
    ----------
    rule
        Called before each request is passed on. It may wait, or do anything else that has to happen just then.
    requests
        All requests that came, in order.
    """

    def __init__(self, target: str) -> None:
        self.rule: Rule = lambda _: None
        self.requests: list[Request] = []
        self._target = urlsplit(target).netloc
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _note(self, handler: BaseHTTPRequestHandler) -> Request:
        with self._lock:
            copied_from = handler.headers.get("x-amz-copy-source", "")
            request = Request(len(self.requests) + 1, str(handler.command), handler.path, copied_from)
            self.requests.append(request)
        return request

    def _handler(self) -> type[BaseHTTPRequestHandler]:  # noqa: C901 (a class of two methods)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                refusal = proxy.rule(proxy._note(self))
                if refusal is not None:
                    self.refuse(refusal)
                    return
                upstream = http.client.HTTPConnection(proxy._target, timeout=60)
                try:
                    # The headers as they came, because the client signed them; the host's name is one of them.
                    upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() not in _NOT_PASSED_ON:
                            upstream.putheader(name, value)
                    upstream.endheaders(body or None)
                    answer = upstream.getresponse()
                    content = answer.read()
                except OSError:
                    self.refuse(DROPPED)
                    return
                finally:
                    upstream.close()
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {*_NOT_PASSED_ON, "content-length"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(content)

            def refuse(self, refusal: Refusal) -> None:
                self.close_connection = True
                if not refusal.status:
                    return
                content = f"<Error><Code>{refusal.code}</Code><Message>{refusal.code}</Message></Error>".encode()
                self.send_response_only(refusal.status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = pass_on  # noqa: N815 (the server's names)

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        return Handler

"""Who is let in, over real connections: by the name of the host, by the page that asks, and by how it asks."""

import asyncio
import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from wafer_assets.web.guard import Guard, origins_of


class Recorder:
    """An application that answers everything, and remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        self.reached.append(f"{scope['type']} {scope.get('method', '')} {scope['path']}")
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
            await receive()
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})


@contextmanager
def serving(make: Any) -> Iterator[int]:
    """Serve the application that `make` returns for a port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(make(port), log_level="critical", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def port(recorder: Recorder) -> Iterator[int]:
    with serving(lambda port: Guard(recorder, origins_of("127.0.0.1", port, ["https://wafer.example.com"]))) as port:
        yield port


def ask(port: int, method: str, path: str, headers: list[tuple[str, str]]) -> int:
    """Send exactly these headers and return the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


JSON = ("Content-Type", "application/json")


def test_its_own_pages_and_programs_of_the_machine_are_let_in(port: int) -> None:
    for name in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", "wafer.example.com"):
        assert ask(port, "GET", "/", [("Host", name)]) == 200
        assert ask(port, "POST", "/graphql", [("Host", name), JSON, ("Content-Length", "0")]) == 200
    own = [("Host", f"localhost:{port}"), ("Origin", f"http://localhost:{port}")]
    assert ask(port, "POST", "/graphql", [*own, JSON, ("Content-Length", "0")]) == 200


@pytest.mark.parametrize(
    "name", ["rebound.example", "127.0.0.1", "127.0.0.1:1", "wafer.example.com.evil.example", "", "localhost."]
)
def test_no_other_name_of_this_machine_is_answered(port: int, recorder: Recorder, name: str) -> None:
    before = len(recorder.reached)
    assert ask(port, "GET", "/", [("Host", name)]) in (400, 421)
    assert len(recorder.reached) == before


def test_a_probe_may_come_by_any_name(port: int) -> None:
    assert ask(port, "GET", "/server_info", [("Host", "10.1.2.3:3000")]) == 200
    assert ask(port, "POST", "/server_info", [("Host", "10.1.2.3:3000"), JSON, ("Content-Length", "0")]) == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://wafer.example.com", "http://localhost"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_origin_gets_nothing(port: int, recorder: Recorder, origin: str, method: str) -> None:
    before = len(recorder.reached)
    headers = [("Host", f"127.0.0.1:{port}"), ("Origin", origin), JSON, ("Content-Length", "0")]
    assert ask(port, method, "/graphql", headers) == 403
    assert len(recorder.reached) == before


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/plain; application/json", "application/json; charset=utf-8", "application/graphql"],
)
def test_what_changes_something_is_sent_as_exactly_json(port: int, content_type: str) -> None:
    headers = [("Host", f"127.0.0.1:{port}"), ("Content-Length", "0")]
    headers += [("Content-Type", content_type)] if content_type else []
    assert ask(port, "POST", "/report_asset_materialization/a", headers) == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_nothing_is_changed_but_by_post(port: int, method: str) -> None:
    assert ask(port, method, "/graphql", [("Host", f"127.0.0.1:{port}"), JSON]) == 405


@pytest.mark.parametrize("path", ["/graphql?query=mutation{x}", "/graphql/?query=x", "/%67raphql?query=x"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_get_carries_no_query(port: int, method: str, path: str) -> None:
    assert ask(port, method, path, [("Host", f"127.0.0.1:{port}")]) == 405


def test_a_header_that_comes_twice_is_refused(port: int) -> None:
    twice = [("Host", f"127.0.0.1:{port}"), ("Origin", f"http://127.0.0.1:{port}"), ("Origin", "http://evil.example")]
    assert ask(port, "GET", "/", twice) == 400


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [("", "", 101), ("", "own", 101), ("", "http://evil.example", 403), ("rebound.example", "", 403)],
)
def test_a_socket_opens_to_its_own_pages_alone(port: int, host: str, origin: str, status: int) -> None:
    headers = [
        ("Host", host or f"127.0.0.1:{port}"),
        *[("Upgrade", "websocket"), ("Connection", "Upgrade")],
        *[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13")],
    ]
    if origin:
        headers.append(("Origin", f"http://127.0.0.1:{port}" if origin == "own" else origin))
    assert ask(port, "GET", "/graphql", headers) == status


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_no_origin_but_the_listed_ones_is_ever_let_in(origin: str) -> None:
    guard = Guard(lambda *_: None, ["http://127.0.0.1:3000"])  # type: ignore[arg-type, return-value]
    host = (b"host", b"127.0.0.1:3000")
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [host, (b"origin", origin.encode("latin-1"))]}
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    if origin.strip().lower() not in ("", "http://127.0.0.1:3000"):
        asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
        assert sent[0]["status"] == 403


def test_a_server_is_reached_at_its_own_address_and_those_that_are_named() -> None:
    assert origins_of("127.0.0.1", 3000) == ("http://127.0.0.1:3000", "http://localhost:3000")
    assert origins_of("0.0.0.0", 80, ["https://a.example"])[-1] == "https://a.example"
    assert origins_of("::1", 80) == ("http://[::1]:80",)

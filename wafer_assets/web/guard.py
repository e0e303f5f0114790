"""What stands before every application that a browser can reach: whoever asks must be one of those it is meant for.

A web page may send requests to any address that its reader's machine can reach, loopback included, and may give an
address of its own another machine's number (DNS rebinding). So hosts are allowed by list, what changes something must
be sent in the one way that a page elsewhere cannot, and a request that says which page sent it must come from here.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBES = frozenset({"/server_info", "/ping", "/health", "/version"})
"""Paths that tell nothing but that a server is there; Kubernetes asks for them by a pod's address."""

_JSON = "application/json"
_HEADERS = (
    # A page elsewhere cannot lay itself over this one and borrow its reader's clicks.
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Refused(Exception):
    """A request that does not get in.

    Attributes
    ----------
    status : int, of the answer
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """An ASGI application that lets through to another what may reach it, and answers the rest with the reason.

    Parameters
    ----------
    app
        What is guarded.
    origins
        Addresses that it is reached at, such as ``http://127.0.0.1:3000``; no other is answered.
    content_types
        Of requests that change something: such as a page elsewhere cannot send unasked. None leaves it to the
        application.
    """

    def __init__(self, app: "ASGIApp", origins: Iterable[str], content_types: Iterable[str] | None = (_JSON,)) -> None:
        self._app = app
        self._origins = frozenset(map(str.lower, origins))
        self._hosts = frozenset(urlsplit(origin).netloc for origin in self._origins)
        self._content_types = None if content_types is None else tuple(content_types)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or let it through."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refused as refused:
            await _answer(scope, send, refused)
            return

        async def send_guarded(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _check(self, scope: "Scope") -> None:
        path = scope["path"]
        method = scope.get("method", "")
        host = _one(scope, b"host")
        if host not in self._hosts and not (method in ("GET", "HEAD") and path in PROBES):
            raise Refused(
                421, f"Nothing is served here under the name {host!r}. Names: {', '.join(sorted(self._hosts))}."
            )
        origin = _one(scope, b"origin")
        if origin and origin not in self._origins:
            raise Refused(403, f"A page of {origin!r} may do nothing here.")
        if scope["type"] == "websocket":
            return
        if method in ("GET", "HEAD", "OPTIONS"):
            if scope.get("query_string") and path.rstrip("/").endswith("/graphql"):
                raise Refused(405, f"Send GraphQL by POST, as {_JSON}.")
        elif method != "POST":
            raise Refused(405, "Send it by POST.")
        elif self._content_types and (given := _one(scope, b"content-type")) not in self._content_types:
            raise Refused(415, f"Its Content-Type is {given!r}. Send {' or '.join(self._content_types)}, and no more.")


def origins_of(host: str, port: int, more: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the addresses that a server on a host and port is reached at, `more` beside its own.

    Parameters
    ----------
    host : str
        That the server listens on.
    port : int
        That the server listens on.
    more : iterable of str
        Addresses that others know it by, as ``scheme://host`` or ``scheme://host:port``.
    """
    own = {"127.0.0.1", "localhost"} if host in ("127.0.0.1", "localhost", "0.0.0.0") else {host}  # noqa: S104
    return (*(f"http://{f'[{name}]' if ':' in name else name}:{port}" for name in sorted(own)), *more)


def _one(scope: "Scope", name: bytes) -> str:
    """Return a header's value in small letters, empty where there is none; one that comes twice is no header."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise Refused(400, f"The header {name.decode()} comes {len(values)} times. Send it once.")
    return values[0].decode("latin-1").strip().lower() if values else ""


async def _answer(scope: "Scope", send: "Send", refused: Refused) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted, that is the HTTP answer 403.
        await send({"type": "websocket.close", "code": 1008, "reason": str(refused)[:100]})
        return
    body = f"{refused}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        # What else the connection brings is the body of a request that nobody reads.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

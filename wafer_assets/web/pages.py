"""Serves the reports in the lake bucket to a browser on this machine; in production the S3 console does.

Which keys are pages, under which address and with which headers belongs here. What a report says does not: that is
`wafer_assets.domain.report`, and the step that scores a batch puts it into the lake. Neither does the scoring server,
which is `wafer_assets.web.scoring`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resources.s3 import InvalidKeyError, ObjectNotFoundError, S3Store
from wafer_assets.keys import is_page
from wafer_assets.settings import Settings
from wafer_assets.web.guard import Guard, origins_of

if TYPE_CHECKING:
    from starlette.applications import Starlette

# The pages bring everything along; nothing that a partner's file name might smuggle in is run or loaded.
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}


def pages_app(s3: S3Store) -> "Starlette":
    """Return an application that answers with the report of that key, and with nothing else of the bucket."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def page(request: Request) -> Response:
        key = request.path_params["key"]
        if is_page(key):
            try:
                return HTMLResponse(s3.get(s3.lake, key), headers=_HEADERS)
            except (ObjectNotFoundError, InvalidKeyError):
                pass
        return PlainTextResponse(f"There is no page {key}.", status_code=404)

    return Starlette(routes=[Route("/{key:path}", page)])


@contextmanager
def served(settings: Settings) -> Iterator[str | None]:
    """Serve the reports at the address that links to them name; None if that is elsewhere, or taken."""
    import uvicorn

    address = urlsplit(settings.pages_url or "")
    if address.hostname != "127.0.0.1" or address.port is None:
        yield None
        return
    config = uvicorn.Config(
        Guard(pages_app(S3Store(settings)), origins_of("127.0.0.1", address.port)),
        host="127.0.0.1",
        port=address.port,
        log_level="critical",
        access_log=False,
    )
    try:
        socket = config.bind_socket()
    except SystemExit:
        # uvicorn exits where a port is taken; the UI is of use without reports.
        yield None
        return
    socket.listen()  # whoever comes before the server is ready waits
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        yield settings.pages_url
    finally:
        server.should_exit = True
        thread.join(timeout=5)

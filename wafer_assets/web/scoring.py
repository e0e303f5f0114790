"""The scoring server's application: MLflow's routes and formats, over our own reading, scoring and limits.

``POST /invocations`` scores one to 1,000 wafers (`formats` says how they are sent); ``GET /ping`` and ``/health``
answer once a model is loaded; ``GET /version`` gives the version of MLflow whose protocol this is. Every answer names
the version of the model in the header `VERSION_HEADER`.

One thread of a worker parses and scores, so that what one request takes is never taken twice at a time; the loop
beside it takes requests in and hands answers out.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.lines import load_lines
from schemas.loader import BatchSchema
from wafer_assets.settings import load_settings
from wafer_assets.web.champions import FOLDER_VARIABLE, Champions, SharedFolder
from wafer_assets.web.formats import JSON, MAX_BYTES, RefusedRequest
from wafer_assets.web.guard import Guard
from wafer_assets.web.served_bundle import ServedBundle, Wafers

VERSION_HEADER = "x-model-version"

BODY_SECONDS = 30.0
"""That a request's body may take to arrive."""

MAX_HELD_BYTES = 4 * MAX_BYTES
"""Of all requests that a worker holds at a time; further ones are to come again."""

SERVED_FILE = "served.json"
"""In the shared folder: whose wafers are scored, and at which addresses the server is reached."""


class Served(BaseModel):
    """What the workers of a server have in common.

    Attributes
    ----------
    line
        Name of the line whose wafers are scored.
    origins
        The addresses that the server is reached at.
    """

    line: str
    origins: tuple[str, ...]


_GROUP_BYTES = 2_000_000
_SWITCH_SECONDS = 0.0005
_CODES = {400: "INVALID_PARAMETER_VALUE", 404: "ENDPOINT_NOT_FOUND", 500: "INTERNAL_ERROR"}
_log = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that waits to be scored; `answer` becomes the version that scored it, and what it said."""

    body: bytearray
    content_type: str
    answer: Future[tuple[int, bytes]] = field(default_factory=Future)


class Scorer:
    """The thread that scores: each request, together with the small ones that came while others were scored."""

    def __init__(self, champions: Champions) -> None:
        self._champions = champions
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()
        Thread(target=self._work, name="scorer", daemon=True).start()

    async def answer(self, body: bytearray, content_type: str) -> tuple[int, bytes]:
        """Return the answer to a request, after the version that gave it.

        Raises
        ------
        RefusedRequest
            It is no request for this model.
        """
        waiting = _Waiting(body, content_type)
        self._queue.put(waiting)
        return await asyncio.wrap_future(waiting.answer)

    def _work(self) -> None:
        while True:
            self._answer(self._next())

    def _next(self) -> list[_Waiting]:
        group = [self._queue.get()]
        size = len(group[0].body)
        with suppress(Empty):
            while size < _GROUP_BYTES:
                group.append(self._queue.get_nowait())
                size += len(group[-1].body)
        return group

    def _answer(self, group: list[_Waiting]) -> None:
        served = self._champions.current()
        read: list[tuple[_Waiting, Wafers]] = []
        for waiting in group:
            if not waiting.answer.set_running_or_notify_cancel():
                continue  # whoever asked has gone
            try:
                read.append((waiting, served.read(waiting.body, waiting.content_type)))
            except RefusedRequest as refused:
                # A new one, for this one's traceback keeps all that was sent.
                waiting.answer.set_exception(RefusedRequest(refused.reason, refused.status))
            except Exception as error:
                waiting.answer.set_exception(error)
        if read:
            self._score(served, read)

    def _score(self, served: ServedBundle, read: list[tuple[_Waiting, Wafers]]) -> None:
        try:
            answers = served.score([wafers for _, wafers in read])
        except Exception as error:
            if len(read) == 1:
                read[0][0].answer.set_exception(error)
                return
            for one in read:  # no request fails for what another holds
                self._score(served, [one])
            return
        for (waiting, _), answer in zip(read, answers, strict=True):
            waiting.answer.set_result((served.version, answer))


class _Invocations:
    """Takes requests in, as many bytes at a time as there is room for."""

    def __init__(self, champions: Champions) -> None:
        self._scorer = Scorer(champions)
        self._held = 0

    async def __call__(self, request: Request) -> Response:
        body = bytearray()
        try:
            await self._receive(request, body)
            version, answer = await self._scorer.answer(body, request.headers.get("content-type", ""))
        except RefusedRequest as refused:
            return _error(refused.status, refused.reason)
        except Exception:
            _log.exception("A request could not be scored")
            return _error(500, "The request could not be scored; the server's log says why.")
        finally:
            self._held -= len(body)
            body.clear()  # what else knows it is collected some time later
        return Response(answer, media_type=JSON, headers={VERSION_HEADER: str(version)})

    async def _receive(self, request: Request, body: bytearray) -> None:
        """Read a request's body, unless that is too much or takes too long."""
        if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
            raise RefusedRequest(f"Its Content-Encoding is {encoding[:50]!r}. Send it as it is.", 415)
        length = int(request.headers.get("content-length", 0))
        self._require_room(length, length)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    self._require_room(len(body) + len(chunk), len(chunk))
                    self._held += len(chunk)
                    body += chunk
        except TimeoutError:
            raise RefusedRequest(f"The request did not arrive within {BODY_SECONDS:g} seconds.", 408) from None
        except ClientDisconnect:
            raise RefusedRequest("The request did not arrive whole.") from None

    def _require_room(self, size: int, more: int) -> None:
        if size > MAX_BYTES:
            raise RefusedRequest(
                f"More than {MAX_BYTES / 1e6:g} MB. Send fewer wafers in a request, or a batch file.", 413
            )
        if self._held + more > MAX_HELD_BYTES:
            raise RefusedRequest("Too many large requests at a time. Send it again in a second.", 503)


def scoring_app(champions: Champions, origins: Iterable[str]) -> Guard:
    """Return the application of a worker, reached at these addresses."""
    # The loop that takes requests in and hands answers out must not wait 5 ms for a thread that scores.
    sys.setswitchinterval(_SWITCH_SECONDS)
    protocol = installed_version("mlflow")

    def named(response: Response) -> Response:
        response.headers.setdefault(VERSION_HEADER, str(champions.folder.current))
        return response

    async def ping(_: Request) -> Response:
        return named(Response("\n", media_type=JSON))

    async def version(_: Request) -> Response:
        return named(Response(protocol, media_type="text/plain"))

    invocations = _Invocations(champions)

    async def score(request: Request) -> Response:
        return named(await invocations(request))

    async def not_there(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return named(_error(error.status_code, f"{error.detail}. POST /invocations scores; GET /ping tells of life."))

    app = Starlette(
        routes=[
            Route("/ping", ping),
            Route("/health", ping),
            Route("/version", version),
            Route("/invocations", score, methods=["POST"]),
        ],
        exception_handlers={HTTPException: not_there},
    )
    return Guard(app, origins, content_types=None)


def app() -> Guard:
    """Return the application of the folder that the environment names; a factory for uvicorn."""
    folder = SharedFolder(Path(os.environ[FOLDER_VARIABLE]))
    served = Served.model_validate_json((folder.path / SERVED_FILE).read_text())
    line = load_lines(load_settings().lines).lines[served.line]
    return scoring_app(Champions(folder, BatchSchema.of(line, "prediction")), served.origins)


def _error(status: int, reason: str) -> Response:
    """Return a refusal in MLflow's form; where the body was not read, no more is read from that connection."""
    content = json.dumps({"error_code": _CODES.get(status, "BAD_REQUEST"), "message": reason})
    headers = {"connection": "close"} if status in (408, 413, 415, 503) else {}
    if status == 503:
        headers["retry-after"] = "1"
    return Response(content, status, headers, JSON)

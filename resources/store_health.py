"""Which of the platform's stores do not answer a real request, and what one can do about it.

A store that is away makes its clients wait and then fail with the words of a library. Whoever waits says by what is
here which store it is, long before.
"""

import http.client
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event, Thread
from urllib.parse import urlsplit

from wafer_assets.settings import Settings

ANSWER_SECONDS = 3.0
"""After this long without an answer, a request has none."""

_FIRST_SECONDS = 3.0
_EVERY_SECONDS = 2.0


def mongo_answers(uri: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Return whether a MongoDB server answers a ping in time."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    limit = int(seconds * 1_000)
    try:
        with MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=limit, timeoutMS=limit) as client:
            client.admin.command("ping")
    except (OSError, PyMongoError):
        return False
    return True


def http_answers(url: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Return whether a server answers a request in time, and not with an error of its own."""
    place = urlsplit(url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    try:
        with closing(kind(place.hostname or "", place.port, timeout=seconds)) as connection:
            connection.request("GET", place.path or "/")
            return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False


def silent_stores(settings: Settings) -> Mapping[str, str]:
    """Ask all stores that are set, side by side.

    Returns
    -------
    mapping of str to str
        For each that does not answer, by its name, a sentence with its address, what is known, and what to do. AWS
        itself, which is S3 without an address of its own, is not asked.
    """
    asked: dict[str, tuple[str, str, str, Callable[[], bool]]] = {}
    if settings.s3.endpoint_url:
        address = settings.s3.endpoint_url
        asked["s3"] = "S3", address, "WAFER_S3__ENDPOINT_URL", lambda: http_answers(address)
    if settings.mongo.uri:
        uri = settings.mongo.uri.get_secret_value()
        asked["mongo"] = "MongoDB", uri, "WAFER_MONGO__URI", lambda: mongo_answers(uri)
    if settings.mlflow.tracking_uri:
        tracking = settings.mlflow.tracking_uri
        health = f"{tracking.rstrip('/')}/health"
        asked["mlflow"] = "MLflow", tracking, "WAFER_MLFLOW__TRACKING_URI", lambda: http_answers(health)
    with ThreadPoolExecutor(3) as pool:
        answers = dict(zip(asked, pool.map(lambda each: each[3](), asked.values()), strict=True))
    known = _known_locally(settings) if not all(answers.values()) else {}
    return {
        name: f"{name} at {urlsplit(address).netloc.rpartition('@')[2]} does not answer: "
        f"{known.get(key) or f'start it, or correct {variable}'}. `wafer services status` shows what runs here."
        for key, (name, address, variable, _) in asked.items()
        if not answers[key]
    }


def _known_locally(settings: Settings) -> Mapping[str, str]:
    from resources.local_services.state import StateFolder

    if settings.environment != "local":
        return {}
    return {name: f"it {away}" for name, away in StateFolder(settings.state_dir).away().items()}


@contextmanager
def watched(settings: Callable[[], Settings], tell: Callable[[str], object]) -> Iterator[None]:
    """Tell, while the block lasts, of each store that does not answer, within ten seconds.

    Nobody is asked in the first three, for most blocks are over by then.

    Parameters
    ----------
    settings
        Return where the stores are now.
    tell
        Is given a sentence for each store that falls silent, and one when it answers again.
    """
    ended = Event()

    def watch() -> None:
        known: Mapping[str, str] = {}
        pause = _FIRST_SECONDS
        while not ended.wait(pause):
            try:
                silent = silent_stores(settings())
            except Exception:
                silent = {}  # what is wrong with the settings is said by whoever uses them
            if ended.is_set():
                return
            for name in silent.keys() - known.keys():
                tell(silent[name])
            for name in known.keys() - silent.keys():
                tell(f"{name} answers again.")
            known, pause = silent, _EVERY_SECONDS

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()

"""Whether a local server answers a real request; a process that is there is no sign that it does."""

import http.client
from contextlib import closing

from pydantic import IPvAnyAddress

from resources.local_services.identity import Identity
from resources.local_services.service import ServiceName


def answers(name: ServiceName, identity: Identity, host: IPvAnyAddress, seconds: float) -> bool:
    """Ask a server; one that does not answer within so many seconds is not well, whatever processes it has."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        if name == "mongo":
            milliseconds = int(seconds * 1_000)
            with MongoClient[dict[str, object]](
                identity.mongo_uri(host), serverSelectionTimeoutMS=milliseconds, timeoutMS=milliseconds
            ) as client:
                client.admin.command("ping")
            return True
        connection = http.client.HTTPConnection(str(host), identity.ports[name], timeout=seconds)
        with closing(connection):
            connection.request("GET", "/health" if name == "mlflow" else "/")
            return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException, PyMongoError):
        return False

"""Whether a local server answers a real request; a process that is there is no sign that it does."""

from pydantic import IPvAnyAddress

from resources.local_services.identity import Identity
from resources.local_services.service import ServiceName, url
from resources.store_health import http_answers, mongo_answers


def answers(name: ServiceName, identity: Identity, host: IPvAnyAddress, seconds: float) -> bool:
    """Ask a server; one that does not answer within so many seconds is not well, whatever processes it has."""
    if name == "mongo":
        return mongo_answers(identity.mongo_uri(host), seconds)
    return http_answers(url(name, host, identity.ports[name]) + ("/health" if name == "mlflow" else "/"), seconds)

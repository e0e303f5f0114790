"""MLflow's tracking server, but for two things that it would allow.

MLflow lets whoever creates an experiment name a folder of the server, and then hands out what is in it. Here artifacts
go through the server to the platform's bucket, and any other place is refused. And it believes a page of any other
server of this machine; here no page but its own. ``mlflow server --app-name wafer`` runs this application, which
`pyproject.toml` names among MLflow's entry points.
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.server import handlers
from mlflow.server.fastapi_app import app
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["APP_NAME", "OwnPagesOnly", "app", "require_proxied"]

APP_NAME = "wafer"

_validate: Any = handlers._validate_storage_location_uri


def require_proxied(value: str, field_name: str) -> str:
    """Return a location of artifacts, if it leads through the server.

    Raises
    ------
    MlflowException
        It is a folder or another store; the server answers 400.
    """
    if urlsplit(value.strip()).scheme != "mlflow-artifacts":
        raise MlflowException.invalid_parameter_value(
            f"{field_name} {value[:200]!r} is refused: this server keeps all artifacts in one bucket. Leave it out."
        )
    return str(_validate(value, field_name))


handlers._validate_storage_location_uri = require_proxied


class OwnPagesOnly:
    """An ASGI application that refuses what a page of another origin sends.

    Parameters
    ----------
    app
        Answers all else, and checks that the host that was asked for is the server's.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or let it through."""
        headers = dict(scope.get("headers", ()))
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and urlsplit(origin).netloc != headers.get(b"host", b"").decode("latin-1"):
            await PlainTextResponse("A page of another origin may do nothing here.", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


app.add_middleware(OwnPagesOnly)

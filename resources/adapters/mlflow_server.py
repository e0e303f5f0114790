"""MLflow's tracking server, but that clients may not choose where on it artifacts are kept.

MLflow lets whoever creates an experiment name a folder of the server, and then hands out what is in it. Here artifacts
go through the server to the platform's bucket, and any other place is refused. ``mlflow server --app-name wafer`` runs
this application, which `pyproject.toml` names among MLflow's entry points.
"""

from typing import Any
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.server import handlers
from mlflow.server.fastapi_app import app

__all__ = ["APP_NAME", "app", "require_proxied"]

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

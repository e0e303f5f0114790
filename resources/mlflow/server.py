"""The MLflow server that the settings name: how it is reached, and what is said where it does not answer.

What is done there is in `resources.mlflow.runs` and `resources.mlflow.registry`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wafer_assets.settings import NotConfiguredError, Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow reads these from the environment only, and its own defaults wait minutes for a server that is gone.
_CLIENT_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class TrackingUnreachableError(RuntimeError):
    """The MLflow server did not answer."""

    code = "tracking_unreachable"

    def __init__(self, uri: str) -> None:
        host = urlsplit(uri).netloc.rpartition("@")[2]
        super().__init__(
            f"the MLflow server at {host} does not answer: start the local services with "
            "`wafer services up`, or correct WAFER_MLFLOW__TRACKING_URI."
        )


class MLflowServer:
    """The platform's MLflow server; subclasses say what is done there.

    Whatever is done there raises `NotConfiguredError` where no server is set, and `TrackingUnreachableError` where it
    does not answer. Other errors of the server are MLflow's.

    Attributes
    ----------
    settings : MLflowSettings
        Where the server is, and the names of the experiment and the model: of a line's own, if there is one.
    """

    def __init__(self, settings: Settings, line: str = "") -> None:
        self.settings = settings.mlflow.of(line) if line else settings.mlflow

    @contextmanager
    def _server(self) -> Iterator["MlflowClient"]:
        """Client of the configured server; where that does not answer, the error says what to do."""
        uri = self.settings.tracking_uri
        if uri is None:
            raise NotConfiguredError("experiment tracking", "WAFER_MLFLOW__TRACKING_URI")
        for name, value in _CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if self.settings.username and self.settings.password:
            os.environ["MLFLOW_TRACKING_USERNAME"] = self.settings.username
            os.environ["MLFLOW_TRACKING_PASSWORD"] = self.settings.password.get_secret_value()

        # Only now, because MLflow decides on telemetry as it is imported.
        import mlflow
        import requests
        from mlflow.exceptions import MlflowException

        mlflow.set_tracking_uri(uri)
        try:
            yield mlflow.MlflowClient()
        except MlflowException as error:
            if isinstance(error.__context__, requests.RequestException):
                raise TrackingUnreachableError(uri) from error
            raise

"""MLflow's own server, with its database in the state folder and its artifacts in the lake bucket."""

import http.client
from collections.abc import Mapping
from contextlib import closing

from resources.local_services.server import Server, program


class MLflow(Server):
    """The local MLflow server."""

    name = "mlflow"

    @property
    def environment(self) -> Mapping[str, str]:
        """How it reaches the lake bucket, and what it is not to do."""
        s3 = self._settings.s3
        storage = {}
        if s3.endpoint_url and s3.access_key_id and s3.secret_access_key:
            storage = {
                "MLFLOW_S3_ENDPOINT_URL": s3.endpoint_url,
                "AWS_ACCESS_KEY_ID": s3.access_key_id.get_secret_value(),
                "AWS_SECRET_ACCESS_KEY": s3.secret_access_key.get_secret_value(),
                "AWS_DEFAULT_REGION": s3.region,
            }
        return {
            **storage,
            "NO_PROXY": f"{self._host},localhost",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Its runner of background jobs doubles the memory and the time to start.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    def command(self) -> list[str]:
        """Return the command that runs it."""
        host, port = self._host, self._identity.ports["mlflow"]
        return [
            program("mlflow"),
            "server",
            *("--app-name", "wafer"),  # resources.adapters.mlflow_server
            *("--host", str(host)),
            *("--port", str(port)),
            *("--allowed-hosts", f"{host}:{port},localhost:{port}"),
            *("--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"),
            "--serve-artifacts",
            *("--artifacts-destination", f"s3://{self._settings.s3.lake_bucket}/mlflow"),
        ]

    def check(self) -> None:
        """Ask for its health."""
        connection = http.client.HTTPConnection(str(self._host), self._identity.ports["mlflow"], timeout=5)
        with closing(connection):
            connection.request("GET", "/health")
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise OSError(f"/health answers {response.status}")

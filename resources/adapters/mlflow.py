"""What the platform borrows from inside MLflow: its scoring server, made to serve what is no pyfunc.

Importing it imports the library MLflow, which takes seconds. What is done with an MLflow server is in
`resources.mlflow`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["INVALID_PARAMETER_VALUE", "NoSignature", "Served", "scoring_app"]


class NoSignature:
    """What the scoring server asks of a pyfunc's metadata; without a schema it parses a request as it is."""

    def get_input_schema(self) -> None:
        """Return that there is none."""


class Served(Protocol):
    """What stands in for a pyfunc, and reads the bodies of requests for the scoring server."""

    metadata: NoSignature

    def predict(self, data: object) -> object:
        """Return a table for what was read of a request."""

    def read_csv(self, csv_input: TextIO, schema: object = None) -> object:
        """Read the body of a CSV request."""

    def read_json(self, data: Mapping[str, Any], schema: object = None) -> object:
        """Read the body of a JSON request."""


def scoring_app(served: Served) -> "FastAPI":
    """Return MLflow's scoring server for a model; there is one in a process."""
    from mlflow.pyfunc import scoring_server

    # Its own readers of requests, replaced under their names.
    scoring_server.parse_csv_input = served.read_csv
    scoring_server.infer_and_parse_data = served.read_json
    # All it asks of a pyfunc is `predict` and the metadata's schema.
    server: FastAPI = scoring_server.init(served)  # type: ignore[arg-type]
    return server

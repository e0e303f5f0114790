"""Where artifacts may be kept, and whose pages are believed: the server is asked for real, in ways that once worked."""

import pytest
import requests

from resources.adapters.mlflow_server import require_proxied
from tests.resources.adapters.borrowed import Borrowed, require
from wafer_assets.settings import Settings

ADAPTER = "resources/adapters/mlflow_server.py"
USE = "refusing places of artifacts, in resources.local_services.mlflow_server"
BORROWED = [
    Borrowed("mlflow.server.handlers:_validate_storage_location_uri", USE, ("s3://bucket", "artifact_location")),
    Borrowed("mlflow.server.fastapi_app:app", USE),
]


@pytest.mark.parametrize("borrowed", BORROWED, ids=str)
def test_what_the_adapter_borrows_is_there(borrowed: Borrowed) -> None:
    require(borrowed, "mlflow", ADAPTER)


@pytest.mark.parametrize(
    "location",
    ["file:///etc", "/etc", "file://localhost/etc", "file:/etc", "FILE:///etc", " file:///etc", "s3://other"],
)
@pytest.mark.parametrize("field", ["artifact_location", "artifactLocation"])
@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_an_experiment_keeps_its_artifacts_nowhere_else(
    shared_platform: Settings, location: str, field: str, api: str
) -> None:
    answer = requests.post(
        f"{shared_platform.mlflow.tracking_uri}/{api}/2.0/mlflow/experiments/create",
        json={"name": f"{api} {field} {location}", field: location},
        timeout=30,
    )
    assert (answer.status_code, "one bucket" in answer.text) == (400, True)


def test_where_the_server_itself_keeps_artifacts_is_allowed() -> None:
    assert require_proxied("mlflow-artifacts:/1", "artifact_location") == "mlflow-artifacts:/1"


@pytest.mark.parametrize("origin", ["http://127.0.0.1:1", "http://localhost:1", "http://evil.example", "null"])
def test_a_page_of_another_server_of_this_machine_is_not_believed(shared_platform: Settings, origin: str) -> None:
    uri = shared_platform.mlflow.tracking_uri
    for method, path in (("GET", "/"), ("POST", "/api/2.0/mlflow/experiments/create")):
        answer = requests.request(method, f"{uri}{path}", json={"name": origin}, headers={"Origin": origin}, timeout=30)
        assert answer.status_code == 403, f"{method} {path}"
    assert requests.get(f"{uri}/", headers={"Origin": str(uri)}, timeout=30).ok

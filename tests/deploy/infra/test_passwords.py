"""Secrets get a value once, nobody is shown one, and none is where it should not be."""

import json
from typing import Any

import boto3
import pytest
from pydantic import TypeAdapter
from pymongo import MongoClient
from sqlalchemy.engine import make_url

from deploy.infra.environment import InfraError
from deploy.infra.passwords import fill, value
from tests.deploy.infra.conftest import NO_TOOLS

pytestmark = [NO_TOOLS, pytest.mark.infra]

URI = "mongodb+srv://wafer-pri.example.mongodb.net/?authSource=%24external&authMechanism=MONGODB-AWS"
FACTS: dict[str, Any] = {
    "names": {name: f"wafer-dev/{name}" for name in ("postgresql", "mlflow", "stores", "oauth2-proxy")},
    "mongo_uri": URI,
    "postgresql": "wafer-dev.abc.eu-central-1.rds.amazonaws.com",
}
ANSWERS = {"client id": "wafer", "client secret": "hush", "notifications": '["json://host/path"]'}


def ask(question: str, hidden: bool) -> str:
    assert hidden is ("client id" not in question)
    return next(answer for words, answer in ANSWERS.items() if words in question)


@pytest.fixture
def places(aws: boto3.Session) -> boto3.Session:
    """Secrets as Terraform makes them: without a value."""
    for name in FACTS["names"].values():
        aws.client("secretsmanager").create_secret(Name=name)
    return aws


def test_every_secret_gets_a_value_that_its_reader_takes(places: boto3.Session) -> None:
    assert fill(places, FACTS, ask) == dict.fromkeys(FACTS["names"], True)
    assert len(value(places, "wafer-dev/postgresql")["password"]) >= 40
    uri = make_url(value(places, "wafer-dev/mlflow")["backend-store-uri"])
    assert (uri.drivername, uri.host, uri.database) == ("postgresql+psycopg2", FACTS["postgresql"], "mlflow")
    assert uri.query == {"sslmode": "verify-full", "sslrootcert": "/etc/rds/ca.pem"}
    stores = value(places, "wafer-dev/stores")
    assert TypeAdapter(list[str]).validate_json(stores["notification-urls"]) == ["json://host/path"]
    assert stores["mongo-uri"] == URI
    proxy = value(places, "wafer-dev/oauth2-proxy")
    assert (proxy["client-id"], proxy["client-secret"], len(proxy["cookie-secret"])) == ("wafer", "hush", 43)


def test_a_value_stays_until_another_is_asked_for(places: boto3.Session) -> None:
    fill(places, FACTS, ask)
    first = {name: value(places, full) for name, full in FACTS["names"].items()}
    assert fill(places, FACTS, ask) == dict.fromkeys(FACTS["names"], False)
    assert {name: value(places, full) for name, full in FACTS["names"].items()} == first
    assert fill(places, FACTS, ask, frozenset({"mlflow"}))["mlflow"] is True
    assert value(places, "wafer-dev/mlflow") != first["mlflow"]


def test_nonsense_is_refused_before_it_is_stored(places: boto3.Session) -> None:
    def answer(question: str, hidden: bool) -> str:
        return "slack://…" if "notifications" in question else ask(question, hidden)

    with pytest.raises(InfraError, match="no JSON list"):
        fill(places, FACTS, answer)
    with pytest.raises(InfraError, match="has no value yet"):
        value(places, "wafer-dev/stores")
    with pytest.raises(InfraError, match=r"no secret redis\. There are: mlflow, oauth2-proxy, postgresql, stores"):
        fill(places, FACTS, ask, frozenset({"redis"}))


def test_pods_sign_in_to_mongodb_with_their_role_and_no_password() -> None:
    pytest.importorskip("pymongo_auth_aws")
    plain = URI.replace("mongodb+srv://wafer-pri.example.mongodb.net", "mongodb://127.0.0.1:1")
    with MongoClient[dict[str, Any]](plain, connect=False) as client:
        assert client.options.pool_options._credentials[:3] == ("MONGODB-AWS", "$external", None)


def test_an_answer_is_a_json_document(places: boto3.Session) -> None:
    fill(places, FACTS, ask)
    for full in FACTS["names"].values():
        stored = places.client("secretsmanager").get_secret_value(SecretId=full)["SecretString"]
        assert all(isinstance(word, str) for word in json.loads(stored).values())

"""Roles and databases are made in a real PostgreSQL, may be made again, and are closed to each other."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from tests.deploy.infra.conftest import ROOT
from tests.kubernetes.postgres import Postgres, running_postgres

pytestmark = pytest.mark.services

SCRIPT = ROOT / "deploy" / "infra" / "databases.py"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres("127.0.0.1") as server:
        yield server


def make(server: Postgres, **passwords: str) -> str:
    """Run the script as the pod does: as text, with all it must know on its standard input."""
    master = {"host": server.host, "port": server.port, "user": "dagster", "password": server.password}
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "python", "-c", SCRIPT.read_text()],
        input=json.dumps({"master": master, "passwords": passwords, "certificates": ""}),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def connect(server: Postgres, user: str, password: str, database: str) -> "closing[psycopg2.extensions.connection]":
    return closing(psycopg2.connect(host=server.host, port=server.port, user=user, password=password, dbname=database))


def test_each_has_a_database_of_its_own_and_no_way_into_the_others(server: Postgres) -> None:
    said = make(server, ledger="one's secret", mlflow="another's")
    assert said == "Databases and roles are there: ledger, mlflow\n"
    with connect(server, "mlflow", "another's", "mlflow") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE runs (id int)")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        connect(server, "mlflow", "another's", "ledger")


def test_made_again_it_keeps_what_is_stored_and_takes_another_password(server: Postgres) -> None:
    make(server, kept="first")
    with connect(server, "kept", "first", "kept") as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE wafers AS SELECT 1537 AS number")
    make(server, kept="second")
    with connect(server, "kept", "second", "kept") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT number FROM wafers")
        assert cursor.fetchall() == [(1537,)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        connect(server, "kept", "first", "kept")

"""What is borrowed from inside MLflow is still there, and still called as we answer."""

import inspect
from importlib.metadata import version

import pytest

from tests.resources.adapters.borrowed import Borrowed, imported, private_imports, require

ADAPTER = "resources/adapters/mlflow.py"
USE = "serving the champion, in resources.scoring_server"
SCHEMA = {"schema": None}

BORROWED = [
    Borrowed("mlflow.protos.databricks_pb2:INVALID_PARAMETER_VALUE", USE),
    Borrowed("mlflow.pyfunc.scoring_server:init", USE, ("model",)),
    Borrowed("mlflow.pyfunc.scoring_server:parse_csv_input", USE, (), {"csv_input": None, **SCHEMA}),
    Borrowed("mlflow.pyfunc.scoring_server:infer_and_parse_data", USE, ("data",), SCHEMA),
    Borrowed("mlflow.exceptions:MlflowException", USE, ("reason", 1000)),
    Borrowed("mlflow.exceptions:MlflowException.serialize_as_json", USE, ("self",)),
]


@pytest.mark.parametrize("borrowed", BORROWED, ids=str)
def test_what_the_adapter_borrows_is_there(borrowed: Borrowed) -> None:
    require(borrowed, "mlflow", ADAPTER)


def test_no_import_of_the_adapter_is_forgotten_here() -> None:
    assert private_imports(ADAPTER, "mlflow") <= imported(BORROWED)


@pytest.mark.parametrize(("theirs", "ours"), [("parse_csv_input", "read_csv"), ("infer_and_parse_data", "read_json")])
def test_our_readers_take_what_the_scoring_server_gives_its_own(theirs: str, ours: str) -> None:
    from mlflow.pyfunc import scoring_server

    from resources.scoring_server import ServedBundle

    given = list(inspect.signature(getattr(scoring_server, theirs)).parameters)
    taken = list(inspect.signature(getattr(ServedBundle, ours)).parameters)[1:]
    assert given == taken, f"mlflow {version('mlflow')} reads requests otherwise; see {ADAPTER}"

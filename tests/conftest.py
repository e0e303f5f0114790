"""Fixtures that every test may use: real local services, started when the first test asks for them.

- ``settings``, ``s3``, ``mongo``: S3 and MongoDB for one test, with empty buckets, a database of its own and
  an empty state folder; ready in about two seconds, once.
- ``platform_settings``: the same on servers that include MLflow, which takes some ten seconds, once.
- ``shared_stores``, ``shared_platform``: the servers behind these, for tests of the servers themselves.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef
from pydantic import SecretStr

from resources.local_services import LocalServices
from resources.mongo import WaferStore
from resources.s3 import S3Store, s3_client
from wafer_assets.settings import Settings

# A shell that starts the tests in the background lets them ignore Ctrl-C, and `nohup` the end of the terminal: what
# they start would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the servers below; modules that start servers of their own mark themselves."""
    for item in items:
        if isinstance(item, pytest.Function) and {"shared_stores", "shared_platform"} & set(item.fixturenames):
            item.add_marker(pytest.mark.services)


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no test see the services or the state of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("WAFER_", "AWS_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WAFER_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def shared_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with LocalServices(Settings(state_dir=tmp_path_factory.mktemp("stores")), ("s3", "mongo")) as settings:
        yield settings


@pytest.fixture(scope="session")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with LocalServices(Settings(state_dir=tmp_path_factory.mktemp("platform"))) as settings:
        yield settings


@pytest.fixture
def settings(shared_stores: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings of running S3 and MongoDB servers, for one test."""
    yield _for_one_test(shared_stores, tmp_path)
    _empty_buckets(shared_stores)


@pytest.fixture
def platform_settings(shared_platform: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings of running S3, MongoDB and MLflow servers, for one test."""
    yield _for_one_test(shared_platform, tmp_path)
    _empty_buckets(shared_platform)


@pytest.fixture
def s3(settings: Settings) -> S3Store:
    """Empty buckets."""
    return S3Store(settings)


@pytest.fixture
def mongo(settings: Settings) -> WaferStore:
    """An empty wafer store."""
    return WaferStore(settings)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the variables that make a process use the services of the settings."""
    values = {
        "STATE_DIR": settings.state_dir,
        "S3__ENDPOINT_URL": settings.s3.endpoint_url,
        "S3__ACCESS_KEY_ID": settings.s3.access_key_id,
        "S3__SECRET_ACCESS_KEY": settings.s3.secret_access_key,
        "MONGO__URI": settings.mongo.uri,
        "MONGO__DATABASE": settings.mongo.database,
        "MLFLOW__TRACKING_URI": settings.mlflow.tracking_uri,
        "MLFLOW__EXPERIMENT": settings.mlflow.experiment,
        "MLFLOW__MODEL_NAME": settings.mlflow.model_name,
    }
    return {
        f"WAFER_{name}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
        if value is not None
    }


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process's environment point at the services of the settings."""
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)


def _for_one_test(shared: Settings, tmp_path: Path) -> Settings:
    name = uuid4().hex[:8]
    return shared.model_copy(
        update={
            "state_dir": tmp_path / "state",
            "mongo": shared.mongo.model_copy(update={"database": f"test-{name}"}),
            "mlflow": shared.mlflow.model_copy(update={"experiment": f"e-{name}", "model_name": f"m-{name}"}),
        }
    )


def _empty_buckets(shared: Settings) -> None:
    store = S3Store(shared)
    client = s3_client(shared.s3)
    for bucket in (store.landing, store.lake):
        keys = [item.key for item in store.list_objects(bucket)]
        for start in range(0, len(keys), 1_000):
            objects: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys[start : start + 1_000]]
            client.delete_objects(Bucket=bucket, Delete={"Objects": objects})

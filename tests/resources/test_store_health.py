"""Which store is away is known soon, by its name, and whether it is gone or only hangs."""

import socket
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from resources import store_health
from resources.local_services import free_port
from resources.store_health import silent_stores, watched
from tests.waiting import wait_until
from wafer_assets.settings import MLflowSettings, MongoSettings, S3Settings, Settings


def stores(tmp_path: Path, s3: int, mongo: int, mlflow: int) -> Settings:
    return Settings(
        state_dir=tmp_path,
        s3=S3Settings(endpoint_url=f"http://127.0.0.1:{s3}"),
        mongo=MongoSettings(uri=SecretStr(f"mongodb://wafer:secret@127.0.0.1:{mongo}/?authSource=admin")),
        mlflow=MLflowSettings(tracking_uri=f"http://127.0.0.1:{mlflow}"),
    )


def test_stores_that_work_are_not_named(platform_settings: Settings) -> None:
    assert silent_stores(platform_settings) == {}
    assert silent_stores(Settings()) == {}, "what is not set is not asked"


def test_a_store_that_is_gone_or_hangs_is_named_with_its_address_and_what_to_do(tmp_path: Path) -> None:
    gone = free_port()
    with socket.create_server(("127.0.0.1", 0)) as hung, socket.create_server(("127.0.0.1", 0)) as hung_too:
        ports = hung.getsockname()[1], hung_too.getsockname()[1]
        begun = time.monotonic()
        silent = silent_stores(stores(tmp_path, gone, *ports))
        assert time.monotonic() - begun < 2 * store_health.ANSWER_SECONDS, "they are asked side by side"
    assert list(silent) == ["S3", "MongoDB", "MLflow"]
    assert silent["MongoDB"].startswith(
        f"MongoDB at 127.0.0.1:{ports[0]} does not answer: start it, or correct WAFER_MONGO__URI."
    )
    assert "secret" not in "".join(silent.values())


def test_who_waits_is_told_within_ten_seconds_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = store_health._FIRST_SECONDS + store_health._EVERY_SECONDS + store_health.ANSWER_SECONDS
    assert longest < 10
    for name in ("_FIRST_SECONDS", "_EVERY_SECONDS"):
        monkeypatch.setattr(store_health, name, 0.01)
    told: list[str] = []
    settings = stores(tmp_path, free_port(), free_port(), free_port())
    settings = settings.model_copy(update={"mongo": MongoSettings(), "mlflow": MLflowSettings()})
    with watched(lambda: settings, told.append):
        wait_until(lambda: told, 5)
        time.sleep(0.2)
    assert len(told) == 1
    assert told[0].startswith("S3 at 127.0.0.1")

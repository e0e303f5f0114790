"""Settings: environment first, then the file of the local services; secrets never show."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from wafer_assets.settings import SERVICES_FILE, SERVICES_LOCK, load_settings
from wafer_assets.settings.layout import make_ready


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAFER_STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def left_behind(state_dir: Path) -> Path:
    """What a crash leaves: the file, and a lock that nobody holds."""
    make_ready(state_dir)
    lock = state_dir / SERVICES_LOCK
    lock.touch()
    (state_dir / SERVICES_FILE).write_text(
        "WAFER_S3__ENDPOINT_URL=http://127.0.0.1:20001\n"
        "WAFER_S3__ACCESS_KEY_ID=key\n"
        "WAFER_S3__SECRET_ACCESS_KEY=hunter2\n"
        "WAFER_MONGO__URI=mongodb://wafer:hunter2@127.0.0.1:20002/?authSource=admin\n"
    )
    return lock


@pytest.fixture
def running(left_behind: Path) -> Iterator[None]:
    with left_behind.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_without_services_everything_has_a_default_and_no_endpoint_is_set(state_dir: Path) -> None:
    settings = load_settings()
    assert settings.environment == "local"
    assert settings.state_dir == state_dir
    assert settings.s3.landing_bucket == "landing"
    assert settings.s3.endpoint_url is None
    assert settings.mongo.uri is None
    assert settings.mlflow.tracking_uri is None


def test_the_state_folder_is_absolute_wherever_it_is_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAFER_STATE_DIR")
    monkeypatch.chdir(tmp_path)
    assert load_settings().state_dir == tmp_path / ".wafer"


@pytest.mark.usefixtures("running")
def test_running_services_are_found() -> None:
    settings = load_settings()
    assert settings.s3.endpoint_url == "http://127.0.0.1:20001"
    assert settings.mongo.uri is not None
    assert settings.mongo.uri.get_secret_value().startswith("mongodb://wafer:hunter2@127.0.0.1:20002")


@pytest.mark.usefixtures("left_behind")
def test_services_that_are_gone_are_not_believed() -> None:
    assert load_settings().s3.endpoint_url is None


@pytest.mark.usefixtures("running")
def test_the_environment_wins_over_running_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAFER_S3__ENDPOINT_URL", "https://s3.example.com")
    settings = load_settings()
    assert settings.s3.endpoint_url == "https://s3.example.com"
    assert settings.s3.access_key_id is not None


@pytest.mark.usefixtures("running")
def test_production_ignores_local_services_and_needs_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAFER_ENVIRONMENT", "production")
    settings = load_settings()
    assert settings.s3.endpoint_url is None
    assert settings.s3.access_key_id is None
    assert settings.mongo.uri is None


@pytest.mark.usefixtures("running")
def test_secrets_do_not_show() -> None:
    settings = load_settings()
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("WAFER_ENVIRONMENT", "staging", "environment"),
        ("WAFER_S3__LANDING_BUCKET", "Not A Bucket", "landing_bucket"),
        ("WAFER_S3__ENDPIONT_URL", "http://hunter2", "endpiont_url"),
        ("WAFER_S3__ACCESS_KEY_ID", "hunter2", "set both access_key_id and secret_access_key"),
        ("WAFER_PORTS__S3", "80", "ports.s3"),
    ],
)
@pytest.mark.usefixtures("state_dir")
def test_a_wrong_value_is_refused_by_name_and_not_shown(
    variable: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=complaint) as error:
        load_settings()
    assert "hunter2" not in str(error.value)


def test_settings_cannot_be_changed(state_dir: Path) -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.state_dir = state_dir.parent  # type: ignore[misc]

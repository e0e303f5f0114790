"""Environments that a person may type commands in."""

from pathlib import Path

import pytest

from tests.conftest import use
from wafer_assets.settings import Settings


@pytest.fixture
def stores(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An environment that points at running S3 and MongoDB servers."""
    use(settings, monkeypatch)
    return settings


@pytest.fixture
def platform(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An environment that points at running S3, MongoDB and MLflow servers."""
    use(platform_settings, monkeypatch)
    return platform_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type commands in, where the state would be kept too, and no services."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WAFER_STATE_DIR", str(folder / ".wafer"))
    return folder

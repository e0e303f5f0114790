"""A repository for one test."""

from pathlib import Path

import pytest

from tests.deploy.ci.sample import Repository


@pytest.fixture
def sources(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "sources")

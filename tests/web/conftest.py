"""A small model, for all tests of what serves it."""

import pytest

from tests.web.wafers import small_bundle
from wafer_assets.domain.scoring import Bundle


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return small_bundle()

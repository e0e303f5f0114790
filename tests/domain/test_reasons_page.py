"""The page of all reasons is that of the code, and each example shows its reason and no other."""

from pathlib import Path

import pytest

from wafer_assets.domain.contract import KINDS
from wafer_assets.domain.reasons_page import EXAMPLES, page, reasons_of

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"


def test_page_is_current() -> None:
    assert PAGE.read_text() == page(), "`make reasons` writes it anew"


def test_every_code_has_an_example() -> None:
    assert list(EXAMPLES) == list(KINDS)


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_shows_its_reason_alone(code: str) -> None:
    assert [reason.code for reason in reasons_of(EXAMPLES[code])] == [code]

"""What others wrote is shown as they wrote it, wherever it is shown."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.domain.test_contract_declarations import GOOD, refused, schema
from wafer_assets.domain.foreign_text import markdown

HOSTILE = [
    "[click](javascript:alert(1))",
    "![x](https://evil.example/seen.png)",
    "<img src=x onerror=alert(1)>",
    "<https://evil.example>",
    "**loud** _and_ `code` ~~gone~~",
    "# a title",
    "- a list\n- of two",
    "| a | table |\n|---|---|\n| x | y |",
    "```\ncode\n```",
    "[x]: https://evil.example",
    "&lt;script&gt; \\[x\\]",
    "[/x] 1. 2) > + ---",
]


def shown(text: str) -> tuple[str, set[str]]:
    """Return the text that a reader of the Markdown sees, and the kinds of things it is made of."""
    tokens = [token for block in MarkdownIt("js-default").parse(text) for token in (block.children or [block])]
    return "".join(token.content for token in tokens), {token.type for token in tokens}


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_what_was_written(text: str) -> None:
    seen, kinds = shown(f"- {markdown(text)}")
    assert seen == " ".join(text.split())
    assert not kinds & {
        "link_open",
        "image",
        "html_inline",
        "html_block",
        "code_inline",
        "strong_open",
        "em_open",
        "fence",
    }


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]) | st.just(" "), max_size=60))
def test_no_text_becomes_anything_but_text(text: str) -> None:
    assert shown(f"a {markdown(text)}")[0] == f"a {' '.join(text.split())}".rstrip()


@pytest.mark.parametrize("wafer", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=HYPERLINK(1)"])
def test_no_id_is_a_formula(wafer: str) -> None:
    line = schema(wafer_id={"pattern": ".+", "example": "A1"})
    (reason,) = refused(GOOD.replace("Wafer-1", wafer), line, False)
    assert reason.code == "wafer_id_unsafe"


@pytest.mark.parametrize("wafer", ["1E5", "00012", "2020-01-02", "TRUE", "1_000", "0x1F"])
def test_an_id_that_a_spreadsheet_would_change_is_written_as_it_is(wafer: str) -> None:
    written = pd.DataFrame({"wafer": [wafer], "probability": [0.5]}).to_csv(index=False)
    assert list(csv.reader(io.StringIO(written)))[1][0] == wafer

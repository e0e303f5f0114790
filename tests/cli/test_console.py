"""What is printed: whole names where a program reads it, tables that fit where a person does, and text as text."""

import json
import sys
from datetime import datetime, timedelta, timezone

import pytest

from tests.shell import in_terminal
from wafer_assets.cli.console import facts, output, print_json, printable, table

HOSTILE = ["[/x]", "[bold red]x[/bold red]", ":smile:", "a\nb", "\x1b[31mred", "\x07\x08", "a‮b", "\ud800", "\\[x]"]
NAME = f"wafer_{'long' * 100}.csv"

PRINTED = f"""
from wafer_assets.cli.console import facts, output, table
name = "wafer_13012020_090817.csv"
rows = [[name, 7, "reading_not_numeric", "a sentence of several words that may well be folded " * 3]] * 2
output.print(table(("batch", "line", "code", "what to do"), rows, title="Refused"))
output.print(facts("Of one thing", [("file", f"secom/training/{{name}}"), ("  because", "It is needed. " * 20)]))
output.print(table(("batch", "other"), [[{NAME!r}, {NAME!r}]]))
"""


@pytest.mark.parametrize("columns", [80, 200])
def test_in_a_terminal_everything_fits_and_nothing_is_cut(columns: int) -> None:
    shown = in_terminal(columns, sys.executable, "-c", PRINTED)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in shown
    # Names that there is room for are in one piece.
    assert sum("wafer_13012020_090817.csv" in line for line in lines) == 3
    assert sum("reading_not_numeric" in line for line in lines) == 2
    # And what there is no room for is folded.
    last_table = shown.rpartition("┏")[2]
    folded = [line.split("│")[1].strip() for line in last_table.splitlines() if line.startswith("│")]
    assert "".join(folded) == NAME


@pytest.mark.parametrize("columns", ["80", "200"])
def test_elsewhere_a_row_is_one_line_however_long(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    output.print(table(("batch", "why"), [[NAME, "a sentence " * 50]], title=NAME))
    output.print(facts(NAME, [("file", NAME * 3)]))
    output.print(NAME * 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == NAME
    assert [line for line in lines if f"│ {NAME} │ a sentence a sentence " in line]
    assert lines[-3:] == [NAME, f"file  {NAME * 3}", NAME * 2]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_text_from_outside_is_printed_as_it_stands(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print(table((text, "other"), [[text, text]], title=text))
    output.print(facts(text, [(text, text)]))
    shown = capsys.readouterr().out
    assert shown.count(printable(text)) == 7
    for line in shown.splitlines():
        assert line.isprintable()
    if "\n" not in text:
        output.print(text)
        assert capsys.readouterr().out == f"{printable(text)}\n"


def test_json_has_plain_values_and_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    east = timezone(timedelta(hours=2))
    print_json([{"at": datetime(2026, 1, 2, 1, 30, 5, 999, tzinfo=east), "name": HOSTILE[4], "nothing": None}])
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert json.loads(shown) == [{"at": "2026-01-01T23:30:05Z", "name": HOSTILE[4], "nothing": None}]
    with pytest.raises(TypeError):
        print_json([object()])
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json([float("nan")])

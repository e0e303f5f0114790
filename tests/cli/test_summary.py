"""The summary in the terminal; `tests/operations/test_facts.py` has what it is made of."""

import pytest

from wafer_assets.cli.console import output
from wafer_assets.cli.summary import render_summary

FILES = {"received": 3, "accepted": 2, "quarantined": 1, "held": 0, "quarantined_by_reason": {"[/x]": 1}}
SCORED = {
    "batch": f"[red]{'long' * 100}.csv",
    "wafers": 1,
    "alarms": 0,
    "highest_probability": 0.5,
    "bundle_version": 1,
}


def test_it_shows_what_is_known_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {
        "files": FILES,
        "champion": {"version": None, "decision": "keep", "reasons": ["Not [bold]better[/bold]."]},
        "predictions": [SCORED],
    }
    output.print(render_summary(summary, {"these facts": "/[state]/summary.json"}))
    lines = capsys.readouterr().out.splitlines()
    for shown in ("  [/x]             1", "champion     none yet", "  keep       Not [bold]better[/bold]."):
        assert shown in lines
    assert "these facts  /[state]/summary.json" in lines
    assert any(f"│ {SCORED['batch']} │ 1 " in line for line in lines)


def test_what_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.print(render_summary({}, {"these facts": "here"}))
    assert capsys.readouterr().out.splitlines() == ["Model and where to look next", "these facts  here"]

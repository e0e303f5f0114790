"""How a run is shown while a command waits for it."""

import logging

import pytest

from wafer_assets.cli.run_view import RunView


def record(message: str, level: int = logging.INFO, step: str = "training__[/x]") -> logging.LogRecord:
    made = logging.LogRecord("dagster", level, __file__, 1, message, None, None)
    made.dagster_meta = {"step_key": step, "orig_message": message}
    return made


def test_warnings_are_shown_as_text_and_what_follows_from_a_failure_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = RunView()
    with view.shown("ingest_[training]"):
        view.emit(record("Nothing that matters"))
        view.emit(record("batch [/red]\x1b[31m.csv\nwas refused", logging.WARNING))
        view.emit(record("Dependencies for step x failed: ['y']. Not executing.", logging.ERROR))
    assert capsys.readouterr().err.splitlines() == [
        "ingest_[training]",
        "  ! training/[/x]: batch [/red]\\x1b[31m.csv",
        "was refused",
        "",
    ]

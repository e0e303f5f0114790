"""The rules of `rules/*.yaml`: read, with the addresses of their runbook, and all durations divided where asked."""

import re
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "rules"
RUNBOOK = "https://git.example.com/wafer/wafer-fault-platform/blob/main/docs/monitoring.md"

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MINUTES = re.compile(r"\((\d+) \* 60\)")
_RANGE = re.compile(r"\[(\d+)([smhd])\]")


def rule_files() -> list[Path]:
    """Return the files, by name."""
    return sorted(FOLDER.glob("*.yaml"))


def read_rules(file: Path, runbook: str = RUNBOOK, factor: int = 1) -> dict[str, Any]:
    """Return the rules of a file, as Prometheus takes them.

    Parameters
    ----------
    file
        To read.
    runbook
        Address of the page with a section for each alert.
    factor
        That every duration is divided by: minutes in expressions, ranges and `for`.
    """
    rules: dict[str, Any] = yaml.safe_load(file.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if "alert" in rule:
            rule["annotations"]["runbook_url"] = f"{runbook}#{rule['alert'].lower()}"
        if factor > 1:
            rule["expr"] = _faster(rule["expr"], factor)
            if "for" in rule:
                rule["for"] = f"{_milliseconds(rule['for'][:-1], rule['for'][-1], factor)}ms"
    return rules


def _faster(expression: str, factor: int) -> str:
    divided = _MINUTES.sub(lambda found: f"({found[1]} * 60 / {factor})", expression)
    return _RANGE.sub(lambda found: f"[{_milliseconds(found[1], found[2], factor)}ms]", divided)


def _milliseconds(number: str, unit: str, factor: int) -> int:
    return int(number) * _SECONDS[unit] * 1_000 // factor

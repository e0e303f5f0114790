"""Programs that the commands call: Git, Skopeo, kubectl and the scanners."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from deploy.image import ROOT

BUILD = ROOT / "build"
"""What the commands leave for the pipeline."""


def output(*command: str, within: Path = ROOT) -> str:
    """Return what a program prints, without the last line's end.

    Raises
    ------
    click.ClickException
        The program is missing, or failed: with its own words.
    """
    try:
        finished = subprocess.run(command, cwd=within, capture_output=True, text=True)
    except FileNotFoundError:
        raise click.ClickException(f"`{command[0]}` is not installed.") from None
    if finished.returncode:
        raise click.ClickException(f"`{shown(command)}` failed: {finished.stderr.strip() or finished.stdout.strip()}")
    return finished.stdout.rstrip("\n")


def succeeds(*command: str, within: Path = ROOT) -> bool:
    """Tell whether a program ends well; what it prints is of no interest."""
    return not subprocess.run(command, cwd=within, capture_output=True).returncode


def shown(command: Sequence[str]) -> str:
    """Return the beginning of a command, which is enough to know it."""
    return " ".join(command[:3]) + (" ..." if len(command) > 3 else "")

"""The `wafer` command as people type it: in this process, in one of its own, in a terminal of a given width."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import psutil
from click.testing import CliRunner, Result

from wafer_assets.cli import main

WAFER = str(Path(sys.executable).with_name("wafer"))


def call(*arguments: str | Path) -> Result:
    """Run the command in this process, with its environment."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="wafer")


def wafer(state: Path, *arguments: str | Path, seconds: float = 280) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, on a state folder."""
    return subprocess.run(
        [WAFER, *map(str, arguments)],
        env={**os.environ, "WAFER_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def require_documented(document: Any, *command: str) -> None:
    """Require that the command's help names every key of a document that it printed."""
    named = set(re.findall(r"`(\w+)`", " ".join(call(*command, "--help").output.split())))
    missing = keys_of(document) - named
    assert not missing, f"`wafer {' '.join(command)} --help` does not name {sorted(missing)}"


def keys_of(document: Any) -> set[str]:
    """Return every key of a document, however deep."""
    if isinstance(document, dict):
        return set(document).union(*map(keys_of, document.values()))
    return set().union(*map(keys_of, document)) if isinstance(document, list) else set()


def processes_of(state: Path) -> list[psutil.Process]:
    """Return the processes that were started on a state folder and still run."""
    processes = []
    for process in psutil.process_iter():
        try:
            if str(state) in process.environ().values():
                processes.append(process)
        except psutil.Error:
            continue
    return processes


def in_terminal(columns: int, *command: str) -> str:
    """Return what a command prints to a terminal of that width, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65_536):
                shown += piece
        except OSError:  # its end, as Linux tells it
            pass
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")

"""Dagster's daemon with its code server, for tests of what only they do."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


@contextmanager
def daemon(home: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run Dagster's daemon with its code server; it ends by a power cut: all is killed, the runs too."""
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(ROOT / "workspace.yaml")]
    variables = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore", **environment}
    with (home / "daemon.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        while left := marked(str(home)):  # what starts meanwhile is found the next time
            for each in left:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(left, timeout=5)
            process.poll()
        process.wait(10)


def marked(value: str) -> list[psutil.Process]:
    """Find the processes that carry a value in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if value in process.environ().values():
                found.append(process)
    return found

"""How long each part of a session on a cluster takes."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES: list[tuple[str, float]] = []
"""Names and seconds, in the order in which they ended."""


@contextmanager
def phase(name: str, *, aloud: bool = False) -> Iterator[None]:
    """Note how long something takes, for the table at the end, and say it at once if asked to."""
    started = time.monotonic()
    try:
        yield
    finally:
        PHASES.append((name, time.monotonic() - started))
        if aloud:
            sys.stderr.write(f"{PHASES[-1][1]:7.1f} s  {name}\n")

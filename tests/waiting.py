"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def wait_until(reached: Callable[[], object], seconds: float = 60, *, look_every: float = 0.05) -> None:
    """Look until it is reached; fail where that takes too long."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(look_every)

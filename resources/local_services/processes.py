"""Processes of this machine: how they end, with whom, and whether they have."""

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

# SeaweedFS waits ten seconds for its maintenance; killed, it loses no acknowledged object.
STOP_SECONDS = 3.0
POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1


def die_with(supervisor: int) -> None:
    """Ask the kernel, in a new process before its program starts, to end it with the supervisor."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the supervisor's handler would only take note
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it ended before it could be asked for
        os._exit(1)


def end(processes: Sequence[psutil.Process], *, seconds: float = STOP_SECONDS) -> None:
    """Ask the processes to end, kill those that have not after some seconds, and return when all are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        deadline = time.monotonic() + seconds
        while (processes := [each for each in processes if _is_alive(each)]) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _is_alive(process: psutil.Process) -> bool:
    """Return whether the process runs; one that ended and waits for its parent to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def memory(process: psutil.Process) -> int:
    """Return the bytes that a process holds; none where it has just ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0

"""The reaper: a process that ends what another one has started, however that one ends.

What is started carries a mark in its environment, which its own children inherit. The reaper waits for the end of the
process that started it, which even a kill makes known, and then ends whatever carries the mark. Where both were killed,
whoever starts the same things again clears them up first.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from resources.local_services.processes import end

MARK = "WAFER_REAPED"
"""Variable of the environment of all that is started under a reaper."""


def marked(mark: str) -> list[psutil.Process]:
    """Find the processes that carry a mark, but for this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.pid != os.getpid():
                found.append(process)
    return found


def end_marked(mark: str) -> bool:
    """End the processes that carry a mark, and those that they start meanwhile; return whether there were any."""
    any_found = False
    while found := [each for each in marked(mark) if each.status() != psutil.STATUS_ZOMBIE]:
        any_found = True
        end(found)
    return any_found


@contextmanager
def reaped(mark: str) -> Iterator[None]:
    """End whatever carries the mark: now, at the end of the block, and if this process is killed within it."""
    end_marked(mark)
    # In a session of its own, so that neither Ctrl-C nor the end of the terminal reaches it.
    reaper = subprocess.Popen(
        [sys.executable, "-m", __name__, mark], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert reaper.stdin is not None
    try:
        yield
    finally:
        reaper.stdin.close()
        reaper.wait()


def main() -> None:
    """Be the reaper of a mark: wait for the end of the standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(sys.argv[1])


if __name__ == "__main__":
    main()

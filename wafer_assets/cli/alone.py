"""One of a kind at a time on a state folder: commands that would do each other's work twice, or end each other's."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from wafer_assets.cli.console import console
from wafer_assets.settings import Settings
from wafer_assets.settings.layout import make_ready


@contextmanager
def alone(settings: Settings, command: str, *, wait: bool = False) -> Iterator[None]:
    """Let no second one of a command work on the state folder within the block.

    The lock ends with its process, however that ends.

    Parameters
    ----------
    settings
        Name the state folder.
    command
        Its name, without `wafer`.
    wait
        Whether to wait, and say so, where there is another one.

    Raises
    ------
    click.ClickException
        There is another one, and this one does not wait.
    """
    make_ready(settings.state_dir)
    with (settings.state_dir / f"{command}.lock").open("a+") as lock:
        while not _taken(lock):
            lock.seek(0)
            other = f"`wafer {command}` runs in {settings.state_dir} already (process {lock.read() or 'unknown'})."
            if not wait:
                raise click.ClickException(
                    f"{other} Stop that one with Ctrl-C, or set WAFER_STATE_DIR to another folder."
                )
            console.print(f"{other} Waiting for it to end. Ctrl-C gives up.")
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_UN)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

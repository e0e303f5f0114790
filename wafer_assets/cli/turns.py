"""Whose turn it is to train, for runs of the command line, which no daemon queues."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

import dagster as dg

from resources.adapters.dagster import POOL_TAG_PREFIX
from resources.run_launcher import RunProcess
from resources.trainings import training_pool
from wafer_assets.cli.console import console
from wafer_assets.settings import Settings
from wafer_assets.settings.layout import make_ready

LOOK_SECONDS = 0.5
"""Between two looks at whether the other training has ended."""

DAEMON_SECONDS = 120
"""After this long without a sign of life there is no daemon, and nobody ends a run of its whose process is gone."""


@contextmanager
def turn_to_train(settings: Settings, instance: dg.DagsterInstance, line: str, run_id: str) -> Iterator[None]:
    """Wait until no other training of a line is at work; further ones wait until the block ends.

    The command line's trainings hold a lock in the state folder, which ends with their process however that ends.
    A daemon's are found in the instance, and the daemon counts those of the command line in the pool.
    """
    make_ready(settings.state_dir)
    with (settings.state_dir / f"training_{line}.lock").open("a+") as lock:
        announced = None
        while ahead := _of_the_command_line(lock, run_id) or _of_the_daemon(instance, line):
            if ahead != announced:
                console.print(f"Waiting for the training {ahead} to end. Ctrl-C gives up.")
                announced = ahead
            time.sleep(LOOK_SECONDS)
        yield


def _of_the_command_line(lock: TextIO, run_id: str) -> str | None:
    """Take the lock; where another process has it, return what that one says of itself."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        return lock.read() or "of another process"  # which is about to say more
    lock.truncate(0)
    lock.write(_described(run_id, datetime.now(UTC), f", process {os.getpid()}"))
    lock.flush()
    return None


def _of_the_daemon(instance: dg.DagsterInstance, line: str) -> str | None:
    """Return the training of a line that a daemon runs, if there is one."""
    signs = [heartbeat.timestamp for heartbeat in instance.get_daemon_heartbeats().values()]
    if not signs or time.time() - max(signs) > DAEMON_SECONDS:
        return None
    at_work = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for record in instance.get_run_records(
        dg.RunsFilter(statuses=at_work, tags={f"{POOL_TAG_PREFIX}{training_pool(line)}": "true"})
    ):
        if RunProcess.of(record.dagster_run) is None:
            return _described(record.dagster_run.run_id, record.create_timestamp)
    return None


def _described(run_id: str, since: datetime, more: str = "") -> str:
    return f"{run_id[:8]} (since {since.astimezone():%H:%M:%S}{more})"

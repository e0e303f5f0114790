"""The reaper ends what was started, also where its starter was killed and could not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resources.reaper import MARK, marked, reaped
from tests.waiting import wait_until

# A child and a grandchild that ask not to be ended.
STUBBORN = """
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, "-c", open(sys.argv[1]).read()], start_new_session=True)
time.sleep(120)
"""
STARTER = """
import os, subprocess, sys, time
from resources.reaper import MARK, reaped
with reaped(sys.argv[1]):
    subprocess.Popen([sys.executable, sys.argv[2], sys.argv[2]], env={**os.environ, MARK: sys.argv[1]})
    time.sleep(120)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_what_was_started_ends_with_its_starter_however_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    mark, script = str(tmp_path), tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    with subprocess.Popen([sys.executable, "-c", STARTER, mark, str(script)]) as starter:
        wait_until(lambda: len(marked(mark)) == 2, 20)
        starter.send_signal(how)
        starter.wait(10)
    wait_until(lambda: not marked(mark), 10)


def test_what_an_earlier_starter_left_is_ended_first(tmp_path: Path) -> None:
    environment = {**os.environ, MARK: str(tmp_path)}
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], env=environment) as left,
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"]) as other,
        reaped(str(tmp_path)),
    ):
        assert left.wait(5) == -signal.SIGTERM
        assert other.poll() is None
        other.kill()

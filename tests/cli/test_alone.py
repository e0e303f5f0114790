"""Two of a command at once on one state folder: one refuses, the other waits, and both say for whom."""

import fcntl
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell import WAFER, call
from tests.waiting import wait_until

HOLDER = """
import sys
from wafer_assets.cli.alone import alone
from wafer_assets.settings import load_settings
with alone(load_settings(), sys.argv[1]):
    print("alone", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that is alone with the command of the parameter."""
    command = [sys.executable, "-c", HOLDER, request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "alone\n"
        yield process
        process.kill()


@pytest.mark.parametrize("holder", ["dev"], indirect=True)
def test_a_second_dev_is_refused_until_the_first_is_killed(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    refused = call("dev")
    assert refused.exit_code == 1
    assert f"`wafer dev` runs in {tmp_path / 'state'} already (process {holder.pid})" in refused.output
    assert "Ctrl-C" in refused.output
    holder.kill()
    holder.wait(5)
    with (tmp_path / "state" / "dev.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("holder", ["demo"], indirect=True)
def test_a_second_demo_waits_and_starts_nothing_meanwhile(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with shown.open("w") as output, subprocess.Popen([WAFER, "demo"], stdout=output, stderr=output) as second:
        wait_until(lambda: re.search(rf"process {holder.pid}\)\. Waiting for it to end", shown.read_text()), 20)
        assert second.poll() is None
        assert not (tmp_path / "state" / "services.lock").exists()
        second.kill()

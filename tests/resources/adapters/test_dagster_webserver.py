"""What is borrowed from Dagster's webserver and `dagster dev`; tests/web/test_dagster_ui.py runs them for real."""

import inspect
import sys

import pytest
from dagster._cli import dev

from resources.adapters import dagster_webserver
from tests.resources.adapters.borrowed import Borrowed, require

GUARD = "putting the guard in front of the webserver, in wafer_assets.web.dagster_ui"
BORROWED = [
    Borrowed("dagster._cli.dev:dev_command", GUARD),
    Borrowed("dagster_shared.ipc:open_ipc_subprocess", GUARD, (["command"],), {"pass_fds": [1]}),
    Borrowed("dagster_webserver.cli:cli", GUARD),
    Borrowed("dagster_webserver.cli:uvicorn.run", GUARD, (object(),), {"host": "h", "port": 1, "log_level": "info"}),
]


@pytest.mark.parametrize("borrowed", BORROWED, ids=str)
def test_what_is_borrowed_is_there(borrowed: Borrowed) -> None:
    require(borrowed, "dagster", "resources/adapters/dagster_webserver.py")


def test_dagster_dev_still_starts_the_webserver_as_the_command_that_is_exchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert '[sys.executable, "-m", "dagster_webserver"]' in inspect.getsource(dev.dev_command_impl)
    started: list[list[str]] = []
    monkeypatch.setattr(dagster_webserver, "open_ipc_subprocess", lambda command, **_: started.append(command))
    monkeypatch.setattr(dev, "open_ipc_subprocess", None)  # put back after the test

    def run(*_: object, **__: object) -> None:
        for module in ("dagster_webserver", "dagster._daemon"):
            dev.open_ipc_subprocess([sys.executable, "-m", module, "run"])

    monkeypatch.setattr(dev, "dev_command", run)
    dagster_webserver.run_dev([], "ours")
    assert started == [[sys.executable, "-m", "ours", "run"], [sys.executable, "-m", "dagster._daemon", "run"]]

"""Who is told of which alert: as amtool says, and as a real Alertmanager does it."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
import yaml

from deploy.monitoring.local import program
from deploy.monitoring.routes import read_routes
from tests.deploy.monitoring.hook import open_hook
from tests.deploy.monitoring.servers import alertmanager, needs_prometheus
from tests.waiting import wait_until

WEBHOOKS = {
    "platform": "http://127.0.0.1:1/p",
    "watchdog": "http://127.0.0.1:1/w",
    "etch-shift": "http://127.0.0.1:1/e",
}
LINES = {"etch": ["etch-shift", "unknown"], "secom": []}

pytestmark = needs_prometheus


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("alertname=Watchdog", "severity=none"), "watchdog"),
        (("alertname=DaemonSilent", "severity=critical"), "platform"),
        (("alertname=RunsQueued", "severity=warning"), "platform"),
        (("alertname=FilesWaiting", "severity=critical", "line=etch"), "platform,etch-shift"),
        (("alertname=TableStale", "severity=warning", "line=etch"), "etch-shift"),
        (("alertname=TableStale", "severity=warning", "line=secom"), "platform"),
        (("alertname=TableStale", "severity=warning", "line=undeclared"), "platform"),
        # AWS' alarm of the budget comes in as an alert, too.
        (("alertname=Budget", "severity=warning"), "platform"),
    ],
)
def test_an_alert_reaches_whom_it_is_about(tmp_path: Path, labels: tuple[str, ...], receivers: str) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(read_routes(WEBHOOKS, LINES)))
    command = [
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={file}",
        f"--verify.receivers={receivers}",
        *labels,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_amtool_finds_nothing_wrong(tmp_path: Path) -> None:
    for number, config in enumerate((read_routes(WEBHOOKS, LINES), read_routes({}, {}))):
        file = tmp_path / f"{number}.yml"
        file.write_text(yaml.safe_dump(config))
        done = subprocess.run(
            [program("amtool"), "check-config", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.services
def test_an_alert_goes_through_a_real_alertmanager_and_what_it_explains_does_not(tmp_path: Path) -> None:
    with open_hook() as hook:
        config = read_routes({"platform": hook.url, "etch-shift": hook.url + "/etch"}, LINES)
        config["route"]["group_wait"] = "200ms"
        for route in config["route"]["routes"]:
            route["group_wait"] = "200ms"
        now = datetime.now(UTC).isoformat()
        alerts = [
            {"labels": {"alertname": name, **labels}, "annotations": {"summary": name}, "startsAt": now}
            for name, labels in (
                ("SourceAway", {"severity": "critical", "source": "mongodb"}),
                ("FilesWaiting", {"severity": "critical", "line": "etch"}),
                ("TableStale", {"severity": "warning", "line": "etch"}),
            )
        ]
        with alertmanager(tmp_path, config) as url:
            for some in (alerts[:1], alerts[1:]):
                told = len(hook.messages)
                assert requests.post(f"{url}/api/v2/alerts", json=some, timeout=10).ok
                wait_until(lambda told=told: len(hook.messages) > told, seconds=20)  # type: ignore[misc]
            state = {
                each["labels"]["alertname"]: each["status"]["state"]
                for each in requests.get(f"{url}/api/v2/alerts", timeout=10).json()
            }
    assert state["FilesWaiting"] == "suppressed"
    assert hook.names("") == {"SourceAway"}
    assert hook.names("/etch") == {"TableStale"}

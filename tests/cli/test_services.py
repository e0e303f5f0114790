"""`wafer services` where none run, and what it says of those that do."""

import json

import pytest

from tests.shell import call, require_documented
from wafer_assets.settings import Settings


@pytest.mark.usefixtures("folder")
def test_without_services_the_status_says_how_to_start_them() -> None:
    shown = call("services", "status")
    assert shown.exit_code == 1
    assert shown.stdout.count("stopped") == 3
    assert "wafer services up" in shown.stderr
    listed = call("services", "status", "--json")
    assert listed.exit_code == 1
    assert json.loads(listed.stdout) == [
        {"name": name, "state": "stopped", "url": None, "memory_mb": None, "pids": []}
        for name in ("s3", "mongo", "mlflow")
    ]
    assert "Nothing was running" in call("services", "down").output


def test_the_status_of_running_services_names_addresses_and_processes(
    shared_platform: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAFER_STATE_DIR", str(shared_platform.state_dir))
    for command in (["services", "status"], ["services", "up"]):
        listed = call(*command, "--json")
        assert listed.exit_code == 0
        documents = {item["name"]: item for item in json.loads(listed.stdout)}
        require_documented(list(documents.values()), "services", "status")
        assert {item["state"] for item in documents.values()} == {"running"}
        assert documents["mlflow"]["url"] == shared_platform.mlflow.tracking_uri
        assert all(item["pids"] and item["memory_mb"] > 0 for item in documents.values())
    assert "running already" in call("services", "up").stderr
    shown = call("services", "status")
    assert shown.exit_code == 0
    assert str(shared_platform.mlflow.tracking_uri) in shown.stdout

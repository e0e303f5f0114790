"""`wafer serve` where there is nothing to serve; `tests/resources/test_scoring_server.py` has what it answers."""

import pytest

from resources.local_services import LocalServices
from tests.shell import call
from wafer_assets.settings import Settings


def test_without_a_champion_it_says_what_to_do_and_leaves_running_services_alone(
    shared_platform: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAFER_STATE_DIR", str(shared_platform.state_dir))
    monkeypatch.setenv("WAFER_MLFLOW__MODEL_NAME", "nobody-trained-it")
    refused = call("serve")
    assert refused.exit_code == 1
    assert "wafer train" in refused.output
    assert all(service.running for service in LocalServices(shared_platform).status())

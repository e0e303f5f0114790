"""`make observe`: what it writes for Prometheus, and what it says where that is not installed."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.monitoring.__main__ import main
from deploy.monitoring.local import APT, alertmanager_command, prometheus_config
from tests.deploy.monitoring.servers import needs_prometheus


def test_without_prometheus_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    result = CliRunner().invoke(main, ["observe"])
    assert result.exit_code == 1
    assert f"prometheus is not installed: {APT}" in result.output


def test_scrapes_are_divided_like_the_rules(tmp_path: Path) -> None:
    config = prometheus_config(tmp_path, {"wafer": "127.0.0.1:9464"}, None, factor=6)
    assert config["global"]["scrape_interval"] == "2500ms"
    assert [Path(file).exists() for file in config["rule_files"]] == [True, True, True]


@needs_prometheus
def test_what_holds_addresses_of_receivers_is_its_owners_alone(tmp_path: Path) -> None:
    command = alertmanager_command(tmp_path, {"route": {"receiver": "me"}}, 9093)
    assert (tmp_path / "alertmanager.yml").stat().st_mode & 0o077 == 0
    assert "--web.listen-address=127.0.0.1:9093" in command

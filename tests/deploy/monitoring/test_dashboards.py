"""The dashboards as Grafana's SDK writes them, and what the Prometheus operator is given."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.dashboards import dashboards, queries
from deploy.monitoring.kubernetes import objects

CHECK = Path(__file__).parents[3] / ".." / "shared" / "crds" / "check"


def test_every_panel_says_what_it_shows_and_asks_for_it() -> None:
    for page in dashboards().values():
        for panel in page["panels"]:
            assert panel["title"]
            assert panel["description"]
            assert panel["targets"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"prometheus"}
        assert len(queries(page)) >= len(page["panels"])


def test_the_operator_is_given_the_same_rules_and_dashboards() -> None:
    found = objects()
    assert {each["kind"] for each in found} == {"PrometheusRule", "ServiceMonitor", "ConfigMap"}
    written = {
        name: json.loads(content)
        for each in found
        if each["kind"] == "ConfigMap"
        for name, content in each["data"].items()
    }
    assert written == {f"wafer-{name}.json": page for name, page in dashboards().items()}


@pytest.mark.skipif(not CHECK.exists(), reason=f"there is no {CHECK.name} of custom resources beside the project")
def test_the_custom_resources_are_such_as_an_api_server_takes(tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects()))
    done = subprocess.run([sys.executable, CHECK, file], capture_output=True, text=True, check=False)
    if "No module named" in done.stderr:
        pytest.skip(f"the check lacks a library here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr

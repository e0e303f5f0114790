"""The playbook on a real machine: the first run makes what it says, the second changes nothing, and services are up."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from deploy.ci.tools import FOLDER as TOOLS
from deploy.image import ROOT
from tests.chart import LOCAL, RELEASE, instance_config, load_values
from tests.delivery.machine import ADDRESS, NEEDED, PLAYBOOKS, Machine, machine
from wafer_assets.settings import Settings

LACKING = [name for name in NEEDED if not shutil.which(name)]
LACKING += [] if (TOOLS / "ansible-playbook").exists() else ["`make delivery-tools`"]
pytestmark = pytest.mark.skipif(bool(LACKING) or os.geteuid() != 0, reason=f"needs root and {', '.join(LACKING)}")

STORES = "10.99.0.1"
PASSWORD = "0123456789abcdef01234567"
SECRET = 'a "quoted" $ecret\\'
VARIABLES: dict[str, Any] = {
    "stores_dagster_password": PASSWORD,
    "jenkins_agent_public_key": "ssh-ed25519 AAAAC3Nza jenkins",
    "jenkins_agent_advisories_url": "http://127.0.0.1:9/PyPI.zip",
    "jenkins_controller_url": "https://jenkins.example.com/",
    "jenkins_controller_environment": {"WEBHOOK_SECRET": SECRET},
    "jenkins_controller_files": {"agent-key": "a key"},
    "platform_image": "wafer-fault-platform:0123456789ab",
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    subprocess.run(["/usr/bin/make", "--silent", "wheel"], cwd=ROOT, check=True)
    with machine(tmp_path_factory.mktemp("machine")) as it:
        yield it


@pytest.fixture(scope="module")
def first(fresh: Machine) -> dict[str, Any]:
    """What the first run did."""
    return fresh.play(VARIABLES)


@pytest.fixture(scope="module")
def host(fresh: Machine, first: dict[str, Any]) -> Machine:
    assert first["failed"] == 0
    return fresh


def test_the_playbook_is_well_made() -> None:
    environment = os.environ | {"PATH": f"{TOOLS}:{os.environ['PATH']}"}
    command = [str(TOOLS / "ansible-lint"), "--offline", "--profile", "production", "--strict", "."]
    linted = subprocess.run(command, cwd=PLAYBOOKS, env=environment, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_the_first_run_changes_and_the_second_does_not(host: Machine, first: dict[str, Any]) -> None:
    assert first["changed"] > 20
    again = host.play(VARIABLES)
    assert (again["changed"], again["failed"], again["unreachable"]) == (0, 0, 0), again["output"]


def test_what_cannot_be_fetched_is_said_and_all_else_is_there(first: dict[str, Any], host: Machine) -> None:
    for words in (
        "Jenkins is not installed, all else is: set jenkins_controller_war_url",
        "k3s is not installed, all else is: set k3s_url",
        "terraform is not installed: set jenkins_agent_terraform_url",
        "Everything for the platform is in /etc/wafer/platform, and nothing of it runs",
    ):
        assert words in " ".join(first["output"].split())
    for unit in ("jenkins.service", "k3s.service"):
        assert host.run("systemctl", "is-enabled", unit, check=False) == "disabled"


def test_services_are_up(host: Machine) -> None:
    for unit in ("ssh", "postgresql@15-main", "wafer-network", "wafer-stores", "wafer-advisories.timer"):
        assert host.run("systemctl", "is-active", unit) == "active", unit
    assert "0 loaded units listed" in host.run("systemctl", "--failed")


def test_the_stores_answer_the_node_with_their_credentials(host: Machine) -> None:
    login = host.run(
        "env", f"PGPASSWORD={PASSWORD}", "psql", "-tAh", STORES, "-U", "dagster", "-c", "'SELECT 1'", "dagster"
    )
    assert login == "1"
    refused = host.run("env", "PGPASSWORD=x", "psql", "-h", STORES, "-U", "dagster", "dagster", check=False)
    assert "1" not in refused
    status = host.run(
        *("sudo", "-u", "wafer", "env", "WAFER_STATE_DIR=/var/lib/wafer/state", f"WAFER_SERVICES_HOST={STORES}"),
        *("/opt/wafer/venv/bin/wafer", "services", "status", "--json"),
    )
    services = yaml.safe_load(status)
    assert {one["name"]: one["state"] for one in services} == dict.fromkeys(("s3", "mongo", "mlflow"), "running")
    assert all(STORES in one["url"] for one in services)


def test_the_stores_answer_nobody_else(host: Machine) -> None:
    """Another machine that sends what is meant for the stores to the node gets no answer."""
    subprocess.run(["/usr/sbin/ip", "route", "replace", f"{STORES}/32", "via", ADDRESS], check=True)
    try:
        for port in (5432, 8333, 27017, 5000):
            with socket.socket() as knock:
                knock.settimeout(1)
                assert knock.connect_ex((STORES, port)) != 0
    finally:
        subprocess.run(["/usr/sbin/ip", "route", "del", f"{STORES}/32"], check=True)
    listening = {line.split()[3] for line in host.run("ss", "-tlnH").splitlines()}
    everywhere = {address for address in listening if address.startswith(("0.0.0.0:", "*:", "[::]:"))}
    assert everywhere == {"0.0.0.0:22", "[::]:22"}


def test_a_restart_brings_the_stores_back_with_what_they_hold(host: Machine) -> None:
    before = host.run("cat", "/var/lib/wafer/state/services.env")
    host.run("systemctl", "restart", "wafer-network", "postgresql", "wafer-stores")
    assert host.run("cat", "/var/lib/wafer/state/services.env") == before
    assert host.run("systemctl", "is-active", "wafer-stores") == "active"


def test_nobody_logs_in_with_a_password(host: Machine) -> None:
    assert "passwordauthentication no" in host.run("sshd", "-T")
    assert host.run("getent", "shadow", "jenkins").split(":")[1].startswith("!")


def test_secrets_are_readable_by_those_who_need_them_alone(host: Machine, first: dict[str, Any]) -> None:
    modes = {
        "/etc/jenkins/environment": "600 root",
        "/etc/jenkins/secrets/agent-key": "640 root",
        "/etc/wafer/platform/secrets.yaml": "600 root",
        "/var/lib/wafer/state": "700 wafer",
    }
    for path, mode in modes.items():
        assert host.run("stat", "--format='%a %U'", path) == mode, path
    assert PASSWORD not in first["output"]
    assert "ecret" not in first["output"].replace("secrets", "").replace("Secrets", "")


def test_systemd_reads_the_secrets_as_they_are(host: Machine) -> None:
    read = host.run(
        "systemd-run", "--quiet", "--pipe", "-pEnvironmentFile=/etc/jenkins/environment", "printenv", "WEBHOOK_SECRET"
    )
    assert read == SECRET


def test_the_units_are_sound(host: Machine) -> None:
    for unit in ("wafer-network", "wafer-stores", "wafer-advisories"):
        assert host.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}.service") == ""


def test_the_platform_of_the_node_is_objects_that_kubernetes_takes(host: Machine, tmp_path: Path) -> None:
    shutil.copytree(host.root / "etc/wafer/platform", tmp_path / "platform")
    built = subprocess.run(
        ["/usr/bin/kubectl", "kustomize", str(tmp_path / "platform")], capture_output=True, check=True
    )
    objects = {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(built.stdout)}
    for (kind, _), found in objects.items():
        if kind != "HelmChart":
            validate(found, "1.31", strict=True)
    settings = objects["ConfigMap", "wafer-settings"]["data"] | objects["Secret", "wafer-stores"]["stringData"]
    (container,) = objects["Deployment", "wafer-scoring"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == VARIABLES["platform_image"]
    assert settings["WAFER_S3__ENDPOINT_URL"] == f"http://{STORES}:8333"
    assert settings["WAFER_MLFLOW__TRACKING_URI"] == f"http://{STORES}:5000"
    assert f"@{STORES}:27017" in settings["WAFER_MONGO__URI"]


def test_the_settings_of_the_node_are_those_that_the_platform_reads(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("settings.yaml", "secrets.yaml"):
        for found in yaml.safe_load_all((host.root / "etc/wafer/platform" / name).read_text()):
            for key, value in (found.get("data") or found["stringData"]).items():
                if key.startswith("WAFER_"):
                    monkeypatch.setenv(key, value)
    read = Settings()
    assert (read.environment, read.executor) == ("production", "kubernetes")
    assert read.s3.endpoint_url == f"http://{STORES}:8333"


def test_the_charts_values_of_the_node_are_those_of_a_cluster_on_one_machine(host: Machine) -> None:
    chart = yaml.safe_load((host.root / "etc/wafer/platform/dagster.yaml").read_text())
    values = yaml.safe_load(chart["spec"]["valuesContent"])
    expected = load_values("helm_values/base.yaml", LOCAL)
    image = dict(zip(("repository", "tag"), VARIABLES["platform_image"].split(":"), strict=True))
    expected["dagsterWebserver"]["image"] |= image
    expected["dagsterDaemon"]["image"] |= image
    expected["dagster-user-deployments"]["deployments"][0]["image"] |= image
    expected["computeLogManager"]["config"]["s3ComputeLogManager"]["bucket"] = "lake"
    assert values == expected
    assert instance_config(values)
    assert chart["metadata"]["name"] == RELEASE


@pytest.mark.parametrize(
    ("what", "since"),
    [("jenkins_agent_kubectl", None), ("k3s", "The program, if it is the one that was named")],
)
def test_what_has_another_checksum_is_not_installed(host: Machine, what: str, since: str | None) -> None:
    variables = VARIABLES | {f"{what}_url": "file:///etc/hostname", f"{what}_sha256": "0" * 64}
    refused = host.tried(variables, *(["--start-at-task", since] if since else []))
    assert refused.returncode != 0
    assert "checksum" in refused.stdout
    assert host.run("ls", "/usr/local/bin") == ""

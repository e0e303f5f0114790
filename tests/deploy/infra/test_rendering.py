"""What Terraform made reaches manifests and values, as a whole and nowhere else."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.infra.rendering import UNSET, render, values
from tests.chart import BASE, instance_config, load_values
from tests.deploy.infra.conftest import CERTIFICATES, ROOT
from tests.deploy.test_manifests import RULES, Object, all_pods, arguments_of, leaves, of_kind, one, strings

FACTS = {
    "ACCOUNT": "444455556666",
    "REGION": "us-west-2",
    "NAME": "fab-test",
    "REPOSITORY": "444455556666.dkr.ecr.us-west-2.amazonaws.com/fab-test/wafer-fault-platform",
    "LANDING_BUCKET": "fab-test-landing",
    "LAKE_BUCKET": "fab-test-lake",
    "LOGS_BUCKET": "fab-test-logs",
    "POSTGRESQL_ADDRESS": "fab-test.abc.us-west-2.rds.amazonaws.com",
    "OPERATORS_HOST": "wafer.fab.test",
    "VIEWERS_HOST": "wafer-view.fab.test",
    "MLFLOW_HOST": "mlflow.fab.test",
    "OIDC_ISSUER": "https://login.fab.test/realm",
    "OPERATORS_GROUP": "engineers",
    "VIEWERS_GROUP": "guests",
    "PROXY_IMAGE": "registry.fab.test/oauth2-proxy@sha256:" + "7" * 64,
    "VPC_CIDR": "10.77.0.0/16",
    "BALANCER_CIDR": "10.77.240.0/20",
    "MONGODB_CIDR": "192.168.96.0/21",
}
# What the manifests hold where nothing was rendered.
EXAMPLES = r"example\.com|111122223333|wafer-landing|wafer-lake|eu-central-1|\b10\.0\.0\.0|192\.168\.248"

NO_KUBECTL = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which has kustomize in it, is missing"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where environments are, beside a copy of the manifests."""
    shutil.copytree(ROOT / "deploy" / "manifests", tmp_path / "manifests")
    return tmp_path / "environments"


def built(environment: Path) -> list[Object]:
    done = subprocess.run(["kubectl", "kustomize", environment], capture_output=True, text=True, check=True, timeout=60)  # noqa: S607
    return [item for item in yaml.safe_load_all(done.stdout) if item]


@NO_KUBECTL
def test_no_example_is_left_in_any_manifest(folder: Path) -> None:
    objects = built(render("test", FACTS, CERTIFICATES, folder))
    assert len(objects) > 40
    assert [text for item in objects for _, text in strings(item) if re.search(EXAMPLES, text)] == []


@NO_KUBECTL
def test_the_manifests_of_an_environment_keep_every_rule(folder: Path) -> None:
    objects = built(render("test", FACTS, CERTIFICATES, folder))
    for container in (container for item in objects for container in _containers(item)):
        if container["image"] == f"{FACTS['REPOSITORY']}:{UNSET}":
            container["image"] = "wafer-fault-platform:set-in-kustomization"
    assert {rule.__name__: rule(objects) for rule in RULES if rule(objects)} == {}


def _containers(item: Object) -> list[Object]:
    spec = item.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return list(template.get("spec", {}).get("containers", []))


@NO_KUBECTL
def test_networks_hosts_and_groups_are_those_of_the_environment(folder: Path) -> None:
    objects = built(render("test", FACTS, CERTIFICATES, folder))
    assert leaves(objects, all_pods(objects)["run"]) >= {(FACTS["VPC_CIDR"], 5432), (FACTS["MONGODB_CIDR"], 27017)}
    assert one(objects, "NetworkPolicy", "load-balancer")["spec"]["ingress"][0]["from"] == [
        {"ipBlock": {"cidr": FACTS["BALANCER_CIDR"]}}
    ]
    hosts = {item["metadata"]["name"]: item["spec"]["rules"][0]["host"] for item in of_kind(objects, "Ingress")}
    assert hosts == {kind: FACTS[f"{kind.upper()}_HOST"] for kind in ("operators", "viewers", "mlflow")}
    proxy = arguments_of(objects, "auth-proxy-viewers")
    assert {
        "--allowed-group=guests",
        "--oidc-issuer-url=https://login.fab.test/realm",
        "--redirect-url=https://wafer-view.fab.test/oauth2/callback",
        "--trusted-proxy-ip=10.77.240.0/20",
    } <= set(proxy)
    settings = one(objects, "ConfigMap", "wafer-settings")["data"]
    assert settings["WAFER_MLFLOW__UI_URL"] == "https://mlflow.fab.test"
    assert json.loads(settings["WAFER_WEB__ORIGINS"])[:2] == ["https://wafer.fab.test/", "https://wafer-view.fab.test/"]
    keys = {entry["remoteRef"]["key"] for item in of_kind(objects, "ExternalSecret") for entry in item["spec"]["data"]}
    assert keys == {f"fab-test/{name}" for name in ("postgresql", "mlflow", "stores", "oauth2-proxy")}


@NO_KUBECTL
def test_every_image_is_that_of_the_environment(folder: Path) -> None:
    environment = render("test", FACTS, CERTIFICATES, folder)
    images = {container["image"] for item in built(environment) for container in _containers(item)}
    assert images == {f"{FACTS['REPOSITORY']}:{UNSET}", FACTS["PROXY_IMAGE"]}


@NO_KUBECTL
def test_the_databases_certificate_is_checked_against_those_of_the_region(folder: Path) -> None:
    objects = built(render("test", FACTS, CERTIFICATES, folder))
    for namespace in ("wafer", "wafer-runs"):
        assert one(objects, "ConfigMap", "rds-certificates", namespace)["data"] == {"ca.pem": CERTIFICATES}


def test_the_charts_values_are_those_of_the_environment(folder: Path) -> None:
    environment = render("test", FACTS, CERTIFICATES, folder)
    found = load_values(BASE, environment / "values.yaml")
    assert re.search(EXAMPLES, (environment / "values.yaml").read_text()) is None
    (location,) = found["dagster-user-deployments"]["deployments"]
    for place in (location, found["dagsterWebserver"], found["dagsterDaemon"]):
        assert place["image"]["repository"] == FACTS["REPOSITORY"]
    config = instance_config(found)
    assert config["compute_logs"]["config"]["bucket"] == "fab-test-logs"
    assert config["compute_logs"]["config"]["region"] == "us-west-2"
    assert FACTS["POSTGRESQL_ADDRESS"] in str(config["run_storage"])


def test_values_differ_from_those_of_eks_only_where_environments_do() -> None:
    def leaves_of(value: Any, at: str = "") -> dict[str, Any]:
        if not isinstance(value, dict | list):
            return {at: value}
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return {place: leaf for key, part in inner for place, leaf in leaves_of(part, f"{at}.{key}").items()}

    template = leaves_of(yaml.safe_load((ROOT / "helm_values" / "eks.yaml").read_text()))
    rendered = leaves_of(values(FACTS))
    assert {place for place in template | rendered if template.get(place) != rendered.get(place)} == {
        ".dagsterWebserver.image.repository",
        ".dagsterWebserver.image.tag",
        ".dagsterDaemon.image.repository",
        ".dagsterDaemon.image.tag",
        ".dagster-user-deployments.deployments.0.image.repository",
        ".computeLogManager.config.s3ComputeLogManager.bucket",
        ".computeLogManager.config.s3ComputeLogManager.region",
        ".postgresql.postgresqlHost",
    }


def test_what_is_deployed_stays_deployed_when_it_is_written_again(folder: Path) -> None:
    file = render("test", FACTS, CERTIFICATES, folder) / "kustomization.yaml"
    file.write_text(file.read_text().replace(UNSET, "0123abc"))
    environment = render("test", FACTS | {"VPC_CIDR": "10.78.0.0/16"}, CERTIFICATES, folder)
    assert "0123abc" in file.read_text()
    assert yaml.safe_load((environment / "values.yaml").read_text())["dagsterDaemon"]["image"]["tag"] == "0123abc"
    assert "VPC_CIDR=10.78.0.0/16" in (environment / "environment.env").read_text()


def test_a_fact_that_is_missing_is_an_error(folder: Path) -> None:
    with pytest.raises(KeyError, match="OIDC_ISSUER"):
        render("test", {key: value for key, value in FACTS.items() if key != "OIDC_ISSUER"}, folder)

"""Argo CD's objects in a real API server: stored as they are written, and what the smoke test reads of them."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.ci.process import BUILD
from deploy.image import ROOT
from tests.deploy.argocd import BASE, CRDS, DIGEST, RELEASE, application, needs_crds, needs_helm
from tests.deploy.runbook import block

KIT = Path(os.environ.get("K8S_KIT") or ROOT.parent / "shared" / "k8s")
COMMIT = "c" * 40
pytestmark = [
    needs_crds,
    needs_helm,
    pytest.mark.skipif(not (KIT / "start").exists() or os.geteuid() != 0, reason="K8S_KIT names no kit, or no root"),
]


class ApiServer:
    """The kit's API server, and kubectl inside of its network."""

    def __init__(self, state: Path) -> None:
        self._environment = os.environ | {"K8S_KIT_STATE": str(state)}

    def kit(self, *command: str) -> None:
        done = subprocess.run(
            [str(KIT / command[0]), *command[1:]], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def tried(self, *command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(KIT / "enter"), *command],
            env=self._environment, input=given, capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        done = self.tried("kubectl", *arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serves(self, resource: str, seconds: float = 60) -> None:
        """Wait until the server knows a custom resource."""
        end = time.monotonic() + seconds
        while self.tried("kubectl", "get", f"{resource}.argoproj.io", "--all-namespaces").returncode:
            assert time.monotonic() < end, f"The API server does not serve {resource}."
            time.sleep(0.5)

    def shell(self, script: str) -> None:
        """Run commands of the runbook."""
        done = self.tried("bash", "-euc", script)
        assert done.returncode == 0, done.stderr

    def store(self, found: dict[str, Any]) -> dict[str, Any]:
        """Create an object and return what the server kept of it."""
        self.kubectl("create", "-f", "-", given=json.dumps(found))
        return self.kept(found)

    def kept(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return what the server has of an object."""
        group, _, version = found["apiVersion"].rpartition("/")
        name = f"{found['kind'].lower()}.{version}.{group}" if group else found["kind"].lower()
        where = ["--namespace", found["metadata"]["namespace"]]
        return dict(json.loads(self.kubectl("get", name, found["metadata"]["name"], *where, "-o", "json")))


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    state = Path("/run/wafer-delivery-k8s")
    server = ApiServer(state)
    try:
        server.kit("start", "--api-only")
        for name in sorted(CRDS.glob("argoproj.io_*.yaml")):
            server.kubectl("create", "-f", str(name))
            server.serves(name.stem.removeprefix("argoproj.io_"))
        for name in ("argocd", "wafer"):
            server.kubectl("create", "namespace", name)
        server.shell(block("-k deploy/argocd/clusters/dev"))
        yield server
    finally:
        server.kit("stop")
        shutil.rmtree(state, ignore_errors=True)


@pytest.mark.parametrize("name", ["project.yaml", "environments.yaml", "settings.yaml"])
def test_an_object_is_kept_as_it_was_written(api: ApiServer, name: str) -> None:
    written = yaml.safe_load((BASE / name).read_text())
    kept = api.kept(written)
    part = "data" if written["kind"] == "ConfigMap" else "spec"
    if name == "environments.yaml":
        written["spec"]["generators"][0]["selector"] = {"matchLabels": {"environment": "dev"}}
    assert kept[part] == written[part], "a field that the server does not know is dropped"


@pytest.fixture(scope="module")
def development(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The application of development, as Argo CD would have it after a sync."""
    made = application("dev", tmp_path_factory.mktemp("dev"))
    kept = api.store(made)
    assert kept["spec"] == made["spec"]
    return kept


def test_what_argo_cds_api_does_not_take_is_not_kept(api: ApiServer, development: dict[str, Any]) -> None:
    wrong = development | {"metadata": {"name": "wrong", "namespace": "argocd"}}
    wrong["spec"] = development["spec"] | {"project": 7}
    refused = api.tried("kubectl", "create", "-f", "-", given=json.dumps(wrong))
    assert refused.returncode != 0
    assert "spec.project" in refused.stderr


def test_a_person_may_switch_the_sync_of_an_environment_off(api: ApiServer, tmp_path: Path) -> None:
    made = application("production", tmp_path)
    api.store(made)
    api.shell(block('"automated": null'))
    assert "automated" not in api.kept(made)["spec"]["syncPolicy"]
    (pointer,) = yaml.safe_load((BASE / "environments.yaml").read_text())["spec"]["ignoreApplicationDifferences"]
    assert pointer == {"jsonPointers": ["/spec/syncPolicy/automated"]}, "or the ApplicationSet would switch it on again"


def smoke(api: ApiServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return api.tried(sys.executable, "-m", "deploy.ci", "smoke", "--timeout", "1", *arguments)


def test_the_smoke_test_fails_until_the_digest_runs_and_says_what_is_missing(
    api: ApiServer, development: dict[str, Any]
) -> None:
    BUILD.mkdir(exist_ok=True)
    delivered = {"environment": "dev", "commit": COMMIT, "image": RELEASE["image"]}
    (BUILD / "delivered.json").write_text(json.dumps(delivered))
    image = f"{RELEASE['image']['repository']}@{DIGEST}"
    api.kubectl("create", "deployment", "mlflow", "--namespace=wafer", f"--image={image}")
    before = smoke(api)
    assert before.returncode == 1
    assert "Argo CD has not seen commit cccccccccccc" in before.stderr
    assert "mlflow was not looked at yet" in before.stderr

    # What the controllers would write, of which there are none here.
    synced = {"sync": {"status": "Synced", "revisions": [COMMIT]}, "health": {"status": "Healthy"}}
    synced["sync"] |= {"comparedTo": {"destination": development["spec"]["destination"]}}
    api.kubectl("patch", "application", "wafer-dev", "-nargocd", "--type=merge", "-p", json.dumps({"status": synced}))
    ready = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}
    path = "/apis/apps/v1/namespaces/wafer/deployments/mlflow/status"
    kept = json.loads(api.kubectl("get", "--raw", path))
    api.kubectl("replace", "--raw", path, "-f", "-", given=json.dumps(kept | {"status": ready}))
    after = smoke(api)
    assert after.returncode == 0, after.stderr
    assert "wafer-dev runs 0123456789ab" in after.stdout


def test_the_smoke_test_needs_no_more_than_to_read(api: ApiServer) -> None:
    refused = api.tried("kubectl", "get", "applications.argoproj.io", "-nargocd", "--as=nobody")
    assert "forbidden" in refused.stderr
    role = ["create", "clusterrole", "smoke", "--verb=get,list"]
    api.kubectl(*role, "--resource=applications.argoproj.io,deployments.apps")
    api.kubectl("create", "clusterrolebinding", "smoke", "--clusterrole=smoke", "--user=smoke")
    for resource, namespace in (("applications.argoproj.io", "argocd"), ("deployments.apps", "wafer")):
        api.kubectl("get", resource, f"--namespace={namespace}", "--as=smoke")

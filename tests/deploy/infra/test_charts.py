"""The charts of the cluster's base say, once Helm has put their values in, what they are to say."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.infra.conftest import NO_TOOLS, ROOT, TOOLS

pytestmark = [NO_TOOLS, pytest.mark.infra]

CHARTS = ROOT / "deploy" / "terraform" / "base" / "charts"
TAGS = {"project": "wafer", "environment": "dev", "owner": "me"}
VALUES = {
    "tags": TAGS,
    "maxVcpus": 16,
    "spot": True,
    "nodeRole": "wafer-dev-nodes",
    "cluster": "wafer-dev",
    "certificateArn": "arn:aws:acm:eu-central-1:111122223333:certificate/0",
    "public": False,
    "allowedCidrs": ["10.0.0.0/8"],
    "subnetIds": ["subnet-1", "subnet-2"],
}
# Helm itself, which is one of the tools: it is never imported here.
RENDER = """
import json, sys
from helm_python import Chart
given = json.load(sys.stdin)
print(json.dumps(Chart.load(given["chart"]).render(given["values"], name="base", namespace="kube-system")))
"""


def rendered(chart: str, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    given = json.dumps({"chart": str(CHARTS / chart), "values": values})
    command = [TOOLS / "python", "-c", RENDER]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    texts = json.loads(done.stdout).values()
    return {item["kind"]: item for text in texts for item in yaml.safe_load_all(text) if item}


def test_nodes_have_a_limit_and_say_whose_they_are() -> None:
    made = rendered("nodes", VALUES)
    assert made["NodePool"]["spec"]["limits"] == {"cpu": "16"}
    assert made["NodePool"]["spec"]["template"]["spec"]["nodeClassRef"]["name"] == made["NodeClass"]["metadata"]["name"]
    assert (made["NodeClass"]["spec"]["tags"], made["NodeClass"]["spec"]["role"]) == (TAGS, "wafer-dev-nodes")


@pytest.mark.parametrize(("spot", "kinds"), [(True, ["spot", "on-demand"]), (False, ["on-demand"])])
def test_nodes_that_may_be_taken_away_are_had_only_where_one_wants_them(spot: bool, kinds: list[str]) -> None:
    (pool,) = [item for kind, item in rendered("nodes", VALUES | {"spot": spot}).items() if kind == "NodePool"]
    wanted = {item["key"]: item["values"] for item in pool["spec"]["template"]["spec"]["requirements"]}
    assert wanted["karpenter.sh/capacity-type"] == kinds
    # What the image is built for.
    assert wanted["kubernetes.io/arch"] == ["amd64"]


def test_network_policies_are_in_force() -> None:
    assert rendered("nodes", VALUES)["ConfigMap"]["data"] == {"enable-network-policy-controller": "true"}


@pytest.mark.parametrize(("public", "scheme"), [(True, "internet-facing"), (False, "internal")])
def test_the_one_way_in_is_as_open_as_it_is_to_be(public: bool, scheme: str) -> None:
    made = rendered("nodes", VALUES | {"public": public})
    way = made["IngressClassParams"]["spec"]
    assert (way["scheme"], way["inboundCIDRs"]) == (scheme, ["10.0.0.0/8"])
    assert way["subnets"] == {"ids": ["subnet-1", "subnet-2"]}
    assert way["certificateARNs"] == [VALUES["certificateArn"]]
    assert {tag["key"]: tag["value"] for tag in way["tags"]} == TAGS
    ingresses = yaml.safe_load_all((ROOT / "deploy" / "manifests" / "ingress.yaml").read_text())
    assert {item["spec"]["ingressClassName"] for item in ingresses} == {made["IngressClass"]["metadata"]["name"]}


def test_the_platforms_namespaces_alone_read_its_secrets() -> None:
    store = rendered("secrets", {"region": "eu-central-1"})["ClusterSecretStore"]
    assert store["spec"]["conditions"] == [{"namespaces": ["wafer", "wafer-runs"]}]
    manifests = yaml.safe_load_all((ROOT / "deploy" / "manifests" / "external-secrets.yaml").read_text())
    assert {item["spec"]["secretStoreRef"]["name"] for item in manifests} == {store["metadata"]["name"]}

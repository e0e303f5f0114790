"""The manifests beside Dagster's chart: Kubernetes takes them, nothing in them is loose, and all of it fits together.

Every rule is a function that says what is wrong with a list of objects. It must find nothing in the manifests, and
must find what is wrong in manifests that were changed for the worse.
"""

import ast
import copy
import inspect
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from dagster_k8s import client as k8s_client
from dagster_k8s import executor as k8s_executor
from dagster_k8s import launcher as k8s_launcher
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from resources.adapters import dagster_k8s as steps_as_pods
from tests.chart import BASE, EKS, ROOT, load_values
from tests.deploy.runbook import block, run
from wafer_assets.settings import Settings, load_settings

Object: TypeAlias = dict[str, Any]
Labels: TypeAlias = dict[str, str]

FOLDER = ROOT / "deploy" / "manifests"
KUBERNETES = "1.35"
OUR_IMAGE = "wafer-fault-platform"
EVERYWHERE = "0.0.0.0"
ANYWHERE, VPC, ATLAS, BALANCER = "0.0.0.0/0", "10.0.0.0/16", "192.168.248.0/21", "10.0.240.0/20"
# Where a pod asks its node for its role.
ROLES = "169.254.170.23/32"

# What Dagster's chart makes of the release `dagster`; two of these labels are Dagster's, as it makes the jobs itself.
CHART = {"app.kubernetes.io/name": "dagster", "app.kubernetes.io/instance": "dagster"}
MIGRATION = "dagster-dagster-webserver-instance-migrate"
# Kubernetes gives it to namespaces; here pods have it too, to say where they are.
NAMESPACE = "kubernetes.io/metadata.name"
OURS, RUNS = "wafer", "wafer-runs"
IN_RUNS = {NAMESPACE: RUNS}


def labels_of_job(component: str) -> Labels:
    job = construct_dagster_k8s_job(DagsterK8sJobConfig(job_image="image"), [], "job", component=component)
    return dict(job.spec.template.metadata.labels)


CHART_PODS: dict[str, Labels] = {
    "webserver": CHART | {"component": "dagster-webserver"},
    "webserver-read-only": CHART | {"component": "dagster-webserver-read-only"},
    "daemon": CHART | {"component": "dagster-daemon", "deployment": "daemon"},
    "code-location": {
        "app.kubernetes.io/name": "dagster-user-deployments",
        "app.kubernetes.io/instance": "dagster",
        "component": "user-deployments",
        "deployment": "wafer",
    },
    "run": labels_of_job("run_worker") | IN_RUNS,
    "step": labels_of_job("step_worker") | IN_RUNS,
    "migration": {"job-name": MIGRATION, "batch.kubernetes.io/job-name": MIGRATION},
}
CHART_SERVICES = {("dagster-dagster-webserver", 3000), ("dagster-dagster-webserver-read-only", 3000)}
CHART_PORTS = {"webserver": 3000, "webserver-read-only": 3000, "code-location": 4000}
CHART_ACCOUNTS = {"dagster", "wafer-runs"}
CHART_CONFIG = {"dagster-instance", "dagster-pipeline-env"}
# Pods of other namespaces, by the labels of namespace and pod.
OTHER_PODS: list[tuple[Labels, Labels]] = [
    ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}),
    ({"kubernetes.io/metadata.name": "monitoring"}, {"app.kubernetes.io/name": "prometheus"}),
    ({"wafer/scoring-client": "true"}, {}),
]


def files() -> list[Path]:
    return sorted(file for file in FOLDER.glob("*.yaml") if file.name != "kustomization.yaml")


def kustomization() -> Object:
    return dict(yaml.safe_load((FOLDER / "kustomization.yaml").read_text()))


@pytest.fixture
def manifests() -> list[Object]:
    """All objects of all files."""
    return [found for file in files() for found in yaml.safe_load_all(file.read_text()) if found is not None]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [found for found in objects if found["kind"] in kinds]


def one(objects: list[Object], kind: str, name: str, namespace: str = OURS) -> Object:
    (found,) = (
        found
        for found in of_kind(objects, kind)
        if (found["metadata"]["name"], found["metadata"].get("namespace", namespace)) == (name, namespace)
    )
    return found


def name_of(found: Object) -> str:
    namespace = found["metadata"].get("namespace", OURS)
    return f"{found['kind']} {found['metadata']['name']}{'' if namespace == OURS else f' of {namespace}'}"


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod that the objects make, with the name of who makes it."""
    for found in of_kind(objects, "Deployment"):
        yield found["metadata"]["name"], found["spec"]["template"]
    for found in of_kind(objects, "CronJob"):
        yield found["metadata"]["name"], found["spec"]["jobTemplate"]["spec"]["template"]


def containers(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    for name, pod in pod_templates(objects):
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            yield name, pod["spec"], container


def strings(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, path)
    elif isinstance(value, str):
        yield path, value


# --- rules


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class _RemoteRef(_Strict):
    key: str
    property: str


class _Entry(_Strict):
    secret_key: str = Field(pattern=r"^[-._a-zA-Z0-9]{1,253}$")
    remote_ref: _RemoteRef


class _StoreRef(_Strict):
    kind: Literal["ClusterSecretStore"]
    name: str


class _Target(_Strict):
    name: str
    creation_policy: Literal["Owner"]


class _ExternalSecretSpec(_Strict):
    refresh_interval: str = Field(pattern=r"^\d+[smh]$")
    secret_store_ref: _StoreRef
    target: _Target
    data: list[_Entry] = Field(min_length=1)


class _Metadata(_Strict):
    name: str
    namespace: str
    annotations: dict[Literal["argocd.argoproj.io/sync-wave"], str] = {}


class ExternalSecret(_Strict):
    """What we use of External Secrets Operator's resource; Kubernetes' own schemas do not know it."""

    api_version: Literal["external-secrets.io/v1"]
    kind: Literal["ExternalSecret"]
    metadata: _Metadata
    spec: _ExternalSecretSpec


def wrong_schema(objects: list[Object]) -> list[str]:
    found = []
    for item in objects:
        try:
            if item["kind"] == "ExternalSecret":
                ExternalSecret.model_validate(item)
            else:
                kubernetes_validate.validate(item, KUBERNETES, strict=True)
        except (kubernetes_validate.ValidationError, ValidationError) as error:
            found.append(f"{name_of(item)}: {error}")
    return found


def outside_the_namespaces(objects: list[Object]) -> list[str]:
    return [
        name_of(item)
        for item in objects
        if item["kind"] != "Namespace" and item["metadata"].get("namespace") not in (OURS, RUNS)
    ]


def exposed_to_runs(objects: list[Object]) -> list[str]:
    """What whoever may make jobs could use: all of the runs' namespace, and it must be the runs' own."""
    needed = {
        ("ServiceAccount", "wafer-runs"),
        ("ExternalSecret", "wafer-postgresql"),
        ("ExternalSecret", "wafer-stores"),
    }
    found = [
        name_of(item)
        for item in of_kind(objects, "ServiceAccount", "ExternalSecret", "Deployment", "CronJob")
        if item["metadata"].get("namespace") == RUNS and (item["kind"], item["metadata"]["name"]) not in needed
    ]
    return found + [name_of(item) for item in of_kind(objects, "Role") if item["metadata"]["namespace"] != RUNS]


def loose_images(objects: list[Object]) -> list[str]:
    """Images that are not those of the environment, or not named by a digest where it has been put in."""
    found = []
    for name, _, container in containers(objects):
        if re.fullmatch(rf"\S+/({OUR_IMAGE}|oauth2-proxy)@sha256:[0-9a-f]{{64}}", container["image"]):
            continue
        if container["image"] not in (f"{OUR_IMAGE}:set-in-kustomization", "oauth2-proxy:set-in-kustomization"):
            found.append(f"{name}: {container['image']} is not that of the environment")
    return found


def weak_pods(objects: list[Object]) -> list[str]:
    """Pods that may do more than they need."""
    found = []
    for name, spec, container in containers(objects):
        pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
        resources = container.get("resources", {})
        rules = {
            "runs as root": pod.get("runAsNonRoot") is True and pod.get("runAsUser") == 10001,
            "overrides the user": not {"runAsUser", "runAsNonRoot", "privileged"} & set(own),
            "no seccomp": pod.get("seccompProfile") == {"type": "RuntimeDefault"},
            "writable root": own.get("readOnlyRootFilesystem") is True,
            "escalates": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "no request": {"cpu", "memory"} <= set(resources.get("requests", {})),
            "no limit": "memory" in resources.get("limits", {}),
            "host": not {"hostNetwork", "hostPID", "hostIPC"} & set(spec),
            "token": "automountServiceAccountToken" in spec,
            "volume": all(set(volume) - {"name"} <= {"emptyDir", "configMap"} for volume in spec.get("volumes", [])),
        }
        found += [f"{name}/{container['name']}: {rule}" for rule, kept in rules.items() if not kept]
    return found


def needless_tokens(objects: list[Object]) -> list[str]:
    """Pods and accounts that are given a token of the API server, without a right to do anything there."""
    bound = {subject["name"] for item in of_kind(objects, "RoleBinding") for subject in item["subjects"]}
    given = [
        pod["spec"]["serviceAccountName"]
        for _, pod in pod_templates(objects)
        if pod["spec"]["automountServiceAccountToken"]
    ]
    accounts = [
        item["metadata"]["name"]
        for item in of_kind(objects, "ServiceAccount")
        if item.get("automountServiceAccountToken") is not False
    ]
    return [name for name in given if name not in bound] + accounts


ALONE = {"wafer-metrics": "two would tell everything twice, and for a minute without it Prometheus says so"}
"""Servers of which there is one, and why."""


def unwatched(objects: list[Object]) -> list[str]:
    """Servers that Kubernetes could not tell from dead ones, or would stop all at once."""
    budgets = [item["spec"]["selector"] for item in of_kind(objects, "PodDisruptionBudget")]
    found = []
    for item in of_kind(objects, "Deployment"):
        if item["spec"]["replicas"] == 0:  # no server, but a place to work in
            continue
        pod = item["spec"]["template"]
        rules = {
            "no probes": all({"readinessProbe", "livenessProbe"} <= set(own) for own in pod["spec"]["containers"]),
            "no disruption budget": any(selects(budget, pod["metadata"]["labels"]) for budget in budgets),
            "alone": item["spec"]["replicas"] > 1,
        }
        if item["metadata"]["name"] in ALONE:
            del rules["no disruption budget"], rules["alone"]
        found += [f"{name_of(item)}: {rule}" for rule, kept in rules.items() if not kept]
    return found


_SECRET_NAME = re.compile(r"password|secret|token|credential|access_?key|backend_store_uri|mongo__uri|urls", re.I)
_SECRET_VALUE = re.compile(r"://[^/\s:@]+:[^@\s]+@|AKIA[A-Z0-9]{16}|BEGIN [A-Z ]*PRIVATE KEY|--[a-z-]*secret=")


def secrets_in_the_open(objects: list[Object]) -> list[str]:
    found = [name_of(item) for item in of_kind(objects, "Secret")]
    found += [
        f"{name_of(item)}{path}" for item in objects for path, text in strings(item) if _SECRET_VALUE.search(text)
    ]
    named = [(name, env) for name, _, container in containers(objects) for env in container.get("env", [])]
    found += [f"{name}: {env['name']}" for name, env in named if _SECRET_NAME.search(env["name"]) and env.get("value")]
    data = [(name_of(item), key) for item in of_kind(objects, "ConfigMap") for key in item["data"]]
    return found + [f"{name}: {key}" for name, key in data if _SECRET_NAME.search(key)]


def broad_roles(objects: list[Object]) -> list[str]:
    found = [name_of(item) for item in of_kind(objects, "ClusterRole", "ClusterRoleBinding")]
    for item in of_kind(objects, "Role"):
        for rule in item["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            if "*" in words or "secrets" in rule["resources"] or {"escalate", "bind", "impersonate"} & set(words):
                found.append(f"{name_of(item)}: {rule}")
    return found


def selects(selector: Object, labels: Labels) -> bool:
    """Say whether a selector selects a pod; an operator that we do not use is an error."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def all_pods(objects: list[Object]) -> dict[str, Labels]:
    pods = {name: pod["metadata"]["labels"] for name, pod in pod_templates(objects)} | CHART_PODS
    return {name: {NAMESPACE: OURS} | labels for name, labels in pods.items()}


def ports_of(objects: list[Object]) -> dict[str, int]:
    ports = {name: port["containerPort"] for name, _, item in containers(objects) for port in item.get("ports", [])}
    return ports | CHART_PORTS


def peers_of(objects: list[Object]) -> list[tuple[str, Object]]:
    return [
        (name_of(item), peer)
        for item in of_kind(objects, "NetworkPolicy")
        for direction, side in (("ingress", "from"), ("egress", "to"))
        for rule in item["spec"].get(direction, [])
        for peer in rule[side]
    ]


def lost_selectors(objects: list[Object]) -> list[str]:
    """Selectors, or parts of them, that select no pod that there is."""
    pods = all_pods(objects).values()
    found = [(name_of(item), {"matchLabels": item["spec"]["selector"]}) for item in of_kind(objects, "Service")]
    for kind, key in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        found += [(name_of(item), item["spec"][key]) for item in of_kind(objects, kind)]
    found += [(name, peer["podSelector"]) for name, peer in peers_of(objects) if set(peer) == {"podSelector"}]
    return [
        f"{name}: {part}"
        for name, selector in found
        for part in [selector, *parts_of(selector)]
        if not any(selects(part, labels) for labels in pods)
    ]


def parts_of(selector: Object) -> list[Object]:
    wanted = list(selector.get("matchLabels", {}).items())
    wanted += [(item["key"], value) for item in selector.get("matchExpressions", []) for value in item["values"]]
    return [{"matchLabels": {key: value}} for key, value in wanted]


def lost_namespaces(objects: list[Object]) -> list[str]:
    """Peers in other namespaces that are none of those we know."""
    known = [*OTHER_PODS, *(({NAMESPACE: labels[NAMESPACE]}, labels) for labels in all_pods(objects).values())]
    return [
        f"{name}: {peer}"
        for name, peer in peers_of(objects)
        if "namespaceSelector" in peer
        and not any(
            selects(peer["namespaceSelector"], namespace) and selects(peer.get("podSelector", {}), pod)
            for namespace, pod in known
        )
    ]


def lost_keys(objects: list[Object]) -> list[str]:
    """Variables from secrets and settings that there are not, and volumes that nobody mounts or has."""
    known = {
        ("secretKeyRef", item["spec"]["target"]["name"], entry["secretKey"])
        for item in of_kind(objects, "ExternalSecret")
        if item["metadata"]["namespace"] == OURS
        for entry in item["spec"]["data"]
    }
    settings = [item for item in of_kind(objects, "ConfigMap") if item["metadata"]["namespace"] == OURS]
    known |= {("configMapKeyRef", item["metadata"]["name"], key) for item in settings for key in item["data"]}
    envs = {(kind.removesuffix("KeyRef") + "Ref", name) for kind, name, _ in known} | {
        ("configMapRef", name) for name in CHART_CONFIG
    }
    found = []
    for name, spec, container in containers(objects):
        sources = [env["valueFrom"] for env in container.get("env", []) if "valueFrom" in env]
        named = [
            (kind, ref["name"], ref["key"]) for source in sources for kind, ref in source.items() if kind != "fieldRef"
        ]
        found += [f"{name}: {key}" for key in named if key not in known]
        whole = [source for source in container.get("envFrom", []) if envs.isdisjoint(names_of(source))]
        whole += [volume for volume in spec.get("volumes", []) if envs.isdisjoint(names_of(volume))]
        found += [f"{name}: {source}" for source in whole if "emptyDir" not in source]
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        found += [f"{name}: {key}" for key in mounts ^ {volume["name"] for volume in spec.get("volumes", [])}]
    return found


def names_of(source: Object) -> set[tuple[str, str]]:
    """Kind and name of a whole ConfigMap or Secret that variables or a volume are taken from."""
    if "configMap" in source:
        return {("configMapRef", source["configMap"]["name"])}
    return {(kind, ref["name"]) for kind, ref in source.items() if kind in ("configMapRef", "secretRef")}


def lost_accounts(objects: list[Object]) -> list[str]:
    """Pods and bindings of accounts or roles that there are not."""
    accounts = {
        (item["metadata"]["namespace"], item["metadata"]["name"]) for item in of_kind(objects, "ServiceAccount")
    }
    accounts |= {(OURS, name) for name in CHART_ACCOUNTS}
    roles = {("Role", item["metadata"]["namespace"], item["metadata"]["name"]) for item in of_kind(objects, "Role")}
    found = [
        f"{name}: {pod['spec']['serviceAccountName']}"
        for name, pod in pod_templates(objects)
        if (OURS, pod["spec"]["serviceAccountName"]) not in accounts
    ]
    for item in of_kind(objects, "RoleBinding"):
        if (item["roleRef"]["kind"], item["metadata"]["namespace"], item["roleRef"]["name"]) not in roles:
            found.append(f"{name_of(item)}: {item['roleRef']}")
        found += [
            f"{name_of(item)}: {subject}"
            for subject in item["subjects"]
            if (subject["namespace"], subject["name"]) not in accounts
        ]
    return found


def lost_ports(objects: list[Object]) -> list[str]:
    """Probes, services, ingresses and proxies that lead to no port."""
    found = []
    for name, _, container in containers(objects):
        ports = {port["name"] for port in container.get("ports", [])}
        probes = [container[key] for key in ("startupProbe", "readinessProbe", "livenessProbe") if key in container]
        found += [f"{name}: {probe}" for probe in probes if probe["httpGet"]["port"] not in ports]
    named = {(item["metadata"]["name"], port["name"]) for item, port in service_ports(objects)}
    for item in of_kind(objects, "Ingress"):
        backends = [path["backend"]["service"] for rule in item["spec"]["rules"] for path in rule["http"]["paths"]]
        found += [f"{name_of(item)}: {to}" for to in backends if (to["name"], to["port"]["name"]) not in named]
    for item, port in service_ports(objects):
        targets = {
            target["containerPort"]
            for _, pod in pod_templates(objects)
            if selects({"matchLabels": item["spec"]["selector"]}, pod["metadata"]["labels"])
            for container in pod["spec"]["containers"]
            for target in container.get("ports", [])
            if target["name"] == port["targetPort"]
        }
        # EKS enforces network policies only where a service and its pods have the same port.
        if targets != {port["port"]}:
            found.append(f"{name_of(item)}: {port}")
    known = {(item["metadata"]["name"], port["port"]) for item, port in service_ports(objects)} | CHART_SERVICES
    upstreams = [(name, flag) for name, _, item in containers(objects) for flag in item.get("args", [])]
    for name, flag in upstreams:
        if flag.startswith("--upstream="):
            url = urlsplit(flag.removeprefix("--upstream="))
            service = str(url.hostname).removesuffix(".wafer.svc.cluster.local")
            if service == url.hostname or (service, url.port) not in known:
                found.append(f"{name}: {flag}")
    return found


def service_ports(objects: list[Object]) -> list[tuple[Object, Object]]:
    return [(item, port) for item in of_kind(objects, "Service") for port in item["spec"]["ports"]]


Rule: TypeAlias = Callable[[list[Object]], list[str]]
RULES: list[Rule] = [
    wrong_schema,
    outside_the_namespaces,
    exposed_to_runs,
    loose_images,
    weak_pods,
    needless_tokens,
    unwatched,
    secrets_in_the_open,
    broad_roles,
    lost_selectors,
    lost_namespaces,
    lost_keys,
    lost_accounts,
    lost_ports,
]


# --- the manifests keep the rules, and the rules are able to find what breaks them


def test_the_kustomization_names_every_file() -> None:
    assert sorted(kustomization()["resources"]) == [file.name for file in files()]


def test_no_object_comes_twice(manifests: list[Object]) -> None:
    names = [name_of(item) for item in manifests]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_manifests_keep_the_rule(rule: Rule, manifests: list[Object]) -> None:
    assert rule(manifests) == []


def pod_of(objects: list[Object], name: str) -> Object:
    return next(pod for maker, pod in pod_templates(objects) if maker == name)


def container_of(objects: list[Object], name: str) -> Object:
    return dict(pod_of(objects, name)["spec"])["containers"][0]  # type: ignore[no-any-return]


MUTATIONS: list[tuple[str, Rule, Callable[[list[Object]], object]]] = [
    ("a misspelt field", wrong_schema, lambda o: container_of(o, "mlflow").update(livenesProbe={})),
    ("a number for a text", wrong_schema, lambda o: one(o, "ConfigMap", "wafer-settings")["data"].update(A=1)),
    (
        "a misspelt field of an external secret",
        wrong_schema,
        lambda o: one(o, "ExternalSecret", "wafer-stores")["spec"].update(refreshIntervall="1h"),
    ),
    ("another namespace", outside_the_namespaces, lambda o: one(o, "Service", "mlflow")["metadata"].pop("namespace")),
    (
        "a secret of the platform beside the runs",
        exposed_to_runs,
        lambda o: one(o, "ExternalSecret", "wafer-oauth2-proxy")["metadata"].update(namespace=RUNS),
    ),
    (
        "a right to make jobs beside the platform's secrets",
        exposed_to_runs,
        lambda o: one(o, "Role", "dagster-run-launcher", RUNS)["metadata"].update(namespace=OURS),
    ),
    ("latest", loose_images, lambda o: container_of(o, "auth-proxy-viewers").update(image="oauth2-proxy:latest")),
    ("no tag", loose_images, lambda o: container_of(o, "auth-proxy-viewers").update(image="a/b")),
    ("a tag of ours", loose_images, lambda o: container_of(o, "mlflow").update(image="wafer-fault-platform:0123abc")),
    ("no tag, but a port", loose_images, lambda o: container_of(o, "mlflow").update(image="registry:5000/b")),
    ("a moving tag", loose_images, lambda o: container_of(o, "auth-proxy-viewers").update(image="oauth2-proxy:v7")),
    ("root", weak_pods, lambda o: pod_of(o, "mlflow")["spec"]["securityContext"].update(runAsUser=0)),
    ("root in the container", weak_pods, lambda o: container_of(o, "mlflow")["securityContext"].update(runAsUser=0)),
    (
        "a writable root",
        weak_pods,
        lambda o: container_of(o, "mlflow")["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    ("no memory limit", weak_pods, lambda o: container_of(o, "wafer-scoring")["resources"]["limits"].pop("memory")),
    ("the host's network", weak_pods, lambda o: pod_of(o, "mlflow")["spec"].update(hostNetwork=True)),
    (
        "an init container without bounds",
        weak_pods,
        lambda o: pod_of(o, "mlflow")["spec"].update(initContainers=[{"name": "init", "image": "a:v1.0.0"}]),
    ),
    (
        "a token without rights",
        needless_tokens,
        lambda o: pod_of(o, "wafer-scoring")["spec"].update(automountServiceAccountToken=True),
    ),
    ("no probe", unwatched, lambda o: container_of(o, "wafer-scoring").pop("readinessProbe")),
    (
        "no disruption budget",
        unwatched,
        lambda o: o.remove(one(o, "PodDisruptionBudget", "wafer-scoring")),
    ),
    ("a secret", secrets_in_the_open, lambda o: o.append({"kind": "Secret", "metadata": {"name": "mine"}})),
    (
        "a password in a variable",
        secrets_in_the_open,
        lambda o: container_of(o, "mlflow")["env"].append({"name": "DB_PASSWORD", "value": "hunter2"}),
    ),
    (
        "a password in an address",
        secrets_in_the_open,
        lambda o: one(o, "ConfigMap", "wafer-settings")["data"].update(X="mongodb://me:hunter2@atlas/"),
    ),
    ("any verb", broad_roles, lambda o: one(o, "Role", "dagster-run-launcher", RUNS)["rules"][0].update(verbs=["*"])),
    (
        "reading secrets",
        broad_roles,
        lambda o: one(o, "Role", "dagster-run-launcher", RUNS)["rules"][0].update(resources=["secrets"]),
    ),
    ("a cluster role", broad_roles, lambda o: o.append({"kind": "ClusterRole", "metadata": {"name": "mine"}})),
    (
        "a service without pods",
        lost_selectors,
        lambda o: one(o, "Service", "mlflow")["spec"].update(selector={"app": "mlflow"}),
    ),
    (
        "a policy for no pods",
        lost_selectors,
        lambda o: one(o, "NetworkPolicy", "runs", RUNS)["spec"]["podSelector"]["matchExpressions"][0].update(
            values=["run_worker", "step"]
        ),
    ),
    (
        "a policy for nobody's namespace",
        lost_namespaces,
        lambda o: one(o, "NetworkPolicy", "dns")["spec"]["egress"][0]["to"][0]["namespaceSelector"].update(
            matchLabels={"name": "kube-system"}
        ),
    ),
    ("another port", lost_ports, lambda o: container_of(o, "mlflow")["ports"][0].update(containerPort=5002)),
    (
        "a misspelt port",
        lost_ports,
        lambda o: one(o, "Service", "mlflow")["spec"]["ports"][0].update(targetPort="h"),
    ),
    (
        "a misspelt key of a secret",
        lost_keys,
        lambda o: container_of(o, "mlflow")["env"][0]["valueFrom"]["secretKeyRef"].update(key="uri"),
    ),
    (
        "misspelt settings",
        lost_keys,
        lambda o: container_of(o, "wafer-scoring")["envFrom"][0]["configMapRef"].update(name="wafer-setting"),
    ),
    (
        "an account of nobody",
        lost_accounts,
        lambda o: pod_of(o, "mlflow")["spec"].update(serviceAccountName="default"),
    ),
    (
        "a role for nobody",
        lost_accounts,
        lambda o: one(o, "RoleBinding", "dagster-run-launcher", RUNS)["subjects"][0].update(name="dagsters"),
    ),
    (
        "a proxy before nothing",
        lost_ports,
        lambda o: container_of(o, "auth-proxy-viewers").update(args=["--upstream=http://dagster.wafer:3000/"]),
    ),
]


@pytest.mark.parametrize(("rule", "change"), [case[1:] for case in MUTATIONS], ids=[case[0] for case in MUTATIONS])
def test_the_rule_finds(rule: Rule, change: Callable[[list[Object]], object], manifests: list[Object]) -> None:
    worse = copy.deepcopy(manifests)
    change(worse)
    assert rule(worse) != []


# --- settings


def variables(model: type[BaseModel], prefix: str = "WAFER_") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from variables(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def test_every_setting_is_one_that_the_platform_reads(manifests: list[Object]) -> None:
    secrets = [entry["secretKey"] for item in of_kind(manifests, "ExternalSecret") for entry in item["spec"]["data"]]
    named = {
        *one(manifests, "ConfigMap", "wafer-settings")["data"],
        *(key for key in secrets if key.startswith("WAFER_")),
    }
    assert named <= set(variables(Settings))


@pytest.fixture
def in_a_pod(manifests: list[Object], monkeypatch: pytest.MonkeyPatch) -> Labels:
    """The settings of the platform's pods, which are in this process's environment too."""
    data: Labels = one(manifests, "ConfigMap", "wafer-settings")["data"]
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    return data


def test_the_settings_are_those_of_production(in_a_pod: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    # Kubernetes tells every pod of the services in its namespace; the code location's is called `wafer`.
    monkeypatch.setenv("WAFER_PORT", "tcp://172.20.1.2:3030")
    monkeypatch.setenv("WAFER_SERVICE_HOST", "172.20.1.2")
    settings = load_settings()
    assert settings.environment == "production"
    assert settings.executor == "kubernetes"
    assert settings.s3.landing_bucket == in_a_pod["WAFER_S3__LANDING_BUCKET"]
    assert settings.s3.lake_bucket == in_a_pod["WAFER_S3__LAKE_BUCKET"]
    # AWS and its credentials chain
    assert (settings.s3.endpoint_url, settings.s3.access_key_id) == (None, None)


@pytest.mark.usefixtures("in_a_pod")
def test_links_to_reports_lead_to_the_s3_console() -> None:
    # On a pod, the default would be the pod's own loopback.
    assert not load_settings().pages_url


def test_runs_have_the_settings_of_the_platform(manifests: list[Object], in_a_pod: Labels) -> None:
    of_runs = one(manifests, "ConfigMap", "wafer-settings", RUNS)["data"]
    assert of_runs.items() <= in_a_pod.items()
    assert in_a_pod.keys() - of_runs.keys() == {"WAFER_WEB__ORIGINS"}


# --- the chart's values


@pytest.fixture
def values() -> Object:
    """Values of Dagster's chart on EKS."""
    return load_values(BASE, EKS)


def test_the_chart_is_as_the_manifests_take_it(values: Object) -> None:
    (location,) = values["dagster-user-deployments"]["deployments"]
    webserver = values["dagsterWebserver"]
    assert (location["name"], location["port"]) == ("wafer", CHART_PORTS["code-location"])
    assert webserver["enableReadOnly"] is True
    assert {
        (f"dagster-{webserver['nameOverride']}{suffix}", webserver["service"]["port"]) for suffix in ("", "-read-only")
    } == CHART_SERVICES
    assert {
        values["serviceAccount"]["name"],
        values["dagster-user-deployments"]["serviceAccount"]["name"],
    } == CHART_ACCOUNTS
    assert values["rbacEnabled"] is values["dagster-user-deployments"]["rbacEnabled"] is False


def test_the_chart_is_given_our_image_settings_and_secrets(values: Object, manifests: list[Object]) -> None:
    (location,) = values["dagster-user-deployments"]["deployments"]
    places = (location, values["dagsterWebserver"], values["dagsterDaemon"])
    assert {place["image"]["repository"].rpartition("/")[2] for place in places} == {OUR_IMAGE}
    secrets = {item["spec"]["target"]["name"] for item in of_kind(manifests, "ExternalSecret")}
    assert values["global"]["postgresqlSecretName"] in secrets
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    for place in (location, launcher, values["dagsterWebserver"]):
        assert place["envConfigMaps"] == [{"name": "wafer-settings"}]
    for place in (location, launcher):
        assert {secret["name"] for secret in place["envSecrets"]} <= secrets


# --- rights


def calls_of(module: ModuleType, receiver: str) -> set[str]:
    """Names of the methods that a module calls on attributes of a name."""
    return {
        node.func.attr
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Attribute)
        and node.func.value.attr == receiver
    }


def requests_of(methods: set[str]) -> set[tuple[str, str, str]]:
    """Rights that methods of Dagster's client need, together with the methods that they call: group, resource, verb."""
    (source,) = (
        node
        for node in ast.walk(ast.parse(inspect.getsource(k8s_client)))
        if isinstance(node, ast.ClassDef) and node.name == "DagsterKubernetesClient"
    )
    bodies = {node.name: node for node in source.body if isinstance(node, ast.FunctionDef)}
    rights, seen, waiting = set(), set(), set(methods)
    while waiting:
        method = waiting.pop()
        seen.add(method)
        for node in ast.walk(bodies[method]):
            if not isinstance(node, ast.Attribute):
                continue
            if isinstance(node.value, ast.Attribute) and node.value.attr in ("batch_api", "core_api"):
                named = re.fullmatch(r"(create|delete|list|read)_namespaced_(\w+)", node.attr)
                assert named is not None, node.attr
                verb = {"read": "get"}.get(named[1], named[1])
                resource = {"job_status": "jobs/status", "pod_log": "pods/log"}.get(named[2], f"{named[2]}s")
                rights.add(("batch" if node.value.attr == "batch_api" else "", resource, verb))
            elif node.attr in bodies and node.attr not in seen:
                waiting.add(node.attr)
    return rights


@pytest.mark.parametrize(
    ("account", "modules"),
    [
        ((OURS, "dagster"), [k8s_launcher]),
        ((RUNS, "wafer-runs"), [k8s_executor, steps_as_pods]),
        ((OURS, "wafer-runs"), []),
    ],
)
def test_an_account_may_do_exactly_what_dagster_does_with_it(
    account: tuple[str, str], modules: list[ModuleType], manifests: list[Object]
) -> None:
    bound = {
        item["roleRef"]["name"]
        for item in of_kind(manifests, "RoleBinding")
        if account in [(subject["namespace"], subject["name"]) for subject in item["subjects"]]
    }
    given = {
        (group, resource, verb)
        for item in of_kind(manifests, "Role")
        if item["metadata"]["name"] in bound
        for rule in item["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == requests_of({call for module in modules for call in calls_of(module, "_api_client")})


# --- who reaches whom


def policies_of(objects: list[Object], direction: str, labels: Labels) -> list[Object]:
    return [
        item["spec"]
        for item in of_kind(objects, "NetworkPolicy")
        if item["metadata"]["namespace"] == labels.get(NAMESPACE, OURS)
        and direction in item["spec"]["policyTypes"]
        and selects(item["spec"]["podSelector"], labels)
    ]


def lets(objects: list[Object], direction: Literal["Ingress", "Egress"], pod: Labels, peer: Labels, port: int) -> bool:
    """Say whether the policies of a pod let a peer of our namespaces pass in a direction, as Kubernetes defines it."""
    policies = policies_of(objects, direction, pod)
    side = "from" if direction == "Ingress" else "to"
    return not policies or any(
        port in [entry["port"] for entry in rule["ports"]] and any(is_meant(other, pod, peer) for other in rule[side])
        for policy in policies
        for rule in policy.get(direction.lower(), [])
    )


def is_meant(other: Object, pod: Labels, peer: Labels) -> bool:
    """Say whether a rule of a pod's policy means a peer."""
    there = {NAMESPACE: peer.get(NAMESPACE, OURS)}
    where = other.get("namespaceSelector", {"matchLabels": {NAMESPACE: pod.get(NAMESPACE, OURS)}})
    return "ipBlock" not in other and selects(where, there) and selects(other.get("podSelector", {}), peer)


def leaves(objects: list[Object], pod: Labels) -> set[tuple[str, int]]:
    """Networks and ports that a pod may reach beyond the namespace."""
    return {
        (other["ipBlock"]["cidr"], port["port"])
        for policy in policies_of(objects, "Egress", pod)
        for rule in policy.get("egress", [])
        for other in rule["to"]
        if "ipBlock" in other
        for port in rule["ports"]
    }


def test_pods_reach_each_other_only_where_the_platform_needs_it(manifests: list[Object]) -> None:
    pods, ports = all_pods(manifests), ports_of(manifests)
    assert {
        (source, target)
        for source, own in pods.items()
        for target, port in ports.items()
        if lets(manifests, "Egress", own, pods[target], port) and lets(manifests, "Ingress", pods[target], own, port)
    } == {
        ("auth-proxy-operators", "webserver"),
        ("auth-proxy-viewers", "webserver-read-only"),
        ("auth-proxy-mlflow", "mlflow"),
        ("webserver", "code-location"),
        ("webserver-read-only", "code-location"),
        ("daemon", "code-location"),
        ("code-location", "mlflow"),
        ("run", "mlflow"),
        ("step", "mlflow"),
        ("wafer-scoring", "mlflow"),
        ("wafer-console", "mlflow"),
        ("wafer-metrics", "mlflow"),
    }


def test_no_pod_has_half_a_way(manifests: list[Object]) -> None:
    pods, ports = all_pods(manifests), ports_of(manifests)
    assert [
        (source, target)
        for source, own in pods.items()
        for target, port in ports.items()
        if lets(manifests, "Egress", own, pods[target], port) != lets(manifests, "Ingress", pods[target], own, port)
    ] == []


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        (["webserver", "webserver-read-only", "daemon"], {(VPC, 5432), (ROLES, 80), (ANYWHERE, 443)}),
        (
            ["code-location", "run", "step", "wafer-console"],
            {(VPC, 5432), (ATLAS, 27017), (ROLES, 80), (ANYWHERE, 443)},
        ),
        (["mlflow"], {(VPC, 5432), (ROLES, 80), (ANYWHERE, 443)}),
        (["migration"], {(VPC, 5432)}),
        (["wafer-scoring"], set()),
        (["auth-proxy-operators", "auth-proxy-viewers", "auth-proxy-mlflow"], {(ANYWHERE, 443)}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_pods_leave_the_namespace_only_for_their_stores(
    pods: list[str], expected: set[tuple[str, int]], manifests: list[Object]
) -> None:
    for pod in pods:
        assert leaves(manifests, all_pods(manifests)[pod]) == expected


def test_a_pod_that_no_policy_names_is_alone(manifests: list[Object]) -> None:
    for namespace in (OURS, RUNS):
        stray = {"app": "stray", NAMESPACE: namespace}
        for pod, port in ports_of(manifests).items():
            assert not lets(manifests, "Egress", stray, all_pods(manifests)[pod], port)
            assert not lets(manifests, "Ingress", all_pods(manifests)[pod], stray, port)
        assert leaves(manifests, stray) == set()


# --- what runs


def arguments_of(objects: list[Object], name: str) -> list[str]:
    """Arguments of a container as Kubernetes passes them: with the variables that come from settings put in."""
    container = container_of(objects, name)
    references = {
        env["name"]: env["valueFrom"].get("configMapKeyRef") for env in container["env"] if "valueFrom" in env
    }
    known = {
        variable: one(objects, "ConfigMap", reference["name"])["data"][reference["key"]]
        for variable, reference in references.items()
        if reference is not None
    }
    return [re.sub(r"\$\((\w+)\)", lambda named: known[named[1]], argument) for argument in container["args"]]


def test_the_mlflow_server_takes_its_flags(manifests: list[Object]) -> None:
    from mlflow.cli import server

    container = container_of(manifests, "mlflow")
    assert container["command"] == ["mlflow", "server"]
    options = server.make_context("server", arguments_of(manifests, "mlflow")).params
    assert (options["host"], options["port"], options["serve_artifacts"]) == (EVERYWHERE, 5000, True)


def test_the_mlflow_server_answers_to_its_own_names_alone(manifests: list[Object]) -> None:
    from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

    arguments = dict(argument[2:].split("=", 1) for argument in arguments_of(manifests, "mlflow") if "=" in argument)
    hosts, origins = arguments["allowed-hosts"].split(","), arguments["cors-allowed-origins"].split(",")
    ours = urlsplit(one(manifests, "ConfigMap", "wafer-settings")["data"]["WAFER_MLFLOW__TRACKING_URI"]).netloc
    public = one(manifests, "Ingress", "mlflow")["spec"]["rules"][0]["host"]
    assert is_allowed_host_header(hosts, ours)
    assert is_allowed_host_header(hosts, public)
    assert not is_allowed_host_header(hosts, "evil.example.com")
    assert not should_block_cors_request(f"https://{public}", "POST", origins)
    assert should_block_cors_request("https://evil.example.com", "POST", origins)


def test_the_scoring_server_takes_its_flags(manifests: list[Object]) -> None:
    from wafer_assets.cli.serve import serve

    container = container_of(manifests, "wafer-scoring")
    assert container["command"] == ["wafer", "serve"]
    options = serve.make_context("serve", list(container["args"])).params
    assert (str(options["host"]), options["port"]) == (EVERYWHERE, container["ports"][0]["containerPort"])


def test_the_scoring_server_is_reached_under_the_names_of_its_service(
    manifests: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in one(manifests, "ConfigMap", "wafer-settings")["data"].items():
        monkeypatch.setenv(name, value)
    service = one(manifests, "Service", "wafer-scoring")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    hosts = {rule["host"] for item in of_kind(manifests, "Ingress") for rule in item["spec"]["rules"]}
    assert set(load_settings().web.origins) == {
        *(f"http://{name}.wafer{suffix}:{port}" for suffix in ("", ".svc.cluster.local")),
        *(f"https://{host}" for host in hosts if host.startswith("wafer")),
    }


def test_only_the_load_balancer_reaches_a_proxy_and_is_believed(manifests: list[Object]) -> None:
    for proxy in ("auth-proxy-operators", "auth-proxy-viewers", "auth-proxy-mlflow"):
        policies = policies_of(manifests, "Ingress", all_pods(manifests)[proxy])
        sources = [source for policy in policies for rule in policy.get("ingress", []) for source in rule["from"]]
        assert sources == [{"ipBlock": {"cidr": BALANCER}}]
        trusted = [flag for flag in arguments_of(manifests, proxy) if flag.startswith("--trusted-proxy-ip=")]
        assert trusted == [f"--trusted-proxy-ip={BALANCER}"]


@pytest.mark.parametrize(
    ("proxy", "group"),
    [
        ("auth-proxy-operators", "wafer-operators"),
        ("auth-proxy-viewers", "wafer-viewers"),
        ("auth-proxy-mlflow", "wafer-operators"),
    ],
)
def test_nobody_passes_a_proxy_without_its_group(proxy: str, group: str, manifests: list[Object]) -> None:
    arguments = arguments_of(manifests, proxy)
    assert f"--allowed-group={group}" in arguments
    assert [
        argument for argument in arguments if argument.startswith(("--skip-auth", "--trusted-ip", "--api-route"))
    ] == []
    (host,) = (
        rule["host"]
        for item in of_kind(manifests, "Ingress")
        for rule in item["spec"]["rules"]
        if rule["http"]["paths"][0]["backend"]["service"]["name"] == proxy
    )
    assert f"--redirect-url=https://{host}/oauth2/callback" in arguments


def test_a_session_of_one_proxy_is_none_of_another(manifests: list[Object]) -> None:
    names = [
        argument
        for name, _, container in containers(manifests)
        if name.startswith("auth-proxy")
        for argument in container["args"]
        if argument.startswith("--cookie-name=__Host-")
    ]
    assert len(names) == len(set(names)) == 3


def test_people_come_in_through_a_proxy_alone(manifests: list[Object]) -> None:
    backends = {
        path["backend"]["service"]["name"]
        for item in of_kind(manifests, "Ingress")
        for rule in item["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    assert backends == {"auth-proxy-operators", "auth-proxy-viewers", "auth-proxy-mlflow"}
    assert {item["spec"].get("type", "ClusterIP") for item in of_kind(manifests, "Service")} == {"ClusterIP"}


def test_the_load_balancer_listens_on_443_alone(manifests: list[Object]) -> None:
    ports = {
        item["metadata"]["annotations"]["alb.ingress.kubernetes.io/listen-ports"]
        for item in of_kind(manifests, "Ingress")
    }
    assert [json.loads(text) for text in ports] == [[{"HTTPS": 443}]]


# --- the runbook


@pytest.mark.skipif(shutil.which("jq") is None, reason="the runbook's command needs jq")
def test_the_runbooks_migration_of_mlflow_is_a_job(manifests: list[Object], tmp_path: Path) -> None:
    (tmp_path / "deployment.json").write_text(json.dumps(one(manifests, "Deployment", "mlflow")))
    kubectl = 'kubectl() { case "$*" in *json) cat deployment.json;; apply*) cat > job.json;; esac; }\n'
    run(kubectl + block("mlflow db upgrade"), tmp_path)
    job = json.loads((tmp_path / "job.json").read_text())
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    assert "mlflow db upgrade" in job["spec"]["template"]["spec"]["containers"][0]["command"][-1]

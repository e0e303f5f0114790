"""Argo CD's objects: they are what its API takes, their sources come out right, and nothing in them goes too far."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import validate

from deploy.ci.delivery import chart_version
from tests.chart import ROOT
from tests.deploy.argocd import (
    BASE,
    CHART,
    CRDS,
    DIGEST,
    ENVIRONMENTS,
    FOLDER,
    RELEASE,
    Object,
    application,
    helm,
    manifests_of,
    needs_crds,
    needs_helm,
    needs_kustomize,
    read,
    values_of,
)
from tests.deploy.test_manifests import CHART_PODS, RULES, Rule, labels_of_job, one

WAVE = "argocd.argoproj.io/sync-wave"
OUR_IMAGE = f"{RELEASE['image']['repository']}@{DIGEST}"
# What the chart makes of our values, as tests/helm_values finds where there is the chart.
CHART_KINDS = {("", "ConfigMap"), ("", "Service"), ("", "ServiceAccount"), ("apps", "Deployment")}
CLUSTER_KINDS = {("", "Namespace")}


def group_kind(found: Object) -> tuple[str, str]:
    return found["apiVersion"].rpartition("/")[0], found["kind"]


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Object:
    return application(request.param, tmp_path_factory.mktemp("application"))


@pytest.fixture(scope="module")
def objects(made: Object, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """All objects of our manifests, as Argo CD would apply them."""
    return manifests_of(made, tmp_path_factory.mktemp("manifests"))


def check(text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CRDS / "check"), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@needs_crds
@pytest.mark.parametrize("name", ["project.yaml", "environments.yaml", "../../manifests/external-secrets.yaml"])
def test_the_objects_are_what_argo_cds_api_takes(name: str) -> None:
    checked = check((BASE / name).read_text())
    assert checked.returncode == 0, checked.stdout


@needs_crds
@needs_helm
def test_the_applications_are_too(made: Object) -> None:
    checked = check(yaml.safe_dump(made))
    assert checked.returncode == 0, checked.stdout


@needs_crds
@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("project.yaml", "sourceRepos:", "sourceRepositories:"),
        ("project.yaml", "kind: allow", "kind: 7"),
        ("environments.yaml", "goTemplate: true", 'goTemplate: "yes"'),
        ("environments.yaml", "selfHeal: true", "selfheal: true"),
        ("environments.yaml", "valueFiles:", "valuesFiles:"),
    ],
)
def test_a_mistake_in_an_object_is_refused(name: str, was: str, becomes: str) -> None:
    text = (BASE / name).read_text()
    assert was in text
    assert check(text.replace(was, becomes)).returncode == 1


# --- sources


@needs_helm
@needs_kustomize
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_manifests_keep_their_rules_as_argo_cd_renders_them(rule: Rule, objects: list[Object]) -> None:
    assert rule(objects) == []


@needs_helm
@needs_kustomize
def test_every_pod_of_ours_has_the_digest_that_was_delivered(objects: list[Object]) -> None:
    images = {image for found in objects for image in images_in(found) if "wafer-fault-platform" in image}
    assert images == {OUR_IMAGE}


def images_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "image" else images_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from images_in(inner)


@needs_helm
def test_the_chart_is_given_the_digest_that_was_delivered(made: Object, tmp_path: Path) -> None:
    values = values_of(made, tmp_path)
    (location,) = values["dagster-user-deployments"]["deployments"]
    for place in (values["dagsterWebserver"], values["dagsterDaemon"], location):
        assert f"{place['image']['repository']}:{place['image']['tag']}" == OUR_IMAGE


@needs_helm
@pytest.mark.skipif(
    CHART is None, reason=f"WAFER_DAGSTER_CHART has to be the folder of Dagster's chart {chart_version()}"
)
def test_the_chart_renders_as_argo_cd_renders_it(made: Object, tmp_path: Path) -> None:
    texts = helm(str(CHART), values_of(made, tmp_path)).values()
    rendered = [found for text in texts for found in yaml.safe_load_all(text) if found]
    for found in rendered:
        validate(found, "1.31", strict=True)
    assert {group_kind(found) for found in rendered} == CHART_KINDS
    assert OUR_IMAGE in {image for found in rendered for image in images_in(found)}


@needs_helm
def test_manifests_and_values_come_from_the_commit_that_was_delivered(made: Object) -> None:
    manifests, chart, delivery = made["spec"]["sources"]
    assert (manifests["targetRevision"], manifests["ref"]) == (RELEASE["revision"], "source")
    assert manifests["path"] == f"deploy/environments/{made['metadata']['name'].removeprefix('wafer-')}"
    assert chart["targetRevision"] == RELEASE["chart"]
    assert delivery.keys() == {"repoURL", "targetRevision", "ref"}


# --- order


@needs_helm
@needs_kustomize
def test_waves_are_namespace_secrets_stores_mlflow_dagster_and_what_needs_it(objects: list[Object]) -> None:
    waves: dict[str, set[str]] = {}
    for found in objects:
        waves.setdefault(found["metadata"]["annotations"][WAVE], set()).add(found["kind"])
    assert waves["-4"] == {"Namespace"}
    assert waves["-3"] == {"ExternalSecret"}
    assert waves["-2"] >= {"ConfigMap", "NetworkPolicy"}
    assert waves["-1"] == {"ServiceAccount", "Service", "Deployment"}
    assert waves.keys() == {"-4", "-3", "-2", "-1", "1"}, "0 is Dagster's chart, which has no waves"
    assert one(objects, "Deployment", "mlflow")["metadata"]["annotations"][WAVE] == "-1"


@needs_helm
@needs_kustomize
def test_no_wave_waits_for_the_first_champion(objects: list[Object]) -> None:
    annotations = one(objects, "Deployment", "wafer-scoring")["metadata"]["annotations"]
    assert annotations["argocd.argoproj.io/ignore-healthcheck"] == "true"


# --- rights


@needs_helm
@needs_kustomize
def test_the_project_may_make_what_there_is_and_nothing_else(objects: list[Object]) -> None:
    spec = read("project.yaml")["spec"]
    kinds = {group_kind(found) for found in objects} | CHART_KINDS
    assert {(one["group"], one["kind"]) for one in spec["clusterResourceWhitelist"]} == CLUSTER_KINDS
    assert {(one["group"], one["kind"]) for one in spec["namespaceResourceWhitelist"]} == kinds - CLUSTER_KINDS


@needs_helm
def test_the_project_has_the_sources_and_places_of_its_applications_and_no_others(
    tmp_path: Path,
) -> None:
    spec = read("project.yaml")["spec"]
    every = [application(name, tmp_path)["spec"] for name in ENVIRONMENTS]
    generator = read("environments.yaml")["spec"]["generators"][0]["git"]
    assert {source["repoURL"] for one in every for source in one["sources"]} == set(spec["sourceRepos"])
    assert generator["repoURL"] in spec["sourceRepos"]
    servers = {one["destination"]["server"] for one in every}
    places = {(server, namespace) for server in servers for namespace in ("wafer", "wafer-runs")}
    assert places == {(place["server"], place["namespace"]) for place in spec["destinations"]}
    assert not any("*" in text for text in (*spec["sourceRepos"], *map(str, spec["destinations"])))


@needs_helm
def test_no_application_is_named_as_dagster_labels_its_runs(made: Object) -> None:
    labels = labels_of_job("run_worker")
    assert labels["app.kubernetes.io/instance"] == "dagster"
    assert made["metadata"]["name"] != labels["app.kubernetes.io/instance"]
    assert read("settings.yaml")["data"] == {"application.resourceTrackingMethod": "annotation"}
    assert not any("argocd" in key for pod in CHART_PODS.values() for key in pod)


def test_runs_are_not_argo_cds_to_make_prune_or_complain_about() -> None:
    spec = read("project.yaml")["spec"]
    allowed = {one["kind"] for one in (*spec["namespaceResourceWhitelist"], *spec["clusterResourceWhitelist"])}
    assert not {"Job", "Pod", "*"} & allowed
    assert {"Job", "Pod"} <= {one["kind"] for one in spec["orphanedResources"]["ignore"]}


@needs_helm
@needs_kustomize
def test_what_is_ignored_is_there_and_changed_by_others(made: Object, objects: list[Object]) -> None:
    ignored = {
        (one["kind"], one["name"], pointer)
        for one in made["spec"]["ignoreDifferences"]
        for pointer in one["jsonPointers"]
    }
    assert ignored == {
        ("Deployment", "wafer-scoring", "/spec/replicas"),
        ("Deployment", "wafer-console", "/spec/replicas"),
    }
    assert {(kind, name) for kind, name, _ in ignored} <= {(one["kind"], one["metadata"]["name"]) for one in objects}
    assert "RespectIgnoreDifferences=true" in made["spec"]["syncPolicy"]["syncOptions"]


def test_production_alone_has_a_window_and_development_follows_at_once() -> None:
    (window,) = read("project.yaml")["spec"]["syncWindows"]
    assert (window["kind"], window["applications"], window["manualSync"]) == ("allow", ["wafer-production"], True)
    automated = read("environments.yaml")["spec"]["template"]["spec"]["syncPolicy"]["automated"]
    assert automated == {"prune": True, "selfHeal": True}


def test_nobody_syncs_production_who_is_not_asked_for_approval() -> None:
    roles = {role["name"]: role for role in read("project.yaml")["spec"]["roles"]}
    syncs = {name: [line for line in role["policies"] if ", sync," in line] for name, role in roles.items()}
    assert all("wafer-production" not in line for line in syncs["operator"])
    assert roles["releaser"]["groups"] == ["wafer-releasers"]
    assert not any("*, *" in line or ", delete," in line for role in roles.values() for line in role["policies"])


@needs_kustomize
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_argo_cd_of_a_cluster_serves_its_environment_alone(name: str) -> None:
    command = ["kubectl", "kustomize", str(FOLDER / "clusters" / name)]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    objects = list(yaml.safe_load_all(built))
    (generator,) = one(objects, "ApplicationSet", "wafer", "argocd")["spec"]["generators"]
    assert generator["selector"] == {"matchLabels": {"environment": name}}
    assert {found["kind"] for found in objects} == {"ConfigMap", "AppProject", "ApplicationSet"}
    if (CRDS / "check").exists():
        assert check(built).returncode == 0


def test_a_template_without_its_value_is_an_error() -> None:
    assert read("environments.yaml")["spec"]["goTemplateOptions"] == ["missingkey=error"]


def test_every_placeholder_of_an_environment_is_one_that_a_delivery_replaces_or_a_person() -> None:
    for name in ENVIRONMENTS:
        environment = yaml.safe_load((FOLDER / "environments" / f"{name}.yaml").read_text())
        assert environment["environment"] == name
        assert environment.keys() == {"environment", "cluster", *RELEASE}
        assert (ROOT / "deploy/terraform/environments" / f"{name}.tfvars").exists()

"""The values for the official chart: what they stand for loads in our Dagster, and mistakes in them are refused."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterEventType, DagsterInstance, OpExecutionContext, job, op
from dagster._config import process_config, resolve_to_config_type
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.dagster_run import DagsterRun
from dagster._serdes import ConfigurableClassData
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from dagster_k8s.launcher import K8sRunLauncher
from kubernetes.client import ApiClient, V1Job
from kubernetes_validate import validate
from pydantic import ValidationError

from deploy.ci.delivery import chart_version
from resources.s3 import S3Store
from tests.chart import BASE, EKS, LOCAL, RELEASE, instance_config, load_values
from wafer_assets.cli.instance import dagster_home
from wafer_assets.settings import Settings, load_settings

ENVIRONMENTS = {"eks": EKS, "local": LOCAL}
CHART = os.environ.get("WAFER_DAGSTER_CHART")
HELM = os.environ.get("HELM") or shutil.which("helm")
KUBERNETES = "1.31"
Place = tuple[str | int, ...]


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def values(environment: str) -> dict[str, Any]:
    return load_values(BASE, ENVIRONMENTS[environment])


@pytest.fixture
def launcher(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> K8sRunLauncher:
    """The run launcher that the values stand for, without a cluster."""
    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)
    config = instance_config(values)["run_launcher"]["config"]
    result = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), config)
    assert result.success, result.errors
    return K8sRunLauncher.from_config_value(None, result.value)


@pytest.fixture
def run_pod(launcher: K8sRunLauncher) -> V1Job:
    """The job of a run, as Dagster would create it."""
    return job_of(launcher, {})


def job_of(launcher: K8sRunLauncher, step: dict[str, Any]) -> V1Job:
    run = DagsterRun(job_name="secom__train", run_id="4fd0a1a6-9f3c-4f5c-a5a5-5a8a5a3b2f10")
    context = K8sContainerContext.create_for_run(run, launcher, include_run_tags=False)
    context = context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(step)))
    return construct_dagster_k8s_job(
        context.get_k8s_job_config("wafer-fault-platform:0123abc", launcher),
        args=["dagster"],
        job_name="dagster-run-1",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )


def load(config: dict[str, Any], folder: Path) -> dict[str, ConfigurableClassData]:
    """Load a dagster.yaml as Dagster does, and check every part with the class that it is for."""
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
    dagster_instance_config(str(folder))
    ref = InstanceRef.from_dir(str(folder))
    parts = {
        "scheduler": ref.scheduler_data,
        "schedule_storage": ref.schedule_storage_data,
        "run_storage": ref.run_storage_data,
        "event_log_storage": ref.event_storage_data,
        "run_launcher": ref.run_launcher_data,
        "run_coordinator": ref.run_coordinator_data,
        "compute_logs": ref.compute_logs_data,
    }
    loaded = {}
    for name, data in parts.items():
        assert data is not None, name
        configurable = getattr(import_module(data.module_name), data.class_name)
        result = process_config(resolve_to_config_type(configurable.config_type()), data.config_dict)
        if not result.success:
            raise DagsterInvalidConfigError(name, result.errors, data.config_dict)
        loaded[name] = data
    return loaded


def keys(values: Any, at: Place = ()) -> Iterator[Place]:
    """Yield where every key is."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*at, key)
            yield from keys(value, (*at, key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from keys(value, (*at, index))


def changed(values: dict[str, Any], at: Place, change: Callable[[Any], None]) -> dict[str, Any]:
    """Return a copy in which something was done to the map at a place."""
    copy = deepcopy(values)
    below: Any = copy
    for step in at:
        below = below[step]
    change(below)
    return copy


def misspelt(key: str) -> str:
    """Return the key with two neighbours swapped, or doubled where that changes nothing."""
    middle = len(key) // 2
    other = key[: middle - 1] + key[middle] + key[middle - 1] + key[middle + 1 :]
    return other if other != key else f"{key}{key[-1]}"


# The chart and we


def drift(chart: str) -> list[str]:
    """Return which of our libraries are not of the chart's release."""
    major, minor, patch = chart.split(".")
    libraries = f"0.{int(minor) + 16}.{patch}"
    assert major == "1"
    wanted = {"dagster": chart, "dagster-webserver": chart}
    wanted |= dict.fromkeys(("dagster-aws", "dagster-k8s", "dagster-postgres"), libraries)
    return [name for name, release in wanted.items() if version(name) != release]


def test_the_chart_is_of_the_release_of_our_dagster() -> None:
    assert drift(chart_version()) == []


def test_the_runbook_names_no_other_chart() -> None:
    named = re.findall(r"\b1\.\d\d\.\d+", (BASE.parents[1] / "deploy" / "README.md").read_text())
    assert set(named) == {chart_version()}


@pytest.mark.parametrize("other", ["1.13.26", "1.14.27", "1.12.0"])
def test_another_chart_would_be_noticed(other: str, tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text(BASE.read_text().replace(f"dagster {chart_version()}\n", f"dagster {other}\n", 1))
    assert "dagster" in drift(chart_version(file))


def test_values_that_do_not_say_their_chart_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text("telemetry:\n  enabled: false\n")
    with pytest.raises(ValueError, match=r"base\.yaml does not begin with the version"):
        chart_version(file)


# Merging


def test_files_are_merged_as_helm_does(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("a: {b: 1, c: {d: 2}}\nlist: [{e: 3, f: 4}]\ngone: 5\nscalar: 6\n")
    second.write_text("a: {c: {d: 7, g: null}}\nlist: [{e: 8}]\ngone: null\nscalar: {h: 9}\n")
    assert load_values(first, second) == {"a": {"b": 1, "c": {"d": 7}}, "list": [{"e": 8}], "scalar": {"h": 9}}


def test_code_locations_differ_only_where_environments_must() -> None:
    def common(file: Path) -> dict[str, Any]:
        (location,) = load_values(file)["dagster-user-deployments"]["deployments"]
        own = {"image", "resources", "envSecrets", "volumes", "volumeMounts"}
        return {key: value for key, value in location.items() if key not in own}

    assert common(EKS) == common(LOCAL)


# What they stand for


def test_the_instance_loads_in_our_dagster(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "hunter2")
    loaded = load(instance_config(values), tmp_path)
    assert loaded["run_launcher"].class_name == "K8sRunLauncher"
    for name in ("scheduler", "run_coordinator", "compute_logs"):
        assert type(loaded[name].rehydrate()).__name__ == loaded[name].class_name


@pytest.mark.parametrize(
    ("part", "mistake"),
    [
        ("run_launcher", {"job_namspace": "wafer"}),
        ("run_launcher", {"run_k8s_config": {"containers_config": {}}}),
        ("run_coordinator", {"dequeue_interval": 5}),
        ("run_coordinator", {"max_concurrent_runs": 10}),
        ("compute_logs", {"buckets": "logs"}),
        ("run_storage", {"postgres_db": {"host": "db"}}),
        ("event_log_storage", {"postgres_url": 5}),
        ("schedule_storage", {"should_autocreate_table": True}),
    ],
)
def test_our_dagster_would_refuse_a_mistake_in_a_part(
    part: str, mistake: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "hunter2")
    config = instance_config(load_values(BASE, EKS))
    config[part]["config"] |= mistake
    with pytest.raises(DagsterInvalidConfigError):
        load(config, tmp_path)


@pytest.mark.parametrize(
    ("section", "mistake"),
    [
        ("run_monitoring", {"max_runtime": 7200}),
        ("run_retries", {"retries": 2}),
        ("retention", {"sensors": {}}),
        ("concurrency", {"pool": {}}),
        ("sensors", {"workers": 4}),
    ],
)
def test_our_dagster_would_refuse_a_mistake_in_a_section(section: str, mistake: dict[str, Any], tmp_path: Path) -> None:
    config = instance_config(load_values(BASE, EKS))
    config[section] |= mistake
    with pytest.raises(DagsterInvalidConfigError):
        load(config, tmp_path)


def test_retries_monitoring_and_retention_are_those_of_a_laptop(values: dict[str, Any], environment: str) -> None:
    laptop = yaml.safe_load((dagster_home(load_settings()) / "dagster.yaml").read_text())
    cluster = instance_config(values)
    assert cluster["run_retries"] == laptop["run_retries"]
    assert cluster["telemetry"] == laptop["telemetry"]
    assert cluster["nux"] == laptop["nux"]
    assert cluster["retention"]["schedule"] == laptop["retention"]["schedule"]
    kept = laptop["retention"]["sensor"]["purge_after_days"]
    assert cluster["retention"]["sensor"]["purge_after_days"].items() >= kept.items()
    monitoring = dict(laptop["run_monitoring"])
    if environment == "eks":
        # A node may have to be started first.
        assert cluster["run_monitoring"]["start_timeout_seconds"] > monitoring.pop("start_timeout_seconds")
    assert cluster["run_monitoring"].items() >= monitoring.items()


@pytest.mark.parametrize(("file", "runs"), [(EKS, 10), (LOCAL, 2)])
def test_runs_are_limited_and_pools_are_those_of_a_laptop(file: Path, runs: int) -> None:
    config = instance_config(load_values(BASE, file))
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == runs
    laptop = yaml.safe_load((dagster_home(load_settings()) / "dagster.yaml").read_text())
    assert (
        config["concurrency"]["pools"] == laptop["concurrency"]["pools"] == {"default_limit": 1, "granularity": "run"}
    )
    assert "max_concurrent_runs" not in config["run_coordinator"]["config"]


def test_a_backfill_leaves_places_for_other_runs() -> None:
    runs = instance_config(load_values(BASE, EKS))["concurrency"]["runs"]
    (limit,) = runs["tag_concurrency_limits"]
    assert limit["key"] == "dagster/backfill"
    assert limit["limit"] < runs["max_concurrent_runs"]


def test_runs_have_a_namespace_of_their_own(values: dict[str, Any]) -> None:
    assert instance_config(values)["run_launcher"]["config"]["job_namespace"] == "wafer-runs"


def test_production_speaks_to_aws_and_a_laptop_to_its_own_s3() -> None:
    logs = {name: instance_config(load_values(BASE, file))["compute_logs"] for name, file in ENVIRONMENTS.items()}
    assert "endpoint_url" not in logs["eks"]["config"]
    assert logs["local"]["config"]["endpoint_url"].startswith("http://")


def test_what_a_step_prints_is_read_from_the_bucket_while_it_runs_and_afterwards(
    values: dict[str, Any], settings: Settings, s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the pods' environment has them: neither is in the instance's file.
    for name, secret in (
        ("AWS_ACCESS_KEY_ID", settings.s3.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", settings.s3.secret_access_key),
    ):
        assert secret is not None
        monkeypatch.setenv(name, secret.get_secret_value())
    logs = instance_config(values)["compute_logs"]
    here = {"bucket": s3.lake, "endpoint_url": settings.s3.endpoint_url, "upload_interval": 1}

    def pod(name: str) -> DagsterInstance:
        config = logs | {"config": logs["config"] | here | {"local_dir": str(tmp_path / name / "logs")}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "dagster.yaml").write_text(yaml.safe_dump({"compute_logs": config}))
        return DagsterInstance.from_config(str(tmp_path / name))

    with pod("run") as runs, pod("webserver") as reads:

        def printed(run_id: str) -> bytes | None:
            (event,) = runs.all_logs(run_id, of_type=DagsterEventType.LOGS_CAPTURED)
            assert event.dagster_event is not None
            key = reads.compute_log_manager.build_log_key_for_run(
                run_id, event.dagster_event.logs_captured_data.file_key
            )
            return reads.compute_log_manager.get_log_data(key).stdout

        @op
        def say(context: OpExecutionContext) -> None:
            print("a model of two clusters", flush=True)  # noqa: T201
            waited_until = time.monotonic() + 30
            while not printed(context.run_id) and time.monotonic() < waited_until:
                time.sleep(0.1)
            # A pod that is killed now has said so much.
            assert printed(context.run_id) == b"a model of two clusters\n"
            print("trained", flush=True)  # noqa: T201

        @job
        def train() -> None:
            say()

        run_id = train.execute_in_process(instance=runs).run_id
        assert printed(run_id) == b"a model of two clusters\ntrained\n"
    folder = f"dagster/storage/{run_id}/compute_logs/"
    assert {item.key.rpartition(".")[2] for item in s3.list_objects(s3.lake, folder)} >= {"out", "err"}
    assert not list((tmp_path / "run" / "logs").rglob("*.out"))


# Run pods


def test_runs_have_the_size_that_the_launcher_says_and_not_that_of_the_code_location(
    values: dict[str, Any], run_pod: V1Job
) -> None:
    (location,) = values["dagster-user-deployments"]["deployments"]
    said = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["containerConfig"]["resources"]
    assert location["includeConfigInLaunchedRuns"] == {"enabled": False}
    assert run_pod.spec.template.spec.containers[0].resources.to_dict().items() >= said.items()
    assert location["resources"] != said


def test_a_step_may_have_a_size_of_its_own(launcher: K8sRunLauncher) -> None:
    step = job_of(launcher, {"container_config": {"resources": {"limits": {"memory": "6Gi"}}}})
    container = step.spec.template.spec.containers[0]
    assert container.resources.limits["memory"] == "6Gi"
    assert container.security_context.read_only_root_filesystem


def test_runs_have_an_account_of_their_own_and_not_that_of_the_daemon(values: dict[str, Any], run_pod: V1Job) -> None:
    runs, daemon = values["dagster-user-deployments"]["serviceAccount"], values["serviceAccount"]
    assert run_pod.spec.template.spec.service_account_name == runs["name"] != daemon["name"]


def test_runs_are_not_root_and_write_only_to_folders_of_their_own(run_pod: V1Job) -> None:
    pod = run_pod.spec.template.spec
    (container,) = pod.containers
    assert pod.security_context.run_as_non_root
    assert pod.security_context.run_as_user == 10001
    assert pod.security_context.seccomp_profile.type == "RuntimeDefault"
    assert container.security_context.read_only_root_filesystem
    assert container.security_context.allow_privilege_escalation is False
    assert container.security_context.capabilities.drop == ["ALL"]
    folders = {volume.name for volume in pod.volumes if volume.empty_dir is not None}
    writable = {mount.mount_path for mount in container.volume_mounts if mount.name in folders}
    assert writable == {"/tmp", "/opt/dagster/dagster_home"}


def test_runs_are_told_where_the_stores_are_and_their_jobs_go_away(values: dict[str, Any], run_pod: V1Job) -> None:
    (container,) = run_pod.spec.template.spec.containers
    (location,) = values["dagster-user-deployments"]["deployments"]
    found = [source.config_map_ref or source.secret_ref for source in container.env_from]
    assert [source.name for source in found] == [
        source["name"] for source in location["envConfigMaps"] + location["envSecrets"]
    ]
    assert run_pod.spec.ttl_seconds_after_finished == 3600
    assert run_pod.spec.template.metadata.annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_the_jobs_of_runs_are_valid_for_kubernetes(run_pod: V1Job) -> None:
    validate(ApiClient().sanitize_for_serialization(run_pod), KUBERNETES, strict=True)


# Long-running pods


@pytest.mark.parametrize("name", ["dagsterWebserver", "dagsterDaemon", "code location"])
def test_every_folder_that_is_written_to_is_one_of_the_pod(values: dict[str, Any], name: str) -> None:
    (location,) = values["dagster-user-deployments"]["deployments"]
    pod = location if name == "code location" else values[name]
    read_only = {volume["name"] for volume in pod["volumes"] if "configMap" in volume}
    written = {mount["mountPath"] for mount in pod["volumeMounts"] if mount["name"] not in read_only}
    assert written == {"/tmp", values["global"]["dagsterHome"]}
    assert {mount["name"] for mount in pod["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_production_speaks_to_the_database_under_the_certificates_of_its_region_alone() -> None:
    values = load_values(BASE, EKS)
    params = values["postgresql"]["postgresqlParams"]
    assert params == {"sslmode": "verify-full", "sslrootcert": "/etc/rds/ca.pem"}
    run = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    (location,) = values["dagster-user-deployments"]["deployments"]
    pods = [(values[name]["volumes"], values[name]["volumeMounts"]) for name in ("dagsterWebserver", "dagsterDaemon")]
    pods += [(location["volumes"], location["volumeMounts"])]
    pods += [(run["podSpecConfig"]["volumes"], run["containerConfig"]["volumeMounts"])]
    for volumes, mounts in pods:
        assert {"name": "rds-certificates", "configMap": {"name": "rds-certificates"}} in volumes
        assert {"name": "rds-certificates", "mountPath": "/etc/rds"} in mounts


def test_the_webserver_is_asked_where_it_listens(values: dict[str, Any]) -> None:
    webserver = values["dagsterWebserver"]
    ports = {webserver[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert ports == {webserver["service"]["port"]}


def test_production_has_a_webserver_to_spare_and_keeps_them_apart() -> None:
    webserver = load_values(BASE, EKS)["dagsterWebserver"]
    assert webserver["replicaCount"] > 1
    apart = webserver["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
    (expression,) = apart["podAffinityTerm"]["labelSelector"]["matchExpressions"]
    assert expression["values"] == ["dagster-webserver", "dagster-webserver-read-only"]


# Mistakes


@pytest.mark.parametrize("section", load_values(BASE, EKS))
def test_a_misspelt_key_is_refused_wherever_it_is(section: str) -> None:
    accepted = []
    for file in ENVIRONMENTS.values():
        values = load_values(BASE, file)
        for *above, key in keys({section: values[section]}):

            def rename(below: dict[str, Any], key: str = str(key)) -> None:
                below[misspelt(key)] = below.pop(key)

            with suppress(ValidationError):
                instance_config(changed(values, tuple(above), rename))
                accepted.append((*above, key))
    assert not accepted


IMAGES: list[Place] = [
    ("dagsterWebserver", "image"),
    ("dagsterDaemon", "image"),
    ("dagster-user-deployments", "deployments", 0, "image"),
    ("busybox", "image"),
]


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: str(image[0]))
@pytest.mark.parametrize("tag", ["latest", "", None])
def test_an_image_that_could_be_another_one_tomorrow_is_refused(
    values: dict[str, Any], image: Place, tag: str | None
) -> None:
    with pytest.raises(ValidationError, match="tag"):
        instance_config(changed(values, image, lambda below: below.update(tag=tag)))


def test_an_image_without_a_tag_is_refused(values: dict[str, Any]) -> None:
    for image in IMAGES:
        with pytest.raises(ValidationError, match="tag"):
            instance_config(changed(values, image, lambda below: below.pop("tag")))


def test_all_parts_run_our_one_image(values: dict[str, Any]) -> None:
    (location,) = values["dagster-user-deployments"]["deployments"]
    ours = [part["image"] for part in (values["dagsterWebserver"], values["dagsterDaemon"], location)]
    assert ours[0]["repository"].endswith("wafer-fault-platform")
    assert ours.count(ours[0]) == 3
    assert ours[0]["tag"] == "set-by-deploy"


@pytest.mark.parametrize(
    ("at", "secret"),
    [
        (("postgresql",), {"postgresqlPassword": "hunter2"}),
        (("postgresql", "postgresqlParams"), {"password": "hunter2"}),
        (("dagsterWebserver",), {"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}]}),
        (("dagsterDaemon",), {"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}]}),
        (("dagster-user-deployments", "deployments", 0), {"env": {"WAFER_MONGO__URI": "hunter2"}}),
        (("runLauncher", "config", "k8sRunLauncher"), {"envVars": ["WAFER_MONGO__URI=hunter2"]}),
        (
            ("runLauncher", "config", "k8sRunLauncher", "runK8sConfig", "containerConfig"),
            {"env": [{"name": "WAFER_MONGO__URI", "value": "hunter2"}]},
        ),
        (("computeLogManager", "config", "s3ComputeLogManager"), {"endpointUrl": "http://key:hunter2@s3:8333"}),
        (("additionalInstanceConfig",), {"password": "hunter2"}),
        ((), {"extraManifests": [{"kind": "Secret", "stringData": {"password": "hunter2"}}]}),
    ],
    ids=lambda value: ".".join(map(str, value)) or "top" if isinstance(value, tuple) else "",
)
def test_a_secret_has_no_place(values: dict[str, Any], at: Place, secret: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(secret))):
        instance_config(changed(values, at, lambda below: below.update(secret)))


CREDENTIALS = re.compile(
    r"://[^/\s]*:[^/\s]*@"  # an address with a password
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|-----BEGIN"
    r"|(?i:password|token|secret_?access_?key)\s*[:=]\s*[^\s{]"
)


@pytest.mark.parametrize("file", [BASE, EKS, LOCAL], ids=lambda file: file.name)
def test_no_file_has_credentials_not_even_in_a_comment(file: Path) -> None:
    assert not CREDENTIALS.search(file.read_text())


@pytest.mark.parametrize(
    "line",
    [
        "uri: mongodb://wafer:hunter2@db/wafer",
        "# was: AKIAIOSFODNN7EXAMPLE",
        "key: -----BEGIN RSA PRIVATE KEY-----",
        "postgresqlPassword: hunter2",
        "# AWS_SECRET_ACCESS_KEY=hunter2",
    ],
)
def test_credentials_would_be_found(line: str) -> None:
    assert CREDENTIALS.search(f"{BASE.read_text()}{line}\n")


@pytest.mark.parametrize(
    ("at", "weaker"),
    [
        (("dagsterWebserver", "securityContext"), {"readOnlyRootFilesystem": False}),
        (("dagsterDaemon", "podSecurityContext"), {"runAsUser": 0}),
        (("dagsterWebserver", "service"), {"type": "LoadBalancer"}),
        (("dagsterWebserver", "service"), {"port": 80}),
        (("ingress",), {"enabled": True}),
        (("rbacEnabled",), None),
        (("postgresql",), {"enabled": True}),
        (("redis",), {"internal": True}),
        (("telemetry",), {"enabled": True}),
        (("runLauncher",), {"type": "CeleryK8sRunLauncher"}),
        (("computeLogManager",), {"type": "NoOpComputeLogManager"}),
        (
            ("dagsterDaemon", "runCoordinator", "config", "queuedRunCoordinator"),
            {"maxConcurrentRuns": 10},
        ),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_would_undo_a_choice_is_refused(values: dict[str, Any], at: Place, weaker: dict[str, Any] | None) -> None:
    def weaken(below: dict[str, Any]) -> None:
        below.update(weaker if weaker is not None else {at[-1]: True})

    with pytest.raises(ValidationError):
        instance_config(changed(values, at if weaker is not None else at[:-1], weaken))


# The chart itself


@pytest.fixture
def rendered(environment: str) -> list[dict[str, Any]]:
    """All objects that the real chart makes of the values."""
    assert HELM is not None
    assert CHART is not None
    tags = ("dagsterWebserver", "dagsterDaemon", "dagster-user-deployments.deployments[0]")
    result = subprocess.run(
        [HELM, "template", RELEASE, CHART, "--namespace", "wafer"]
        + ["--values", str(BASE), "--values", str(ENVIRONMENTS[environment])]
        + [part for tag in tags for part in ("--set-string", f"{tag}.image.tag=0123abc")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


@pytest.mark.skipif(
    CHART is None or HELM is None,
    reason="needs helm (on PATH, or its path in HELM) and the chart, whose path is in WAFER_DAGSTER_CHART: "
    f"helm pull dagster/dagster --version {chart_version()}",
)
def test_the_chart_makes_of_the_values_what_we_say(values: dict[str, Any], rendered: list[dict[str, Any]]) -> None:
    objects = {(found["kind"], found["metadata"]["name"]): found for found in rendered}
    for found in rendered:
        validate(found, KUBERNETES, strict=True)
    assert {kind for kind, _ in objects} == {"ConfigMap", "Deployment", "Service", "ServiceAccount"}

    instance = objects["ConfigMap", "dagster-instance"]
    assert yaml.safe_load(instance["data"]["dagster.yaml"]) == instance_config(values)
    assert instance["metadata"]["labels"]["chart"] == f"dagster-{chart_version()}"

    services = {name: found["spec"] for (kind, name), found in objects.items() if kind == "Service"}
    assert {name: spec["ports"][0]["port"] for name, spec in services.items()} == {
        "dagster-dagster-webserver": 3000,
        "dagster-dagster-webserver-read-only": 3000,
        "wafer": 4000,
    }

    pods = {name: found["spec"]["template"] for (kind, name), found in objects.items() if kind == "Deployment"}
    accounts = {name: pod["spec"]["serviceAccountName"] for name, pod in pods.items()}
    assert accounts == {
        "dagster-dagster-webserver": "dagster",
        "dagster-dagster-webserver-read-only": "dagster",
        "dagster-daemon": "dagster",
        "dagster-dagster-user-deployments-wafer": "wafer-runs",
    }
    assert {name for kind, name in objects if kind == "ServiceAccount"} == set(accounts.values())
    for spec in services.values():
        assert sum(spec["selector"].items() <= pod["metadata"]["labels"].items() for pod in pods.values()) == 1

    ours = f"{values['dagsterWebserver']['image']['repository']}:0123abc"
    for pod in pods.values():
        (container,) = pod["spec"]["containers"]
        waiting = pod["spec"].get("initContainers") or []
        assert container["image"] == ours
        assert {init["image"] for init in waiting} <= {"docker.io/busybox:1.28"}
        assert pod["spec"]["securityContext"] == values["dagsterWebserver"]["podSecurityContext"]
        for every in (container, *waiting):
            assert every["securityContext"] == values["dagsterWebserver"]["securityContext"]
            assert every["resources"]["limits"]["memory"]
    read_only = pods["dagster-dagster-webserver-read-only"]["spec"]["containers"][0]
    assert read_only["command"][-1].endswith("--read-only")
    location = pods["dagster-dagster-user-deployments-wafer"]["spec"]["containers"][0]
    assert " ".join(location["args"]) == "dagster api grpc -h 0.0.0.0 -p 4000 -m wafer_assets.definitions"
    assert "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT" not in {variable["name"] for variable in location["env"]}
    text = yaml.safe_dump(rendered)
    assert ":latest" not in text
    assert "celery" not in text
    assert "set-by-deploy" not in text

"""The platform on a real Kubernetes: pods of their own for steps, and what happens when pods end as they should not.

The tests share one platform and run in order: the first trains and rolls the code location, the others run on the new
image.
"""

from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes
import psycopg2
import pytest
import requests
from dagster._core.events import DagsterEventType
from kubernetes.client import V1Pod
from kubernetes.utils.quantity import parse_quantity

from jobs.pod_sizes import SMALL, STEPS
from resources.local_services import LocalServices
from resources.mlflow import LineTracking
from resources.mongo import WaferStore
from resources.s3 import S3Store
from tests.feeds import TRAINING
from tests.kubernetes.cluster import STEP, Cluster, label, wait_for
from tests.kubernetes.phases import phase
from tests.kubernetes.platform import TTL_SECONDS, Platform, secret, stop_sensors
from tests.kubernetes.postgres import NAME
from tests.landing import land
from wafer_assets.cli.instance import open_instance, run_job
from wafer_assets.domain.persistence import load
from wafer_assets.domain.simulation import simulate_batches, simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.keys import landing_key, training_key
from wafer_assets.operations.facts import latest_metadata
from wafer_assets.partitions import partitions_name
from wafer_assets.settings import Settings

SUCCESS, FAILURE, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED


@pytest.fixture(scope="module")
def first_run(platform: Platform, batches: dict[str, bytes]) -> str:
    """A whole training in pods, during which the code location is rolled to the next image."""
    tags = land(platform.settings, platform.instance, batches)
    run_id = platform.launch("secom__train_end_to_end", tags)
    with phase("train_end_to_end in pods"):
        with phase("  of which: from the start to the first step's pod"):
            wait_for("the first step", lambda: platform.cluster.pods_of(run_id, STEP))
        with phase("  of which: the code location rolls"):
            platform.roll(image=platform.next_image)
        assert platform.status(run_id) == dg.DagsterRunStatus.STARTED
        assert platform.finished(run_id, 420) == SUCCESS, platform.messages(run_id)
    return run_id


@dataclass(frozen=True)
class Trained:
    """What a training leaves: hashes of its table and of the table its bundle names; figures and predictions."""

    table: str
    bundle_table: str
    metrics: dict[str, float]
    probabilities: list[float]


def trained(settings: Settings, instance: dg.DagsterInstance) -> Trained:
    import mlflow

    version = LineTracking(settings, "secom").version("challenger")
    assert version is not None
    metrics = mlflow.MlflowClient(settings.mlflow.tracking_uri).get_run(version.run_id).data.metrics
    table = latest_metadata(instance, training_key("secom", "wafer_table"))["content_hash"].value
    bundle = load(LineTracking(settings, "secom").content_of(version))
    probabilities = bundle.model.predict_proba(sensor_readings(simulate_table(200, seed=5)))[:, 1]
    return Trained(str(table), version.tags["table_hash"], metrics, probabilities.tolist())


def trained_on_a_laptop(batches: dict[str, bytes], state: Path) -> Trained:
    """Train in one process, on services of its own."""
    with LocalServices(Settings(state_dir=state)) as settings, open_instance(settings) as instance:
        tags = land(settings, instance, batches)
        assert run_job(settings, instance, "secom__train_end_to_end", tags=tags).success
        return trained(settings, instance)


def test_every_step_has_a_pod_of_its_own_size(platform: Platform, first_run: str) -> None:
    pods = platform.cluster.pods_of(first_run, STEP)
    steps = {
        event.step_key
        for event in (entry.dagster_event for entry in platform.instance.all_logs(first_run))
        if event is not None and event.event_type == DagsterEventType.STEP_SUCCESS
    }
    assert len(pods) == len(steps)
    groups = [step for step in steps if step is not None and "fit_group" in step]
    assert len(groups) >= 2
    for pod in pods:
        (container,) = pod.spec.containers
        (step,) = [item.value for item in container.env if item.name == "DAGSTER_RUN_STEP_KEY"]
        name = step.rpartition(".")[2].partition("[")[0]
        size = STEPS.get(name.removeprefix("secom__"), SMALL)
        assert parse_quantity(container.resources.limits["memory"]) == size.memory_mib * 2**20
        assert parse_quantity(container.resources.requests["cpu"]) == Decimal(str(size.cpu))
        assert container.security_context.read_only_root_filesystem
        assert pod.spec.security_context.run_as_user == 10001
        assert pod.spec.service_account_name == "wafer-runs"


def test_the_bundle_from_the_pods_is_the_one_that_the_laptop_trains(
    platform: Platform, first_run: str, batches: dict[str, bytes], tmp_path: Path
) -> None:
    assert platform.status(first_run) == SUCCESS
    in_pods = trained(platform.settings, platform.instance)
    on_a_laptop = trained_on_a_laptop(batches, tmp_path / "laptop")
    assert in_pods.table == in_pods.bundle_table == on_a_laptop.table == on_a_laptop.bundle_table
    assert len(in_pods.metrics) > 10
    assert in_pods.metrics == pytest.approx(on_a_laptop.metrics, rel=1e-9, abs=1e-9)
    assert in_pods.probabilities == pytest.approx(on_a_laptop.probabilities, rel=1e-9, abs=1e-9)


def test_a_run_keeps_its_image_while_the_code_location_has_the_next(platform: Platform, first_run: str) -> None:
    images = {pod.spec.containers[0].image for pod in platform.cluster.pods_of(first_run)}
    assert images == {platform.image}
    run_id = platform.launch("secom__ingest_training", one_batch(platform))
    assert platform.finished(run_id) == SUCCESS, platform.messages(run_id)
    assert {pod.spec.containers[0].image for pod in platform.cluster.pods_of(run_id)} == {platform.next_image}


def one_batch(platform: Platform) -> dict[str, str]:
    key = platform.instance.get_dynamic_partitions(partitions_name(TRAINING))[0]
    return {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": key}


@pytest.mark.usefixtures("first_run")
def test_a_step_beyond_its_memory_is_named_and_tried_once_more(platform: Platform) -> None:
    small = {"execution": {"config": {"memory_mib": {"training__wafer_table": 120}}}}
    run_id = platform.launch("secom__train", config=small)
    assert platform.finished(run_id) == FAILURE
    events = [entry.dagster_event for entry in platform.instance.all_logs(run_id) if entry.dagster_event]
    (retry,) = [event for event in events if event.event_type == DagsterEventType.STEP_UP_FOR_RETRY]
    (failure,) = [event for event in events if event.event_type == DagsterEventType.STEP_FAILURE]
    for event, reason in (
        (retry, retry.step_retry_data.error),
        (failure, failure.step_failure_data.error),
    ):
        assert event.step_key == "secom__training__wafer_table"
        assert "OOMKilled: it passed its memory limit 120Mi" in str(reason)
    assert len(platform.cluster.pods_of(run_id, STEP)) == 2


@pytest.mark.usefixtures("first_run")
def test_a_run_whose_pod_is_deleted_is_started_again_and_leaves_no_half_batch(platform: Platform) -> None:
    new = simulate_batches(30, 100, feed="training", seed=11, first_wafer=10_001)
    tags = land(platform.settings, platform.instance, {batch.name: batch.content for batch in new})
    store = WaferStore(platform.settings)
    before = {item.batch for item in store.batches(TRAINING, "accepted")}
    run_id = platform.launch("secom__ingest_training", tags)
    wait_for("the first batch", lambda: len(store.batches(TRAINING, "accepted")) > len(before))
    (pod,) = platform.cluster.alive(run_id)
    platform.cluster.core.delete_namespaced_pod(pod.metadata.name, platform.cluster.runs, grace_period_seconds=0)
    stopped = {item.batch for item in store.batches(TRAINING, "accepted")} - before
    assert len(stopped) < 30, "the run was through before its pod was deleted"
    assert platform.finished(run_id) == FAILURE
    again = wait_for("another run", lambda: followers(platform, run_id))
    assert platform.finished(again[-1]) == SUCCESS, platform.messages(again[-1])
    assert len(store.batches(TRAINING, "accepted")) == len(before) + 30
    for manifest, frame in store.read_batches(TRAINING):
        assert len(frame) == manifest.wafers
    s3 = S3Store(platform.settings)
    assert len(s3.list_objects(s3.lake, "secom/training/validated_batches/")) == len(before) + 30
    # The pool has one place, which the dead run no longer holds, or the second run would wait still.
    assert platform.instance.event_log_storage.get_concurrency_info("secom__training_ingestion").slot_count == 1


def followers(platform: Platform, run_id: str) -> list[str]:
    runs = platform.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
    return [run.run_id for run in runs]


@pytest.mark.usefixtures("first_run")
def test_terminating_a_run_ends_its_pods(platform: Platform) -> None:
    run_id = platform.launch("secom__train")
    wait_for("a step at work", lambda: [pod for pod in platform.cluster.alive(run_id) if is_running_step(pod)])
    platform.client.terminate_run(run_id)
    assert platform.finished(run_id) == CANCELED
    # Those of finished steps too: they belong to the run's own pod.
    wait_for("its pods to go", lambda: not platform.cluster.left_of(run_id), 60)


@pytest.mark.usefixtures("first_run")
def test_a_step_that_no_node_has_room_for_says_so(platform: Platform) -> None:
    run_id = platform.launch(
        "secom__train", config={"execution": {"config": {"memory_mib": {"training__wafer_table": 10**9}}}}
    )
    wait_for(
        "word of it", lambda: "secom__training__wafer_table waits: no node has room" in platform.messages(run_id), 60
    )
    platform.client.terminate_run(run_id)
    assert platform.finished(run_id) == CANCELED


def is_running_step(pod: V1Pod) -> bool:
    return label(pod, "app.kubernetes.io/component") == STEP and pod.status.phase == "Running"


@pytest.mark.usefixtures("first_run")
def test_a_finished_job_disappears_and_what_it_printed_stays(platform: Platform) -> None:
    def jobs() -> list[str]:
        found = platform.cluster.batch.list_namespaced_job(
            platform.cluster.runs, label_selector=f"dagster/run-id={run_id}"
        )
        return [job.metadata.name for job in found.items]

    run_id = platform.launch("secom__ingest_training", one_batch(platform))
    assert platform.finished(run_id) == SUCCESS
    assert len(jobs()) == 1
    wait_for("the job to go", lambda: not jobs(), TTL_SECONDS + 60)
    s3 = S3Store(platform.settings)
    assert s3.list_objects(s3.lake, f"dagster/storage/{run_id}/")


def test_the_scoring_server_of_the_manifests_answers_with_the_champion(platform: Platform, first_run: str) -> None:
    assert platform.status(first_run) == SUCCESS
    champion = LineTracking(platform.settings, "secom").version("champion")
    assert champion is not None
    wafers = sensor_readings(simulate_table(20, seed=5))
    pod = platform.deploy_beside("wafer-scoring", {})
    with platform.cluster.forwarded(pod, 5001) as port:
        answer = requests.post(
            f"http://127.0.0.1:{port}/invocations",
            data=wafers.to_csv(index=False),
            headers={"Content-Type": "text/csv", "Host": "wafer-scoring.wafer:5001"},
            timeout=60,
        )
    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    assert {row["bundle_version"] for row in rows} == {champion.version}
    bundle = load(LineTracking(platform.settings, "secom").content_of(champion))
    assert [row["probability"] for row in rows] == pytest.approx(bundle.model.predict_proba(wafers)[:, 1].tolist())


def test_the_mlflow_server_of_the_manifests_works_on_postgresql_and_s3(platform: Platform) -> None:
    s3 = platform.settings.s3
    assert s3.access_key_id is not None
    assert s3.secret_access_key is not None
    with closing(psycopg2.connect(platform.postgres.uri(NAME))) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE mlflow")
    store = {"MLFLOW_BACKEND_STORE_URI": platform.postgres.uri("mlflow")}
    platform.cluster.create(secret("mlflow-backend", store))
    environment = {
        "MLFLOW_S3_ENDPOINT_URL": str(s3.endpoint_url),
        "AWS_ACCESS_KEY_ID": s3.access_key_id.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key.get_secret_value(),
    }
    pod = platform.deploy_beside("mlflow", environment)
    with platform.cluster.forwarded(pod, 5000) as port:
        address = f"http://127.0.0.1:{port}/api/2.0"
        ours = {"Host": "mlflow.wafer.svc.cluster.local:5000"}
        named = requests.post(f"{address}/mlflow/experiments/create", json={"name": "e"}, headers=ours, timeout=30)
        assert named.status_code == 200, named.text
        path = f"{address}/mlflow-artifacts/artifacts/e/file.txt"
        assert requests.put(path, data=b"kept", headers=ours, timeout=30).status_code == 200
        assert requests.get(path, headers=ours, timeout=30).content == b"kept"
        strange = {"Host": "evil.example.com"}
        assert requests.get(f"{address}/mlflow/experiments/get", headers=strange, timeout=30).status_code == 403


CAN = """
import sys, kubernetes
kubernetes.config.load_incluster_config()
core, batch, namespace = kubernetes.client.CoreV1Api(), kubernetes.client.BatchV1Api(), sys.argv[1]
calls = {
    "list jobs": lambda: batch.list_namespaced_job(namespace),
    "list pods": lambda: core.list_namespaced_pod(namespace),
    "read secrets": lambda: core.list_namespaced_secret(namespace),
    "read settings": lambda: core.list_namespaced_config_map(namespace),
    "run commands in pods": lambda: core.connect_get_namespaced_pod_exec("none", namespace, command="true"),
    "make pods": lambda: core.create_namespaced_pod(namespace, {"metadata": {"name": "x"}, "spec": {"containers": []}}),
    "leave the namespace": lambda: core.list_namespaced_pod("kube-system"),
}
for name, call in calls.items():
    try:
        call()
        print(name, "yes")
    except kubernetes.client.ApiException as error:
        print(name, error.status)
"""


@pytest.mark.parametrize(
    ("deployment", "where", "lists"),
    [
        ("daemon", "runs", "yes"),
        ("daemon", "namespace", "403"),
        ("wafer", "runs", "403"),
        ("wafer", "namespace", "403"),
    ],
)
def test_an_account_of_the_platform_can_do_what_it_must_and_nothing_else(
    platform: Platform, deployment: str, where: str, lists: str
) -> None:
    pod = platform.cluster.ready(deployment)
    answers = platform.cluster.run_in(pod, "python", "-c", CAN, getattr(platform.cluster, where)).splitlines()
    assert answers == [
        f"list jobs {lists}",
        f"list pods {lists}",
        "read secrets 403",
        "read settings 403",
        "run commands in pods 403",
        "make pods 403",
        "leave the namespace 403",
    ]


def may(cluster: Cluster, account: str, verb: str, group: str, resource: str, namespace: str) -> bool:
    """Ask the cluster whether an account may do something in a namespace."""
    asked = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    review = {"spec": {"user": f"system:serviceaccount:{account}", "resourceAttributes": asked}}
    answer = kubernetes.client.AuthorizationV1Api(cluster.api).create_subject_access_review(review)
    return bool(answer.status.allowed)


def test_nobody_of_the_platform_makes_a_pod_where_its_secrets_are(platform: Platform) -> None:
    cluster = platform.cluster
    accounts = [f"{cluster.namespace}:dagster", f"{cluster.namespace}:wafer-runs", f"{cluster.runs}:wafer-runs"]
    makers = {
        (account, resource, namespace)
        for account in accounts
        for group, resource in (("batch", "jobs"), ("", "pods"), ("apps", "deployments"))
        for namespace in (cluster.namespace, cluster.runs)
        if may(cluster, account, "create", group, resource, namespace)
    }
    assert makers == {(accounts[0], "jobs", cluster.runs), (accounts[2], "jobs", cluster.runs)}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"envFrom": [{"secretRef": {"name": "wafer-oauth2-proxy"}}]}, 'secret "wafer-oauth2-proxy" not found'),
        ({"serviceAccountName": "dagster"}, 'serviceaccount "dagster" not found'),
    ],
    ids=["a secret", "an account"],
)
def test_a_job_of_whoever_may_make_runs_gets_nothing_of_the_platforms(
    platform: Platform, spec: dict[str, Any], reason: str
) -> None:
    cluster, name = platform.cluster, f"greedy-{next(iter(spec)).lower()}"
    container = {"name": "main", "image": platform.image, "command": ["env"], "envFrom": spec.pop("envFrom", [])}
    pod = {"containers": [container], "restartPolicy": "Never", "securityContext": {"runAsUser": 10001}, **spec}
    cluster.batch.create_namespaced_job(cluster.runs, {"metadata": {"name": name}, "spec": {"template": {"spec": pod}}})
    try:
        wait_for(
            "the refusal",
            lambda: any(
                event.involved_object.name.startswith(name) and reason in event.message
                for event in cluster.core.list_namespaced_event(cluster.runs).items
            ),
            60,
        )
        found = cluster.core.list_namespaced_pod(cluster.runs, label_selector=f"job-name={name}").items
        assert {pod.status.phase for pod in found} <= {"Pending"}
    finally:
        cluster.batch.delete_namespaced_job(name, cluster.runs, propagation_policy="Background")


SIZE = """
import os, sys
files = (os.path.join(folder, name) for root in sys.argv[1:] for folder, _, names in os.walk(root) for name in names)
print(sum(os.lstat(file).st_size for file in files))
"""


def test_a_pod_is_nobody_in_particular_on_a_small_image_that_it_cannot_change(platform: Platform) -> None:
    pod = platform.cluster.ready("wafer")
    answer = platform.cluster.run_in(pod, "sh", "-c", "id -u; touch /srv/wafer/x; command -v pip uv gcc make")
    assert answer.startswith("10001\n")
    assert "Read-only file system" in answer
    assert len(answer.splitlines()) == 2, "there are build tools"
    assert int(platform.cluster.run_in(pod, "python", "-c", SIZE, "/opt/wafer", "/srv/wafer")) <= 900e6


@pytest.mark.usefixtures("first_run")
def test_a_file_that_lands_becomes_records_in_a_pod_without_a_hand(platform: Platform) -> None:
    *_, batch = simulate_batches(31, 100, feed="training", seed=11, first_wafer=10_001)
    s3, store = S3Store(platform.settings), WaferStore(platform.settings)
    before = {run.run_id for run in platform.instance.get_runs()}
    s3.put(s3.landing, landing_key(TRAINING, batch.name), batch.content)
    platform.start_sensors("secom__land_training_batches", "secom__ingest_new_batches")
    wait_for("its records", lambda: batch.name in {item.batch for item in store.batches(TRAINING, "accepted")}, 150)
    started = {run.run_id for run in platform.instance.get_runs()} - before
    assert any(platform.cluster.pods_of(run_id) for run_id in started)
    stop_sensors(platform.client)
    assert {platform.finished(run_id) for run_id in started} == {SUCCESS}

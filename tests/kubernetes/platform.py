"""The platform on a cluster: what the chart and the companion manifests make of our values, and its users' ways in."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import yaml
from dagster_graphql import DagsterGraphQLClient

from resources.local_services import LocalServices
from tests.chart import BASE, LOCAL, ROOT, instance_config, load_values
from tests.kubernetes.cluster import RUNS, Cluster, ServiceStandIn, wait_for
from tests.kubernetes.phases import phase
from tests.kubernetes.postgres import Postgres, running_postgres
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.settings import Settings

TTL_SECONDS = 20
CODE_PORT, WEB_PORT = 4000, 3000
SENSORS = (
    """{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { name sensorState { id } } } } } }"""
)
START = """mutation($name: String!) { startSensor(sensorSelector: {repositoryName: "__repository__",
repositoryLocationName: "wafer", sensorName: $name}) { ... on Sensor { sensorState { status } }
... on PythonError { message } } }"""
STOP = """mutation($id: String!) { stopSensor(id: $id) { ... on StopSensorMutationResult
{ instigationState { status } } ... on PythonError { message } ... on UnauthorizedError { message } } }"""


@dataclass
class Platform:
    """The platform while it runs."""

    cluster: Cluster
    settings: Settings
    instance: dg.DagsterInstance
    client: DagsterGraphQLClient
    image: str
    next_image: str
    postgres: Postgres

    def launch(self, job: str, tags: dict[str, str] | None = None, config: dict[str, Any] | None = None) -> str:
        """Start a run from the UI's own interface and return its id."""
        return self.client.submit_job_execution(
            job, repository_location_name="wafer", run_config=config or {}, tags=tags or {}
        )

    def start_sensors(self, *names: str) -> None:
        """Turn sensors on."""
        for name in names:
            answer = self.client._execute(START, {"name": name})["startSensor"]
            assert answer["sensorState"]["status"] == "RUNNING", answer

    def roll(self, **change: Any) -> None:
        """Change the code location's container, and wait until the new one serves."""
        container = {"name": "dagster", "image": self.image, **change}
        container["env"] = [{"name": "DAGSTER_CURRENT_IMAGE", "value": container["image"]}, *container.get("env", [])]
        self.cluster.apps.patch_namespaced_deployment(
            "wafer", self.cluster.namespace, {"spec": {"template": {"spec": {"containers": [container]}}}}
        )
        self.cluster.ready("wafer", container["image"])
        self.client.reload_repository_location("wafer")

    def deploy_beside(self, name: str, environment: dict[str, str]) -> Any:
        """Deploy one of the companion manifests' servers, once, and return its pod when it is ready."""
        for item in manifests(f"{name.removeprefix('wafer-')}.yaml"):
            if item["kind"] == "Deployment":
                item["spec"]["replicas"] = 1
                (container,) = item["spec"]["template"]["spec"]["containers"]
                container["image"] = self.next_image
                container.pop("lifecycle", None)  # older clusters do not know its `sleep`
                container["env"] += [{"name": key, "value": value} for key, value in environment.items()]
            if item["kind"] in ("Deployment", "ServiceAccount", "Service"):
                self.cluster.create(item)
        return self.cluster.ready(name)

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """Return the status of a run."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def finished(self, run_id: str, seconds: float = 300) -> dg.DagsterRunStatus:
        """Wait for the end of a run and return its status."""
        ends = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        wait_for(f"the end of run {run_id}", lambda: self.status(run_id) in ends, seconds)
        return self.status(run_id)

    def messages(self, run_id: str) -> str:
        """Return all that the log of a run says, errors included."""
        return "\n".join(
            f"{entry.user_message} {entry.dagster_event.message if entry.dagster_event else ''} "
            f"{getattr(entry.dagster_event.event_specific_data, 'error', '') if entry.dagster_event else ''}"
            for entry in self.instance.all_logs(run_id)
        )


def given_batches() -> dict[str, bytes]:
    """Return the training batches to work with, by file name."""
    folder = os.environ.get("WAFER_TEST_BATCHES")
    if folder:
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.suffix == ".csv"}
    return {batch.name: batch.content for batch in simulate_batches(8, 100, feed="training", seed=3)}


@contextmanager
def running_platform() -> Iterator[Platform]:
    """Run everything, in a namespace of its own, until the block ends; the environment says where."""
    image, next_image = os.environ["WAFER_TEST_IMAGE"], os.environ["WAFER_TEST_NEXT_IMAGE"]
    address = os.environ["WAFER_TEST_ADDRESS"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with phase("PostgreSQL, S3, MongoDB and MLflow start"):
            postgres = stack.enter_context(running_postgres(address))
            services = LocalServices(Settings(state_dir=folder / "stores", services_host=IPv4Address(address)))
            settings = stack.enter_context(services)
        cluster = stack.enter_context(Cluster(f"wafer-test-{uuid4().hex[:6]}"))
        values = values_for(settings, postgres, cluster.runs, folder)
        config = instance_config(values)
        # This process looks into the same storage, but starts nothing by itself.
        storage = {name: config[name] for name in ("schedule_storage", "run_storage", "event_log_storage")}
        (folder / "dagster.yaml").write_text(yaml.safe_dump(storage))
        os.environ["DAGSTER_PG_PASSWORD"] = postgres.password
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder)))
        with phase("code location, daemon and webserver start"):
            webserver = deploy(cluster, values, config, settings, postgres, image)
        port = stack.enter_context(cluster.forwarded(webserver, WEB_PORT))
        client = DagsterGraphQLClient("127.0.0.1", port_number=port, headers={"Host": f"127.0.0.1:{WEB_PORT}"})
        stop_sensors(client)
        yield Platform(cluster, settings, instance, client, image, next_image, postgres)


def values_for(settings: Settings, postgres: Postgres, runs: str, folder: Path) -> dict[str, Any]:
    """Return the values of a laptop cluster, pointing at this session's servers and with shorter times."""
    own = {
        "postgresql": {"postgresqlHost": postgres.host, "service": {"port": postgres.port}},
        "computeLogManager": {
            "config": {
                "s3ComputeLogManager": {
                    "bucket": settings.s3.lake_bucket,
                    "endpointUrl": settings.s3.endpoint_url,
                    "region": settings.s3.region,
                }
            }
        },
        "dagsterDaemon": {"runMonitoring": {"pollIntervalSeconds": 5}},
        "runLauncher": {
            "config": {
                "k8sRunLauncher": {
                    "jobNamespace": runs,
                    "runK8sConfig": {"jobSpecConfig": {"ttlSecondsAfterFinished": TTL_SECONDS}},
                }
            }
        },
    }
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(own))
    return load_values(BASE, LOCAL, file)


def deploy(
    cluster: Cluster,
    values: dict[str, Any],
    config: dict[str, Any],
    settings: Settings,
    postgres: Postgres,
    image: str,
) -> Any:
    """Create what the chart and the companion manifests would, and return the webserver's pod once all works."""
    for account in (values["serviceAccount"]["name"], values["dagster-user-deployments"]["serviceAccount"]["name"]):
        cluster.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    for item in (*manifests("rbac.yaml"), *manifests("runs.yaml")):
        for subject in item.get("subjects", []):
            subject["namespace"] = cluster.runs if subject["namespace"] == RUNS else cluster.namespace
        cluster.create(item)
    s3 = settings.s3
    assert s3.access_key_id is not None
    assert s3.secret_access_key is not None
    assert settings.mongo.uri is not None
    keys = (s3.access_key_id.get_secret_value(), s3.secret_access_key.get_secret_value())
    stores = {
        "WAFER_MONGO__URI": settings.mongo.uri.get_secret_value(),
        "WAFER_MLFLOW__USERNAME": "",
        "WAFER_MLFLOW__PASSWORD": "",
        "WAFER_S3__ACCESS_KEY_ID": keys[0],
        "WAFER_S3__SECRET_ACCESS_KEY": keys[1],
    }
    (of_platform, of_runs), (of_environment,) = manifests("settings.yaml"), manifests("environment.yaml")
    here = {
        "WAFER_S3__ENDPOINT_URL": s3.endpoint_url,
        "WAFER_S3__REGION": s3.region,
        "WAFER_S3__LANDING_BUCKET": s3.landing_bucket,
        "WAFER_S3__LAKE_BUCKET": s3.lake_bucket,
        "WAFER_MLFLOW__TRACKING_URI": settings.mlflow.tracking_uri,
    }
    code = values["dagster-user-deployments"]["deployments"][0]
    for namespace, of_it in (("wafer", of_platform), (RUNS, of_runs)):
        cluster.create(
            secret("wafer-postgresql", {"postgresql-password": postgres.password}, namespace),
            secret("wafer-stores", stores, namespace),
            secret(
                "wafer-compute-logs",
                dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), keys, strict=True)),
                namespace,
            ),
            config_map("wafer-settings", of_it["data"] | here, namespace),
        )
    cluster.create(
        # As External Secrets would: of the platform alone.
        secret("wafer-oauth2-proxy", {"client-secret": "hush"}),
        config_map("wafer-environment", of_environment["data"]),
        config_map("rds-certificates", {"ca.pem": "PostgreSQL is spoken to in the clear here"}),
        config_map("dagster-instance", {"dagster.yaml": yaml.safe_dump(config)}),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": code["name"]},
            "spec": {"selector": {"deployment": code["name"]}, "ports": [{"port": CODE_PORT, "targetPort": CODE_PORT}]},
        },
    )
    host, port = f"{code['name']}.{cluster.namespace}", CODE_PORT
    if os.environ.get("WAFER_TEST_KUBE_PROXY") == "0":
        stand_in = ServiceStandIn(cluster, code["name"], os.environ["WAFER_TEST_ADDRESS"])
        host, port = stand_in.host, stand_in.port
    server = {"grpc_server": {"host": host, "port": port, "location_name": "wafer"}}
    cluster.create(config_map("dagster-workspace", {"workspace.yaml": yaml.safe_dump({"load_from": [server]})}))
    args = ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", str(code["port"]), *code["dagsterApiGrpcArgs"]]
    account = values["dagster-user-deployments"]["serviceAccount"]["name"]
    # Not the health check of gRPC, which starts Python: that every second is most of a core.
    ready = {"tcpSocket": {"port": CODE_PORT}, "periodSeconds": 1}
    cluster.create(deployment(code["name"], code, image, args, account, CODE_PORT, ready))
    cluster.ready(code["name"])
    account = values["serviceAccount"]["name"]
    workspace = ["-w", "/dagster-workspace/workspace.yaml"]
    web = ["dagster-webserver", "-h", "0.0.0.0", "-p", str(WEB_PORT), *workspace]
    ready = {"httpGet": {"path": "/server_info", "port": WEB_PORT}, "periodSeconds": 2, "timeoutSeconds": 5}
    cluster.create(
        deployment("daemon", values["dagsterDaemon"], image, ["dagster-daemon", "run", *workspace], account),
        deployment("webserver", values["dagsterWebserver"], image, web, account, WEB_PORT, ready),
    )
    cluster.ready("daemon")
    return cluster.ready("webserver")


def deployment(
    name: str,
    part: dict[str, Any],
    image: str,
    args: list[str],
    account: str,
    port: int | None = None,
    ready: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the deployment that the chart makes of a part of its values, as far as it matters here."""
    password = {"secretKeyRef": {"name": "wafer-postgresql", "key": "postgresql-password"}}
    mounts = [
        *part["volumeMounts"],
        {"name": "instance", "mountPath": "/opt/dagster/dagster_home/dagster.yaml", "subPath": "dagster.yaml"},
        {"name": "workspace", "mountPath": "/dagster-workspace"},
    ]
    container = {
        "name": "dagster",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": [
            {"name": "DAGSTER_PG_PASSWORD", "valueFrom": password},
            {"name": "DAGSTER_CURRENT_IMAGE", "value": image},
        ],
        "envFrom": [
            *({"configMapRef": item} for item in part.get("envConfigMaps", [])),
            *({"secretRef": item} for item in part.get("envSecrets", [])),
        ],
        "volumeMounts": mounts,
        "resources": part["resources"],
        "securityContext": part["securityContext"],
        "ports": [{"containerPort": port}] if port else [],
    }
    if ready:
        container["readinessProbe"] = ready
    labels = {"deployment": name}
    spec = {
        "serviceAccountName": account,
        "securityContext": part["podSecurityContext"],
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [
            *part["volumes"],
            {"name": "instance", "configMap": {"name": "dagster-instance"}},
            {"name": "workspace", "configMap": {"name": "dagster-workspace"}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def manifests(name: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all((ROOT / "deploy" / "manifests" / name).read_text()) if item]


def secret(name: str, data: dict[str, str], namespace: str = "wafer") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def config_map(name: str, data: dict[str, str], namespace: str = "wafer") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def stop_sensors(client: DagsterGraphQLClient) -> None:
    """Let nothing start by itself: the tests say what runs."""
    (repository,) = wait_for("the code location", lambda: client._execute(SENSORS)["repositoriesOrError"].get("nodes"))
    for sensor in repository["sensors"]:
        # Refused where the daemon's first tick writes the same sensor's first state between our read and our write.
        wait_for(f"{sensor['name']} to stop", partial(is_stopped, client, sensor["sensorState"]["id"]))


def is_stopped(client: DagsterGraphQLClient, sensor: str) -> bool:
    stopped = client._execute(STOP, {"id": sensor})["stopSensor"]
    return bool(stopped.get("instigationState", {}).get("status") == "STOPPED")

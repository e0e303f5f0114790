"""The part of the official Dagster chart's values that we use, and the dagster.yaml that the chart makes of it.

The chart's own schema lets many misspelt keys pass, and what they were to set then silently keeps its default. Here
every key that is not known is refused, and so is what must never be in a values file: a tag that moves, a password.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

ROOT = Path(__file__).parents[1]
BASE = ROOT / "helm_values" / "base.yaml"
EKS = ROOT / "helm_values" / "eks.yaml"
LOCAL = ROOT / "helm_values" / "local.yaml"
RELEASE = "dagster"
"""Name of the Helm release; the chart names what it makes after it."""


def _camel(name: str) -> str:
    # Not pydantic's, which makes k8SRunLauncher of k8s_run_launcher.
    first, *others = name.split("_")
    return first + "".join(part[0].upper() + part[1:] for part in others)


def _fixed(tag: str) -> str:
    if tag == "latest":
        raise ValueError("latest means another image every day")
    return tag


Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Seconds: TypeAlias = Annotated[int, Field(gt=0)]
Port: TypeAlias = Annotated[int, Field(ge=1024, le=65535)]
Days: TypeAlias = Annotated[int, Field(ge=-1)]
Cpu: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]+m?$")]
Memory: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")]
Folder: TypeAlias = Annotated[str, Field(pattern=r"^/[a-z0-9_/]+$")]
PullPolicy: TypeAlias = Literal["IfNotPresent", "Never"]


class _Section(BaseModel):
    # Names in Python become those of the chart, and only these are taken.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=_camel)


class Image(_Section):
    """An image, always with a tag that says which."""

    repository: Annotated[str, Field(pattern=r"^[a-z0-9./-]+$")]
    tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"), AfterValidator(_fixed)]
    pull_policy: PullPolicy


class Reference(_Section):
    """A config map or a secret that is made elsewhere; its keys become variables of the environment."""

    name: Name


class Requests(_Section):
    """What a node must have free."""

    cpu: Cpu
    memory: Memory


class Limits(_Section):
    """What a container is killed for."""

    memory: Memory


class Resources(_Section):
    """Size of a container."""

    requests: Requests
    limits: Limits


class SeccompProfile(_Section):
    """System calls that are allowed."""

    type: Literal["RuntimeDefault"]


class PodSecurity(_Section):
    """Security context of a pod: our own user, never root."""

    run_as_non_root: Literal[True]
    run_as_user: Literal[10001]
    run_as_group: Literal[10001]
    fs_group: Literal[10001]
    seccomp_profile: SeccompProfile


class Capabilities(_Section):
    """Privileges of a container: none."""

    drop: tuple[Literal["ALL"]] = Field(strict=False)


class ContainerSecurity(_Section):
    """Security context of a container: nothing to gain, nothing to write to."""

    allow_privilege_escalation: Literal[False]
    read_only_root_filesystem: Literal[True]
    capabilities: Capabilities


class EmptyDir(_Section):
    """A folder that lives as long as its pod."""

    size_limit: Memory


class Volume(_Section):
    """A folder for a pod: its own, or what a config map holds."""

    name: Name
    empty_dir: EmptyDir | None = None
    config_map: Reference | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if (self.empty_dir is None) == (self.config_map is None):
            raise ValueError("a volume is an emptyDir or a configMap")
        return self


class VolumeMount(_Section):
    """Where a container finds a volume."""

    name: Name
    mount_path: Folder


class HttpGet(_Section):
    """What a probe asks for."""

    path: Literal["/server_info"]
    port: Port


class Probe(_Section):
    """When a container counts as ready or broken."""

    http_get: HttpGet | None = None
    period_seconds: Seconds
    timeout_seconds: Seconds
    success_threshold: Literal[1] = 1
    failure_threshold: Seconds


class SwitchedProbe(Probe):
    """A probe that the chart wants switched on."""

    enabled: Literal[True]


class MatchExpression(_Section):
    """Which pods are meant."""

    key: str
    operator: Literal["In"]
    values: list[str]


class LabelSelector(_Section):
    """Which pods are meant."""

    match_expressions: list[MatchExpression]


class PodAffinityTerm(_Section):
    """Pods and what they are kept apart by."""

    topology_key: Literal["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    label_selector: LabelSelector


class WeightedPodAffinityTerm(_Section):
    """How much it matters to keep them apart."""

    weight: Annotated[int, Field(ge=1, le=100)]
    pod_affinity_term: PodAffinityTerm


class PodAntiAffinity(_Section):
    """Pods that are better on different nodes."""

    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm]


class Affinity(_Section):
    """Which nodes are preferred."""

    pod_anti_affinity: PodAntiAffinity


class ServiceAccount(_Section):
    """Who a pod is, for the cluster and for the cloud."""

    create: Literal[True]
    name: Name


class Global(_Section):
    """What the chart shares with its part for code locations."""

    dagster_home: Folder
    postgresql_secret_name: Name
    celery_config_secret_name: Literal[""]


class Service(_Section):
    """How a webserver is reached inside of the cluster: never from outside past the proxy."""

    type: Literal["ClusterIP"]
    port: Port


class Pod(_Section):
    """What all long-running pods have."""

    image: Image
    env_config_maps: list[Reference] = []
    env_secrets: list[Reference] = []
    pod_security_context: PodSecurity
    security_context: ContainerSecurity
    volumes: list[Volume]
    volume_mounts: list[VolumeMount]
    resources: Resources


class Webserver(Pod):
    """The UI, once for operators and once for viewers."""

    name_override: Literal["dagster-webserver"]
    replica_count: Annotated[int, Field(ge=1)]
    enable_read_only: Literal[True]
    service: Service
    affinity: Affinity | None = None
    check_db_ready_init_container: Literal[False]
    init_container_resources: Resources
    startup_probe: SwitchedProbe
    liveness_probe: Probe
    readiness_probe: Probe


class QueuedRunCoordinator(_Section):
    """How runs leave the queue. How many may, is said under `concurrency` alone: Dagster refuses both."""

    dequeue_interval_seconds: Seconds
    dequeue_use_threads: Literal[True]
    dequeue_num_workers: Seconds


class RunCoordinatorConfig(_Section):
    """The one coordinator that we use."""

    queued_run_coordinator: QueuedRunCoordinator


class RunCoordinator(_Section):
    """The queue of runs."""

    enabled: Literal[True]
    type: Literal["QueuedRunCoordinator"]
    config: RunCoordinatorConfig


class RunMonitoring(_Section):
    """When a run is given up."""

    enabled: Literal[True]
    start_timeout_seconds: Seconds
    cancel_timeout_seconds: Seconds
    max_runtime_seconds: Seconds
    poll_interval_seconds: Seconds
    max_resume_run_attempts: Count


class RunRetries(_Section):
    """When a run is started again."""

    enabled: Literal[True]
    max_retries: Seconds
    retry_on_asset_or_op_failure: bool


class Threads(_Section):
    """How many ticks at once."""

    use_threads: Literal[True]
    num_workers: Seconds


class Daemon(Pod):
    """What watches, schedules, queues and retries."""

    enabled: Literal[True]
    check_db_ready_init_container: Literal[False]
    init_container_resources: Resources
    run_coordinator: RunCoordinator
    run_monitoring: RunMonitoring
    run_retries: RunRetries
    sensors: Threads
    schedules: Threads


class Switch(_Section):
    """Something on or off."""

    enabled: bool


class Off(_Section):
    """A part of the chart that we do without."""

    enabled: Literal[False]


class CodeLocation(Pod):
    """The server of our definitions."""

    name: Name
    dagster_api_grpc_args: list[str]
    port: Port
    include_config_in_launched_runs: Switch
    startup_probe: SwitchedProbe
    readiness_probe: SwitchedProbe
    liveness_probe: Probe


class UserDeployments(_Section):
    """The chart's part for code locations."""

    enabled: Literal[True]
    enable_subchart: Literal[True]
    celery_config_secret_name: Literal[""]
    rbac_enabled: Literal[False]
    service_account: ServiceAccount
    deployments: Annotated[list[CodeLocation], Field(min_length=1)]


class ContainerConfig(_Section):
    """Container of a run."""

    resources: Resources
    security_context: ContainerSecurity
    volume_mounts: list[VolumeMount]


class PodSpecConfig(_Section):
    """Pod of a run."""

    service_account_name: Name
    security_context: PodSecurity
    volumes: list[Volume]


class PodTemplateSpecMetadata(_Section):
    """What others should know of the pod of a run."""

    annotations: dict[
        Literal["cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"],
        Literal["true", "false"],
    ]


class JobSpecConfig(_Section):
    """Job of a run."""

    ttl_seconds_after_finished: Seconds


class RunK8sConfig(_Section):
    """All of what run pods are; step pods are the same, with sizes of their own."""

    container_config: ContainerConfig
    pod_spec_config: PodSpecConfig
    pod_template_spec_metadata: PodTemplateSpecMetadata
    job_spec_config: JobSpecConfig


class K8sRunLauncher(_Section):
    """Runs as Kubernetes jobs."""

    load_incluster_config: Literal[True]
    job_namespace: Name
    image_pull_policy: PullPolicy
    env_config_maps: list[Reference]
    env_secrets: list[Reference]
    run_k8s_config: RunK8sConfig


class RunLauncherConfig(_Section):
    """The one launcher that we use."""

    k8s_run_launcher: K8sRunLauncher


class RunLauncher(_Section):
    """How a run is started."""

    type: Literal["K8sRunLauncher"]
    config: RunLauncherConfig


class S3ComputeLogManager(_Section):
    """Where the output of steps goes. Without an address of its own: AWS and its default credentials chain."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9/-]+$")]
    region: Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)+-[0-9]$")]
    verify: Literal[True]
    endpoint_url: Annotated[str, Field(pattern=r"^https?://[^@/\s]+$")] | None = None
    upload_interval: Seconds


class ComputeLogManagerConfig(_Section):
    """The one store of logs that we use."""

    s3_compute_log_manager: S3ComputeLogManager


class ComputeLogManager(_Section):
    """Where the output of steps goes."""

    type: Literal["S3ComputeLogManager"]
    config: ComputeLogManagerConfig


class PostgresqlParams(_Section):
    """Parameters of the connection string."""

    sslmode: Literal["verify-full"] | None = None
    sslrootcert: Annotated[str, Field(pattern=r"^/etc/rds/[a-z]+\.pem$")] | None = None


class PostgresqlService(_Section):
    """Where the database listens."""

    port: Port


class Postgresql(_Section):
    """The database, which is not one of the chart's. Its password is in the secret, and there is no key for it here."""

    enabled: Literal[False]
    postgresql_host: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    postgresql_username: Name
    postgresql_database: Name
    postgresql_params: PostgresqlParams
    service: PostgresqlService


class TagConcurrencyLimit(_Section):
    """How many runs with a tag may run at once."""

    key: str
    value: str | None = None
    limit: Seconds


class Pools(_Section):
    """How many runs with steps of a pool may run at once."""

    default_limit: Seconds
    granularity: Literal["run"]


class Runs(_Section):
    """How many runs may run at once."""

    max_concurrent_runs: Seconds
    tag_concurrency_limits: list[TagConcurrencyLimit]


class Concurrency(_Section):
    """All limits."""

    enabled: Literal[True]
    pools: Pools
    runs: Runs


class PurgeTicks(_Section):
    """Days that ticks are kept, by their outcome; -1 is for ever."""

    skipped: Days
    started: Days
    failure: Days
    success: Days


class TickRetention(_Section):
    """Ticks of sensors."""

    purge_after_days: PurgeTicks


class ScheduleRetention(_Section):
    """Ticks of schedules."""

    purge_after_days: Days


class Retention(_Section):
    """How long ticks are kept."""

    enabled: Literal[True]
    schedule: ScheduleRetention
    sensor: TickRetention
    auto_materialize: TickRetention


class Redis(Off):
    """Two switches, of which the second alone would start a server."""

    internal: Literal[False]


class Busybox(_Section):
    """What waits for code locations."""

    image: Image


class AdditionalInstanceConfig(_Section):
    """What dagster.yaml has and the chart has no key for."""

    nux: Off


class Values(_Section):
    """Everything that the merged files of an environment may and must say."""

    global_: Global = Field(alias="global")
    service_account: ServiceAccount
    rbac_enabled: Literal[False]
    ingress: Off
    dagster_webserver: Webserver
    dagster_daemon: Daemon
    concurrency: Concurrency
    user_deployments: UserDeployments = Field(alias="dagster-user-deployments")
    run_launcher: RunLauncher
    compute_log_manager: ComputeLogManager
    generate_postgresql_password_secret: Literal[False]
    postgresql: Postgresql
    generate_celery_config_secret: Literal[False]
    rabbitmq: Off
    redis: Redis
    flower: Off
    busybox: Busybox
    retention: Retention
    telemetry: Off
    additional_instance_config: AdditionalInstanceConfig


def load_values(*files: str | Path) -> dict[str, Any]:
    """Merge files of values as Helm does: maps into each other, lists in place of each other, null deletes a key."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, yaml.safe_load((ROOT / file).read_text()) or {})
    return merged


def instance_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dagster.yaml that the chart makes of the merged values.

    Parameters
    ----------
    values
        Of one environment, as `load_values` returns them.

    Raises
    ------
    pydantic.ValidationError
        The values have a key or a value that the chart would not understand, or that must not be there.
    """
    known = Values.model_validate(values)
    daemon, launcher = known.dagster_daemon, known.run_launcher.config.k8s_run_launcher
    queue, logs = daemon.run_coordinator.config.queued_run_coordinator, known.compute_log_manager.config
    run_config = launcher.run_k8s_config
    return {
        "scheduler": {"module": "dagster.core.scheduler", "class": "DagsterDaemonScheduler"},
        "schedule_storage": _storage("schedule_storage", "PostgresScheduleStorage", known.postgresql),
        "run_storage": _storage("run_storage", "PostgresRunStorage", known.postgresql),
        "event_log_storage": _storage("event_log", "PostgresEventLogStorage", known.postgresql),
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": {
                "load_incluster_config": launcher.load_incluster_config,
                "job_namespace": launcher.job_namespace,
                "image_pull_policy": launcher.image_pull_policy,
                "service_account_name": known.service_account.name,
                "dagster_home": known.global_.dagster_home,
                "instance_config_map": f"{RELEASE}-instance",
                "postgres_password_secret": known.global_.postgresql_secret_name,
                **_names("env_config_maps", launcher.env_config_maps),
                **_names("env_secrets", launcher.env_secrets),
                # What is inside of these goes to Kubernetes, which spells it like the chart.
                "run_k8s_config": {
                    "container_config": _as_written(run_config.container_config),
                    "pod_spec_config": _as_written(run_config.pod_spec_config),
                    "pod_template_spec_metadata": _as_written(run_config.pod_template_spec_metadata),
                    "job_spec_config": _as_written(run_config.job_spec_config),
                },
            },
        },
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": queue.model_dump(),
        },
        "compute_logs": {
            "module": "dagster_aws.s3.compute_log_manager",
            "class": "S3ComputeLogManager",
            "config": logs.s3_compute_log_manager.model_dump(exclude_none=True),
        },
        "run_monitoring": daemon.run_monitoring.model_dump(),
        "run_retries": daemon.run_retries.model_dump(),
        "sensors": daemon.sensors.model_dump(),
        "schedules": daemon.schedules.model_dump(),
        "telemetry": known.telemetry.model_dump(),
        "retention": known.retention.model_dump(exclude={"enabled"}),
        "concurrency": _concurrency(known.concurrency),
        **_as_written(known.additional_instance_config),
    }


def _merge(onto: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(onto)
    for key, value in values.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _as_written(section: BaseModel) -> dict[str, Any]:
    return section.model_dump(mode="json", by_alias=True, exclude_none=True)


def _names(key: str, references: list[Reference]) -> dict[str, list[str]]:
    return {key: [reference.name for reference in references]} if references else {}


def _storage(module: str, name: str, database: Postgresql) -> dict[str, Any]:
    connection = {
        "username": database.postgresql_username,
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": database.postgresql_host,
        "db_name": database.postgresql_database,
        "port": database.service.port,
        "params": _as_written(database.postgresql_params),
    }
    return {"module": f"dagster_postgres.{module}", "class": name, "config": {"postgres_db": connection}}


def _concurrency(limits: Concurrency) -> dict[str, Any]:
    config: dict[str, Any] = limits.model_dump(exclude={"enabled"}, exclude_none=True)
    if not config["runs"]["tag_concurrency_limits"]:
        del config["runs"]["tag_concurrency_limits"]
    return config

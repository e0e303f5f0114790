"""The platform's settings: one typed, frozen object, read once.

Only this module reads the environment. Variables start with ``WAFER_`` and name nested fields with two
underscores: ``WAFER_S3__LANDING_BUCKET``. On a laptop the local services write endpoints and credentials
to ``<state_dir>/services.env`` in the same form, which counts while they run; variables of the environment win
over that file, and a production environment never reads it.
"""

import fcntl
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyAddress, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from wafer_assets.settings.layout import require_layout, require_upgraded

SERVICES_FILE = "services.env"
"""Name of the file in the state folder that tells a local platform where its services are."""

SERVICES_LOCK = "services.lock"
"""Name of the file in the state folder that whoever runs the services keeps locked."""

BucketName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Port: TypeAlias = Annotated[int, Field(ge=1024, le=65535)]


class NotConfiguredError(RuntimeError):
    """A store was used before its endpoint was set."""

    code = "not_configured"

    def __init__(self, what: str, variable: str) -> None:
        super().__init__(
            f"{what} is not configured: start the local services with `wafer services up`, or set {variable}."
        )


class _Section(BaseModel):
    # A failed validation must not print the keys it looked at.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class S3Settings(_Section):
    """Object storage. In production leave endpoint and keys unset: AWS and its default credentials chain."""

    endpoint_url: str | None = Field(default=None, description="URL of an S3 server other than AWS.")
    region: str = Field(default="us-east-1", description="AWS region of the buckets.")
    access_key_id: SecretStr | None = Field(default=None, description="Access key; unset means AWS's chain.")
    secret_access_key: SecretStr | None = Field(default=None, description="Secret of the access key.")
    landing_bucket: BucketName = Field(default="landing", description="Where the partner drops batch files.")
    lake_bucket: BucketName = Field(default="lake", description="What the platform computes.")

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("set both access_key_id and secret_access_key, or neither")
        return self


class MongoSettings(_Section):
    """The wafer store."""

    uri: SecretStr | None = Field(default=None, description="Connection string with its credentials.")
    database: str = Field(default="wafer", description="Database of the wafers and the batch manifests.")


class MLflowSettings(_Section):
    """Experiment tracking and the model registry."""

    tracking_uri: str | None = Field(default=None, description="URL of the MLflow server.")
    ui_url: str | None = Field(
        default=None, description="URL of the server's pages for people, where it is another one than the programs'."
    )
    username: str | None = Field(default=None, description="User, where the server asks for one.")
    password: SecretStr | None = Field(default=None, description="Password, where the server asks for one.")
    experiment: str = Field(
        default="wafer-faults", description="Experiment of a line's runs; the line's name follows after a dash."
    )
    model_name: str = Field(
        default="wafer-fault-model",
        description="Registered model of a line's bundles; the line's name follows after a dash.",
    )

    def of(self, line: str) -> Self:
        """Return the settings with the names of a line's own experiment and model."""
        names = {"experiment": f"{self.experiment}-{line}", "model_name": f"{self.model_name}-{line}"}
        return self.model_copy(update=names)


class PortSettings(_Section):
    """Ports of the local services; unset means a free one."""

    s3: Port | None = Field(default=None, description="Port of the local S3 server.")
    mongo: Port | None = Field(default=None, description="Port of the local MongoDB server.")
    mlflow: Port | None = Field(default=None, description="Port of the local MLflow server and its UI.")


class AutomationSettings(_Section):
    """How files that arrive become records, table and predictions by themselves."""

    landing_seconds: Annotated[int, Field(ge=5)] = Field(
        default=15, description="Seconds between two looks at the landing bucket."
    )
    evaluation_seconds: Annotated[int, Field(ge=5)] = Field(
        default=30, description="Seconds between two evaluations of the automation conditions."
    )
    max_reports: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=300, description="Files of a line that one look reports at most; the next look takes the rest."
    )
    retry_minutes: Annotated[float, Field(gt=0)] = Field(
        default=30.0,
        description="Minutes after which a file that still has no outcome is reported once more; each further "
        "pause is twice as long, up to a day.",
    )


class RetrainingSettings(_Section):
    """When a model is trained without anybody asking."""

    enabled: bool = Field(default=True, description="Whether training starts by itself at all.")
    min_new_wafers: Annotated[int, Field(ge=1)] = Field(
        default=500, description="Labelled wafers that must have arrived since the last training."
    )
    cooldown_hours: Annotated[float, Field(ge=0)] = Field(
        default=24.0, description="Hours that must have passed since the last training."
    )
    schedule: str | None = Field(
        default=None, description="Cron expression, in UTC, at which to train too, if a wafer is new."
    )


class MetricsSettings(_Section):
    """What Prometheus reads."""

    enabled: bool = Field(default=True, description="Whether metrics are offered at all.")
    port: Port = Field(
        default=9464, description="Port of `wafer metrics`; `wafer dev` takes a free one where it is taken."
    )


class NotificationSettings(_Section):
    """Who is told of failed runs and quarantined files."""

    urls: tuple[SecretStr, ...] = Field(
        default=(),
        description="Apprise URLs such as slack://..., mailto://... or json://host/path, as a JSON list. "
        "Empty means the log alone. They hold credentials.",
    )
    receivers: Mapping[str, SecretStr] = Field(
        default={},
        description="Apprise URL by the name that lines give in `notify`, as a JSON object; a line without a name "
        "that is here tells `urls`.",
    )
    max_per_hour: Annotated[int, Field(ge=1)] = Field(
        default=20, description="Messages an hour at most about a line; what is held back is counted in the next one."
    )


_Origin = Annotated[
    str, Field(pattern=r"^https?://[a-z0-9.-]+(:\d+)?/?$"), AfterValidator(lambda origin: origin.rstrip("/"))
]


class WebSettings(_Section):
    """Who may reach what is served over HTTP: the Dagster UI, the reports and the scoring server."""

    origins: tuple[_Origin, ...] = Field(
        default=(),
        description="Addresses beside a server's own that people and programs reach it at, such as "
        "https://wafer.example.com, as a JSON list; under no other is anything answered.",
    )


class Settings(BaseSettings):
    """Everything that differs between a laptop and production."""

    model_config = SettingsConfigDict(
        env_prefix="WAFER_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    environment: Literal["local", "production"] = Field(default="local", description="Where this runs.")
    services_host: IPvAnyAddress = Field(
        default=IPv4Address("127.0.0.1"),
        description="Address of the local services; other than loopback only to let a test cluster's pods reach them.",
    )
    state_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default=Path(".wafer"), description="Folder of all local state.", validate_default=True
    )
    lines: Path | None = Field(default=None, description="Folder of lines beside the shipped ones, a folder each.")
    dagster_home: Path | None = Field(
        default=None,
        validation_alias="DAGSTER_HOME",
        description="Folder of the Dagster instance; unset means one in the state folder.",
    )
    executor: Literal["in_process", "kubernetes"] = Field(
        default="in_process",
        description="What runs the steps of a training: the run's own process, or a Kubernetes pod each.",
    )
    pages_url: str | None = Field(
        default_factory=lambda given: "http://127.0.0.1:3001" if given["environment"] == "local" else None,
        description="Address of the lake's reports; on a laptop `wafer dev` serves them. Unset means the S3 console.",
    )
    s3: S3Settings = S3Settings()
    mongo: MongoSettings = MongoSettings()
    mlflow: MLflowSettings = MLflowSettings()
    ports: PortSettings = PortSettings()
    metrics: MetricsSettings = MetricsSettings()
    automation: AutomationSettings = AutomationSettings()
    retraining: RetrainingSettings = RetrainingSettings()
    notifications: NotificationSettings = NotificationSettings()
    web: WebSettings = WebSettings()


def load_settings() -> Settings:
    """Read the settings of this process.

    Raises
    ------
    pydantic.ValidationError
        A value is wrong; the error names the setting and never shows the value, which may be a secret.
    StateLayoutError
        The state folder has a layout of another version of the platform.
    """
    settings = Settings()
    if settings.environment == "production":
        return settings
    require_layout(settings.state_dir)
    require_upgraded(settings.state_dir)
    # What a crash leaves of the file names servers that are gone.
    running = services_run(settings.state_dir)
    return Settings(_env_file=settings.state_dir / SERVICES_FILE) if running else settings


def services_run(state_dir: Path) -> bool:
    """Return whether somebody runs the local services of a state folder, or is starting or stopping them."""
    with suppress(FileNotFoundError, NotADirectoryError), (state_dir / SERVICES_LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

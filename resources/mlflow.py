"""Experiment tracking and the model registry: all that the platform does with MLflow goes through `Tracking`.

One Dagster run is one MLflow run, whatever process or pod its steps run in: steps find it by the tag
`dagster_run_id`, and `ElectedRuns` settles which one it is where two start at once. A step leaves the run open for
the next one. How the whole Dagster run ended is for `Tracking.close`, called by whoever watches the run.

No run is ever MLflow's active one, of which a process has one at a time: `TrackedRun` names its run in every
call, so it works in any thread and in a process that serves several Dagster runs. MLflow's own functions and its
autologging know nothing of it.
"""

import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from dagster import DagsterRun, DagsterRunStatus

from resources.mongo import MongoStore
from wafer_assets.settings import NotConfiguredError, Settings

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import PyFuncModel

CHALLENGER = "challenger"
"""Alias of the newest registered bundle: the candidate for promotion."""

CHAMPION = "champion"
"""Alias of the bundle that predicts."""

OUT_OF_FOLD = "out_of_fold.parquet"
"""Artifact of a version's run: the out-of-fold rows that the version is compared by."""

RunEnd: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]

_RUN_ENDS: Mapping[DagsterRunStatus, RunEnd] = {
    DagsterRunStatus.SUCCESS: "FINISHED",
    DagsterRunStatus.FAILURE: "FAILED",
    DagsterRunStatus.CANCELED: "KILLED",
}

# MLflow reads these from the environment only, and its own defaults wait minutes for a server that is gone.
_CLIENT_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}

_BATCH_LIMIT = 100  # parameters in one request
_DIGEST_LIMIT = 36  # characters of a dataset's digest
_BUNDLE_FILE = "artifacts/bundle.skops"  # where `register_bundle` puts the bundle in the version
_BUNDLE_CODE = Path(__file__).with_name("bundle_pyfunc.py")
_BUNDLE_PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "xgboost-cpu")


class TrackingUnreachableError(RuntimeError):
    """The MLflow server did not answer."""

    code = "tracking_unreachable"

    def __init__(self, uri: str) -> None:
        host = urlsplit(uri).netloc.rpartition("@")[2]
        super().__init__(
            f"the MLflow server at {host} does not answer: start the local services with "
            "`wafer services up`, or correct WAFER_MLFLOW__TRACKING_URI."
        )


class BundleNotFoundError(LookupError):
    """The registered model has no such version."""

    code = "bundle_not_found"


class BundleUnusableError(RuntimeError):
    """A registered version's file cannot be read."""

    code = "bundle_unusable"

    def __init__(self, version: "BundleVersion") -> None:
        super().__init__(
            f"version {version.version} of {version.name} is unusable: its file {_BUNDLE_FILE} cannot be read. "
            "Go back to the champion before it with `wafer models rollback`, or train again."
        )


class OutOfFoldMissingError(LookupError):
    """A version was registered without the out-of-fold rows that it would be compared by."""

    code = "out_of_fold_missing"

    def __init__(self, version: "BundleVersion") -> None:
        super().__init__(
            f"version {version.version} of {version.name} cannot be compared: its run {version.run_id} has no "
            f"artifact {OUT_OF_FOLD}. Train again, or decide by hand with `wafer models promote`."
        )


@dataclass(frozen=True, slots=True)
class BundleVersion:
    """One version of the registered model."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]
    registered_at: datetime

    @property
    def uri(self) -> str:
        """Address of the version for MLflow's tools."""
        return f"models:/{self.name}/{self.version}"


class ElectedRuns(MongoStore):
    """Which MLflow run it is that everybody logs to, where several processes would each create one.

    MLflow has no "create unless it exists", and its times are those of its clients, whose clocks differ. MongoDB
    takes an ``_id`` once. So the election is one document of the collection ``mlflow_runs``: its ``_id`` is the
    Dagster run's, or ``<MLflow run>/<name>`` for a nested run, and the first to insert it has named the run.
    """

    def elected(self, key: str) -> str | None:
        """Return the id of the run that was elected; None where none was yet."""
        found = self._database["mlflow_runs"].find_one({"_id": key})
        return None if found is None else str(found["mlflow_run_id"])

    def elect(self, key: str, candidate: str) -> str:
        """Elect the candidate unless another run was before; returns the id of the run that is elected."""
        from pymongo.errors import DuplicateKeyError

        while (elected := self.elected(key)) is None:
            with suppress(DuplicateKeyError):
                self._database["mlflow_runs"].insert_one({"_id": key, "mlflow_run_id": candidate})
                return candidate
        return elected

    def settle(
        self, client: "MlflowClient", key: str, find: "Callable[[], Sequence[Run]]", create: "Callable[[], Run]"
    ) -> str:
        """Return the id of the run that is elected, having proposed one that is found or else a new one.

        A process that dies in the middle leaves a run that the next one finds and proposes, and `Tracking.close`
        removes where another was elected.
        """
        elected = self.elected(key)
        if elected is not None:
            return elected
        if found := find():
            return self.elect(key, found[0].info.run_id)
        own = create().info.run_id
        elected = self.elect(key, own)
        if elected != own:
            client.delete_run(own)
        return elected


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """An MLflow run to log to: a Dagster run's own, or one nested in it."""

    client: "MlflowClient"
    elected_runs: ElectedRuns
    run_id: str
    experiment_id: str
    ui_url: str

    @property
    def url(self) -> str:
        """Page of the run in MLflow's UI."""
        return f"{self.ui_url.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters; MLflow keeps their text and refuses to change a value once logged."""
        from mlflow.entities import Param

        entries = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(entries), _BATCH_LIMIT):
            self.client.log_batch(self.run_id, params=entries[start : start + _BATCH_LIMIT])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log the values of metrics; `step` is the abscissa of those that are curves, such as a k."""
        from mlflow.entities import Metric

        now = _milliseconds()
        values = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        self.client.log_batch(self.run_id, values)

    def log_bytes(self, path: str, content: bytes) -> None:
        """Store `content` as the run's artifact `path`, for example ``plots/elbow.png``."""
        target = PurePosixPath(path)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, target.name)
            file.write_bytes(content)
            parent = None if target.parent == PurePosixPath() else str(target.parent)
            self.client.log_artifact(self.run_id, str(file), parent)

    def log_dict(self, path: str, content: Mapping[str, object]) -> None:
        """Store `content` as the run's artifact `path`, as JSON or YAML by its ending."""
        self.client.log_dict(self.run_id, dict(content), path)

    def log_dataset(self, name: str, *, content_hash: str, source: str, rows: int, batches: Sequence[str]) -> None:
        """Log what the run was trained on as a dataset input.

        Parameters
        ----------
        name : str
            The dataset's name.
        content_hash : str
            Hash of its content. MLflow's digest holds 36 characters; the whole hash is in the profile.
        source : str
            URI of the stored dataset.
        rows : int
            Number of wafers.
        batches : sequence of str
            Names of the batch files it is made of.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {"num_rows": rows, "content_hash": content_hash, "batches": list(batches)}
        dataset = Dataset(
            name=name,
            digest=content_hash[:_DIGEST_LIMIT],
            source_type=urlsplit(source).scheme,
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [context])])

    @contextmanager
    def nested(self, name: str) -> Iterator["TrackedRun"]:
        """Open the nested run `name` and end it as the block ends; a retried step resumes its first try's."""

        def find() -> "list[Run]":
            siblings = self.client.search_runs([self.experiment_id], _nested_in(self.run_id))
            return [run for run in siblings if run.info.run_name == name]

        def create() -> "Run":
            parent = {"mlflow.parentRunId": self.run_id}
            return self.client.create_run(self.experiment_id, run_name=name, tags=parent)

        run_id = self.elected_runs.settle(self.client, f"{self.run_id}/{name}", find, create)
        nested = replace(self, run_id=run_id)
        try:
            yield nested
        except BaseException as error:
            with _server_may_be_gone():
                self.client.set_terminated(nested.run_id, _end_of(error))
            raise
        self.client.set_terminated(nested.run_id, "FINISHED")


class Tracking:
    """The platform's MLflow server, as a Dagster resource.

    Logging to a Dagster run needs MongoDB, too, to settle on its MLflow run; the registry does not.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.mlflow
        self._elected_runs = ElectedRuns(settings)

    @contextmanager
    def run(self, dagster_run: DagsterRun) -> Iterator[TrackedRun]:
        """Log to the MLflow run of `dagster_run`, creating it where no step did yet.

        The block's end leaves the MLflow run open, since later steps may follow; an exception ends it as
        failed, an interrupt as killed. A re-execution is a Dagster run of its own, and so is its MLflow run:
        the tags `dagster_parent_run_id` and `dagster_root_run_id` link it to the first.

        Raises
        ------
        NotConfiguredError
            No tracking server is set, or no MongoDB.
        TrackingUnreachableError
            The server does not answer.
        """
        with self._server() as client:
            import mlflow

            experiment_id = mlflow.set_experiment(self.settings.experiment).experiment_id
            run_id = self._elected_runs.settle(
                client,
                dagster_run.run_id,
                lambda: _runs_of(client, experiment_id, dagster_run.run_id),
                lambda: client.create_run(
                    experiment_id,
                    run_name=f"{dagster_run.job_name}-{dagster_run.run_id[:8]}",
                    tags=_run_tags(dagster_run),
                ),
            )
            ui_url = self.settings.ui_url or client.tracking_uri
            try:
                yield TrackedRun(client, self._elected_runs, run_id, experiment_id, ui_url)
            except BaseException as error:
                with _server_may_be_gone():
                    client.set_terminated(run_id, _end_of(error))
                raise

    def close(self, dagster_run_id: str, status: DagsterRunStatus) -> None:
        """End the MLflow run of a Dagster run as that one ended, with the nested runs that are still open.

        Does nothing where the Dagster run never logged anything, or no server is set. Closing again changes
        nothing, unless the status differs: the last word counts.

        Raises
        ------
        ValueError
            `status` is not that of a run that has ended.
        """
        if status not in _RUN_ENDS:
            raise ValueError(f"close a Dagster run when it has ended, not while it is {status.value}")
        if self.settings.tracking_uri is None:
            return
        end = _RUN_ENDS[status]
        with self._server() as client:
            experiment = client.get_experiment_by_name(self.settings.experiment)
            if experiment is None:
                return
            runs = _runs_of(client, experiment.experiment_id, dagster_run_id)
            if not runs:
                return
            # One alone was elected or will never be: MongoDB need not be there to end it.
            elected = runs[0].info.run_id
            if len(runs) > 1:
                elected = self._elected_runs.elect(dagster_run_id, elected)
            for run in runs:
                if run.info.run_id != elected:  # whoever created it died before deleting it
                    client.delete_run(run.info.run_id)
                else:
                    _end_with_nested(client, run, end)

    def register_bundle(
        self,
        run: TrackedRun,
        bundle: bytes,
        *,
        sensors: Sequence[str],
        optional: Collection[str] = (),
        tags: Mapping[str, str],
    ) -> BundleVersion:
        """Register a stored estimator as the model's next version, and make it the challenger.

        The version is a pyfunc made of code (`bundle_pyfunc`) and the bytes as they are: nothing is pickled.
        It needs this project installed where it is loaded, and names the libraries it was made with, pinned.

        Parameters
        ----------
        run : TrackedRun
            The run that made it, inside its ``with`` block.
        bundle : bytes
            What `wafer_assets.domain.persistence.dump` returned.
        sensors, optional : sequence and collection of str
            Columns of the input, and those of them that may be left out.
        tags : mapping of str to str
            Evidence to keep with the version.
        """
        with self._server() as client, tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            from mlflow import pyfunc
            from mlflow.models import Model

            # The signature is written from the contract; an example would only be stored and run once more.
            warnings.filterwarnings("ignore", ".*An input example was not provided")
            file = Path(folder, "bundle.skops")
            file.write_bytes(bundle)
            info = Model.log(
                artifact_path=None,
                flavor=pyfunc,
                name="bundle",
                run_id=run.run_id,
                registered_model_name=self.settings.model_name,
                tags=dict(tags),
                python_model=_BUNDLE_CODE,
                artifacts={"bundle": str(file)},
                signature=_signature(sensors, optional),
                # Named, because MLflow would find them by running the model in a process of its own.
                pip_requirements=[f"{name}=={installed_version(name)}" for name in _BUNDLE_PACKAGES],
            )
            version = client.get_model_version(self.settings.model_name, str(info.registered_model_version))
            client.set_registered_model_alias(version.name, CHALLENGER, version.version)
            return _bundle_version(version)

    def aliases(self) -> dict[str, int]:
        """Return the number of the version that each alias names; empty where there is no model yet."""
        with self._server() as client:
            from mlflow.exceptions import MlflowException

            try:
                named = client.get_registered_model(self.settings.model_name).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
            return {alias: int(number) for alias, number in named.items()}

    def version(self, alias: str) -> BundleVersion | None:
        """Return the version that `alias` names; None where there is no such alias, or no model at all."""
        number = self.aliases().get(alias)
        if number is None:
            return None
        with self._server() as client:
            return _bundle_version(client.get_model_version(self.settings.model_name, str(number)))

    def versions(self) -> list[BundleVersion]:
        """Return all versions of the model, newest first."""
        with self._server() as client:
            found = client.search_model_versions(f"name = '{self.settings.model_name}'")
            return sorted(map(_bundle_version, found), key=lambda version: version.version, reverse=True)

    def get_version(self, number: int) -> BundleVersion:
        """Return the version with that number.

        Raises
        ------
        BundleNotFoundError
            There is none; the error names those that there are.
        """
        versions = self.versions()
        for version in versions:
            if version.version == number:
                return version
        there = (
            ", ".join(str(version.version) for version in reversed(versions[:20])) or "none yet: train a model first"
        )
        raise BundleNotFoundError(f"{self.settings.model_name} has no version {number}. The latest are: {there}.")

    def tag_version(self, version: BundleVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version; the others stay."""
        with self._server() as client:
            for key, value in tags.items():
                client.set_model_version_tag(version.name, str(version.version), key, value)

    def training_batches(self, version: BundleVersion) -> tuple[str, ...]:
        """Return the batch files a version was trained on, as `TrackedRun.log_dataset` noted them, by name."""
        with self._server() as client:
            inputs = client.get_run(version.run_id).inputs
        profiles = [json.loads(given.dataset.profile or "{}") for given in inputs.dataset_inputs] if inputs else []
        return tuple(sorted({batch for profile in profiles for batch in profile.get("batches", ())}))

    def out_of_fold(self, version: BundleVersion) -> "pd.DataFrame":
        """Return the out-of-fold rows of the evaluation that preceded a version.

        Raises
        ------
        OutOfFoldMissingError
            None were stored with it.
        """
        with self._server() as client, tempfile.TemporaryDirectory() as folder:
            import pandas as pd

            if OUT_OF_FOLD not in {file.path for file in client.list_artifacts(version.run_id)}:
                raise OutOfFoldMissingError(version)
            content = Path(client.download_artifacts(version.run_id, OUT_OF_FOLD, folder)).read_bytes()
        return pd.read_parquet(io.BytesIO(content))

    def content_of(self, version: BundleVersion) -> bytes:
        """Return the stored estimator of a version, byte for byte as it was registered; runs none of its code.

        Raises
        ------
        BundleUnusableError
            The file is missing, or cannot be downloaded though the server answers.
        """
        with self._server() as client, tempfile.TemporaryDirectory() as folder:
            from mlflow.artifacts import download_artifacts

            try:
                return Path(download_artifacts(f"{version.uri}/{_BUNDLE_FILE}", dst_path=folder)).read_bytes()
            except Exception as error:
                # The artifact store may be any; a server that is gone altogether fails here, and says so.
                client.search_experiments(max_results=1)
                raise BundleUnusableError(version) from error

    def set_alias(self, alias: str, version: BundleVersion) -> None:
        """Let `alias` name `version`, and no other."""
        with self._server() as client:
            client.set_registered_model_alias(version.name, alias, str(version.version))

    def load_bundle(self, version: BundleVersion) -> "PyFuncModel":
        """Load a version as any consumer would; ``predict`` checks its input against the signature."""
        with self._server(), tempfile.TemporaryDirectory() as folder:
            from mlflow import pyfunc

            model: PyFuncModel = pyfunc.load_model(version.uri, dst_path=folder)
            return model

    @contextmanager
    def _server(self) -> Iterator["MlflowClient"]:
        """Client of the configured server; where that does not answer, the error says what to do."""
        uri = self.settings.tracking_uri
        if uri is None:
            raise NotConfiguredError("experiment tracking", "WAFER_MLFLOW__TRACKING_URI")
        for name, value in _CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if self.settings.username and self.settings.password:
            os.environ["MLFLOW_TRACKING_USERNAME"] = self.settings.username
            os.environ["MLFLOW_TRACKING_PASSWORD"] = self.settings.password.get_secret_value()

        # Only now, because MLflow decides on telemetry as it is imported.
        import mlflow
        import requests
        from mlflow.exceptions import MlflowException

        mlflow.set_tracking_uri(uri)
        try:
            yield mlflow.MlflowClient()
        except MlflowException as error:
            if isinstance(error.__context__, requests.RequestException):
                raise TrackingUnreachableError(uri) from error
            raise


def _end_with_nested(client: "MlflowClient", run: "Run", end: RunEnd) -> None:
    for nested in client.search_runs([run.info.experiment_id], _nested_in(run.info.run_id)):
        if nested.info.status == "RUNNING":
            client.set_terminated(nested.info.run_id, end)
    if run.info.status != end:
        client.set_terminated(run.info.run_id, end)


def _runs_of(client: "MlflowClient", experiment_id: str, dagster_run_id: str) -> "Sequence[Run]":
    """Return the MLflow runs of a Dagster run: one, but for the moment of its election."""
    return client.search_runs([experiment_id], f"tags.dagster_run_id = '{dagster_run_id}'")


def _run_tags(dagster_run: DagsterRun) -> dict[str, str]:
    links = {
        "dagster_run_id": dagster_run.run_id,
        "dagster_parent_run_id": dagster_run.parent_run_id,
        "dagster_root_run_id": dagster_run.root_run_id,
    }
    source = {"mlflow.source.type": "JOB", "mlflow.source.name": dagster_run.job_name}
    return source | {key: value for key, value in links.items() if value}


def _nested_in(run_id: str) -> str:
    return f"tags.mlflow.parentRunId = '{run_id}'"


def _end_of(error: BaseException) -> RunEnd:
    # An interrupt, Dagster's own included, is no Exception.
    return "FAILED" if isinstance(error, Exception) else "KILLED"


@contextmanager
def _server_may_be_gone() -> Iterator[None]:
    """Keep the error at hand, even where the server is what failed and cannot be told of it."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        yield


def _signature(sensors: Sequence[str], optional: Collection[str]) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    wafer = ColSpec(DataType.string, "wafer", required=False)
    readings = [ColSpec(DataType.double, sensor, required=sensor not in optional) for sensor in sensors]
    return ModelSignature(
        inputs=Schema([wafer, *readings]),
        outputs=Schema(
            [
                wafer,
                ColSpec(DataType.double, "probability"),
                ColSpec(DataType.boolean, "faulty"),
                ColSpec(DataType.long, "cluster"),
                ColSpec(DataType.string, "decided_by"),
                ColSpec(DataType.long, "bundle_version"),
                ColSpec(DataType.string, "drivers"),
            ]
        ),
    )


def _bundle_version(version: "ModelVersion") -> BundleVersion:
    return BundleVersion(
        name=version.name,
        version=int(version.version),
        run_id=str(version.run_id),
        tags=dict(version.tags),
        registered_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
    )


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000

"""Tracking of runs: one Dagster run is one MLflow run, whatever process or pod its steps run in.

Steps find it by the tag `dagster_run_id`, and `ElectedRuns` settles which one it is where two start at once. A step
leaves the run open for the next one. How the whole Dagster run ended is for `RunTracking.close`, called by whoever
watches the run.

No run is ever MLflow's active one, of which a process has one at a time: `TrackedRun` names its run in every
call, so it works in any thread and in a process that serves several Dagster runs. MLflow's own functions and its
autologging know nothing of it. What becomes of a model once it is registered is in `resources.mlflow.registry`.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from dagster import DagsterRun, DagsterRunStatus

from resources.mlflow.server import MLflowServer
from resources.mongo import MongoStore
from wafer_assets.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RunEnd: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]

_RUN_ENDS: Mapping[DagsterRunStatus, RunEnd] = {
    DagsterRunStatus.SUCCESS: "FINISHED",
    DagsterRunStatus.FAILURE: "FAILED",
    DagsterRunStatus.CANCELED: "KILLED",
}

_BATCH_LIMIT = 100  # parameters in one request
_DIGEST_LIMIT = 36  # characters of a dataset's digest


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

        A process that dies in the middle leaves a run that the next one finds and proposes, and `RunTracking.close`
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


class RunTracking(MLflowServer):
    """Runs of the platform's MLflow server; they need MongoDB, too, to settle on the MLflow run of a Dagster run."""

    def __init__(self, settings: Settings, line: str = "") -> None:
        super().__init__(settings, line)
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
                lambda: _runs_of(client, [experiment_id], dagster_run.run_id),
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


class RunClosing(MLflowServer):
    """The end of the MLflow runs of all lines."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._elected_runs = ElectedRuns(settings)

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
            experiments = client.search_experiments(filter_string=f"name LIKE '{self.settings.experiment}-%'")
            runs = experiments and _runs_of(client, [each.experiment_id for each in experiments], dagster_run_id)
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


def _end_with_nested(client: "MlflowClient", run: "Run", end: RunEnd) -> None:
    for nested in client.search_runs([run.info.experiment_id], _nested_in(run.info.run_id)):
        if nested.info.status == "RUNNING":
            client.set_terminated(nested.info.run_id, end)
    if run.info.status != end:
        client.set_terminated(run.info.run_id, end)


def _runs_of(client: "MlflowClient", experiments: Sequence[str], dagster_run_id: str) -> "Sequence[Run]":
    """Return the MLflow runs of a Dagster run: one, but for the moment of its election."""
    return client.search_runs([*experiments], f"tags.dagster_run_id = '{dagster_run_id}'")


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


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000

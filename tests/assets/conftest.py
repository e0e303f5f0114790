"""A small platform: the real graph on real services, and one small training for all tests that only look at it.

- ``ingest`` drops training files into the landing bucket and ingests them.
- ``trained`` is what a whole training on a small simulated table left behind; made once, and never changed.
- ``modelling`` materializes assets of the training feed from what that training stored, for one test.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Protocol

import dagster as dg
import pandas as pd
import pytest

from resources.io_managers import FrameIOManager, ObjectIOManager
from resources.model_config import EvaluationConfig
from resources.mongo import WaferStore
from resources.s3 import S3Store, StoredObject
from schemas.loader import BatchSchema, load_schema
from tests.feeds import TRAINING, line_with
from tests.landing import land
from wafer_assets.definitions import build_defs
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import frame_hash
from wafer_assets.keys import landing_key, training_key, value_key
from wafer_assets.settings import Settings


class Ingest(Protocol):
    def __call__(
        self, files: Mapping[str, bytes], *, raise_on_error: bool = True, **resources: object
    ) -> dg.ExecuteInProcessResult: ...


@pytest.fixture(autouse=True)
def _retries_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


@pytest.fixture
def instance() -> Iterable[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session")
def schema() -> BatchSchema:
    return load_schema("training")


@pytest.fixture
def ingest(settings: Settings, instance: dg.DagsterInstance) -> Ingest:
    """Drop files into the landing bucket and ingest, in one run, those that are new or changed."""

    def run(
        files: Mapping[str, bytes], *, raise_on_error: bool = True, **resources: object
    ) -> dg.ExecuteInProcessResult:
        job = build_defs(settings, **resources).resolve_job_def("secom__ingest_training")
        tags = land(settings, instance, files, everything=False)
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=raise_on_error)

    return run


# --- The training feed ---

MODEL: Mapping[str, Any] = {"k_max": 4, "folds": 2, "forest_trees": 3, "xgboost_trees": 3}
EVALUATION: Mapping[str, Any] = {"repeats": 1, "folds": 3, "n_jobs": 1}

MODELLING = ("preprocessor", "features", "elbow", "clusterer", "cluster_labels", "cluster_models", "evaluation")
"""Assets between the table and the bundle, in their order."""


@dataclass(frozen=True)
class Made:
    """What a run on the training feed made, as it was when the run had ended.

    Attributes
    ----------
    run
        The run, with its events.
    settings
        Of the services it ran on.
    objects
        All objects of the lake bucket, by key, each with its metadata.
    """

    run: dg.ExecuteInProcessResult
    settings: Settings
    objects: Mapping[str, tuple[bytes, Mapping[str, str]]]

    @property
    def steps(self) -> list[str]:
        return [str(event.step_key) for event in self.run.all_events if event.is_step_success]

    @property
    def artifacts(self) -> set[str]:
        """Files that MLflow keeps of the run."""
        return {key.partition("/artifacts/")[2] for key in self.objects if key.startswith("mlflow/")}

    @property
    def failure(self) -> str:
        """What the only step that failed said."""
        (event,) = [event for event in self.run.all_events if event.is_step_failure]
        return str(event.step_failure_data.error)

    def event(self, name: str) -> dg.AssetMaterialization:
        """The only materialization of an asset."""
        (found,) = [
            event.materialization
            for event in self.run.all_events
            if event.is_step_materialization and event.asset_key == training_key("secom", name)
        ]
        return found

    def metadata(self, name: str) -> dict[str, Any]:
        return {key: entry.value for key, entry in self.event(name).metadata.items()}

    def records(self, name: str, entry: str) -> list[dict[str, Any]]:
        """Rows of a table among an asset's metadata."""
        table = self.event(name).metadata[entry]
        assert isinstance(table, dg.TableMetadataValue)
        return [dict(record.data) for record in table.records]

    def column_types(self, name: str) -> dict[str, str]:
        """Type of every column that an asset's metadata tell of."""
        schema = self.metadata(name)["dagster/column_schema"]
        return {column.name: column.type for column in schema.columns}

    def data_version(self, name: str, *, as_input_of: str = "") -> str:
        """Data version of an asset, or that which another one was made from."""
        if as_input_of:
            return (self.event(as_input_of).tags or {})[f"dagster/input_data_version/secom/training/{name}"]
        return (self.event(name).tags or {})["dagster/data_version"]

    def value(self, name: str) -> Any:
        """What the lake keeps of an asset."""
        s3 = S3Store(self.settings)
        for manager in (FrameIOManager(s3, "secom"), ObjectIOManager(s3, "secom")):
            if found := self.objects.get(value_key(training_key("secom", name), manager.extension)):
                return manager.decode(found[0])
        raise LookupError(name)


def run_line(
    settings: Settings,
    names: Iterable[str],
    model: Mapping[str, Any] = MODEL,
    evaluation: Mapping[str, Any] = EVALUATION,
) -> Made:
    """Materialize assets of the training feed in one run."""
    defs = build_defs(settings, [line_with(**model)], evaluation=EvaluationConfig(**evaluation))
    job = defs.resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection={training_key("secom", name) for name in names})
    with dg.DagsterInstance.ephemeral() as instance:
        run = subset.execute_in_process(instance=instance, raise_on_error=False)
    s3 = S3Store(settings)
    return Made(run, settings, {item.key: s3.read(s3.lake, item.key) for item in s3.list_objects(s3.lake)})


def store_batches(store: WaferStore, table: pd.DataFrame) -> None:
    """Store the wafers of a training table as accepted batches."""
    for batch, rows in table.groupby("batch"):
        frame = rows.drop(columns="batch").reset_index(drop=True)
        source = StoredObject(landing_key(TRAINING, str(batch)), 1, "etag", datetime(2026, 1, 1, tzinfo=UTC))
        store.replace_batch(TRAINING, str(batch), frame, source, sha256=frame_hash(frame))


@pytest.fixture(scope="session")
def simulated() -> pd.DataFrame:
    """A table of 240 wafers in three batches, of which 51 are faulty."""
    return simulate_table(240, seed=1, fault_rate=0.2)


@pytest.fixture(scope="session")
def trained(shared_platform: Settings, simulated: pd.DataFrame) -> Made:
    """A whole training on the simulated table: values, events, and what MLflow kept."""
    settings = shared_platform.model_copy(
        update={
            "mongo": shared_platform.mongo.model_copy(update={"database": "trained"}),
            "mlflow": shared_platform.mlflow.model_copy(update={"experiment": "trained", "model_name": "trained"}),
        }
    )
    store_batches(WaferStore(settings), simulated)
    made = run_line(settings, ["wafer_table", *MODELLING, "model_bundle"])
    assert made.run.success
    s3 = S3Store(settings)
    for key in made.objects:
        s3.delete(s3.lake, key)
    return made


class Modelling:
    """The training feed of one test, whose lake holds the latest values of a training."""

    def __init__(self, settings: Settings, trained: Made) -> None:
        self.settings, self._trained = settings, trained
        s3 = S3Store(settings)
        for key, (content, metadata) in trained.objects.items():
            if key.startswith("secom/training/"):
                s3.put(s3.lake, key, content, metadata)

    def give(self, name: str, frame: pd.DataFrame) -> None:
        """Replace a stored frame by another one that is said to come from the same."""
        s3 = S3Store(self.settings)
        key = value_key(training_key("secom", name), FrameIOManager.extension)
        s3.put(s3.lake, key, FrameIOManager(s3, "secom").encode(frame), self._trained.objects[key][1])

    def materialize(
        self, *names: str, model: Mapping[str, Any] | None = None, evaluation: Mapping[str, Any] | None = None
    ) -> Made:
        """Materialize assets in a run of their own; hyperparameters are those of the training but for the given."""
        return run_line(self.settings, names, {**MODEL, **(model or {})}, {**EVALUATION, **(evaluation or {})})


@pytest.fixture
def modelling(trained: Made, platform_settings: Settings) -> Modelling:
    return Modelling(platform_settings, trained)


def require_picture(markdown: str) -> None:
    """Require that a metadata entry is a PNG with something drawn on it, as the UI shows it."""
    from matplotlib.image import imread

    text = markdown.removeprefix("![plot](data:image/png;base64,").removesuffix(")")
    assert text != markdown
    pixels = imread(BytesIO(base64.b64decode(text, validate=True)), format="png")
    assert pixels.std() > 0.01

"""Tracking against a real MLflow server: one run per Dagster run, its end, and the registry."""

import base64
import json
import multiprocessing
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    ResourceParam,
    asset,
    materialize,
)
from pydantic import SecretStr

from resources.mlflow import (
    CHALLENGER,
    CHAMPION,
    OUT_OF_FOLD,
    BundleNotFoundError,
    BundleUnusableError,
    BundleVersion,
    LineTracking,
    OutOfFoldMissingError,
    Tracking,
    TrackingUnreachableError,
)
from schemas.loader import load_schema
from tests.stored import pyfunc_of
from wafer_assets.settings import MLflowSettings, MongoSettings, NotConfiguredError, Settings

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier, Event

    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.pyfunc import PyFuncModel

    from wafer_assets.domain.training import FaultModel

    Fitted = tuple[FaultModel, pd.DataFrame]


@pytest.fixture
def tracking(platform_settings: Settings) -> LineTracking:
    return LineTracking(platform_settings, "secom")


@pytest.fixture
def platform(platform_settings: Settings) -> Tracking:
    return Tracking(platform_settings)


@pytest.fixture
def client(platform_settings: Settings) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(platform_settings.mlflow.tracking_uri)


def dagster_run(job_name: str = "secom__train") -> DagsterRun:
    return DagsterRun(job_name=job_name, run_id=str(uuid.uuid4()))


def all_runs(client: "MlflowClient", tracking: LineTracking) -> "list[Run]":
    experiment = client.get_experiment_by_name(tracking.settings.experiment)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


@asset
def features(context: AssetExecutionContext, mlflow: ResourceParam[LineTracking]) -> None:
    with mlflow.run(context.run) as run:
        run.log_params({"missing": "median"})


@asset(deps=[features])
def members(context: AssetExecutionContext, mlflow: ResourceParam[LineTracking]) -> None:
    with mlflow.run(context.run) as run:
        for member in ("cluster 0/xgboost", "cluster 0/random_forest"):
            with run.nested(member) as nested:
                nested.log_metrics({"log_loss": 0.2})


@asset(deps=[members])
def evaluation(context: AssetExecutionContext, mlflow: ResourceParam[LineTracking]) -> None:
    with mlflow.run(context.run) as run:
        run.log_metrics({"auc": 0.7})


@asset(deps=[members])
def broken_evaluation(context: AssetExecutionContext, mlflow: ResourceParam[LineTracking]) -> None:
    with mlflow.run(context.run):
        raise ValueError("too few faults")


def test_a_dagster_run_is_one_mlflow_run_with_its_members_nested(
    tracking: LineTracking, platform: Tracking, client: "MlflowClient"
) -> None:
    with DagsterInstance.ephemeral() as instance:
        result = materialize([features, members, evaluation], resources={"mlflow": tracking}, instance=instance)
    platform.close(result.run_id, DagsterRunStatus.SUCCESS)

    runs = {run.info.run_name: run for run in all_runs(client, tracking)}
    parents = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    (parent,) = parents
    assert parent.data.tags["dagster_run_id"] == result.run_id
    assert parent.data.params == {"missing": "median"}
    assert parent.data.metrics == {"auc": 0.7}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert set(runs) - {parent.info.run_name} == {"cluster 0/xgboost", "cluster 0/random_forest"}


def test_the_run_stays_open_until_closed(tracking: LineTracking, platform: Tracking, client: "MlflowClient") -> None:
    run = dagster_run()
    with tracking.run(run):
        pass
    assert [found.info.status for found in all_runs(client, tracking)] == ["RUNNING"]

    platform.close(run.run_id, DagsterRunStatus.SUCCESS)
    (closed,) = all_runs(client, tracking)
    platform.close(run.run_id, DagsterRunStatus.SUCCESS)
    (again,) = all_runs(client, tracking)
    assert closed.info.status == "FINISHED"
    assert again.info.end_time == closed.info.end_time


def test_a_failing_step_fails_the_run(tracking: LineTracking, client: "MlflowClient") -> None:
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [features, members, broken_evaluation],
            resources={"mlflow": tracking},
            instance=instance,
            raise_on_error=False,
        )
    statuses = {run.info.run_name: run.info.status for run in all_runs(client, tracking)}
    assert not result.success
    assert statuses.pop("cluster 0/xgboost") == "FINISHED"
    assert "FAILED" in statuses.values()


def test_a_later_step_does_not_hide_an_earlier_failure(tracking: LineTracking, client: "MlflowClient") -> None:
    run = dagster_run()
    with pytest.raises(ValueError, match="too few"), tracking.run(run):
        raise ValueError("too few faults")
    (failed,) = all_runs(client, tracking)
    with tracking.run(run) as later:
        later.log_metrics({"auc": 0.7})
        (meanwhile,) = all_runs(client, tracking)
    (found,) = all_runs(client, tracking)
    assert [each.info.status for each in (failed, meanwhile, found)] == ["FAILED"] * 3
    assert found.info.end_time == meanwhile.info.end_time == failed.info.end_time
    assert found.data.metrics == {"auc": 0.7}


def test_an_interrupted_step_kills_its_runs(tracking: LineTracking, client: "MlflowClient") -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.run(dagster_run()) as run,
        run.nested("cluster 0/xgboost"),
    ):
        raise KeyboardInterrupt
    assert [found.info.status for found in all_runs(client, tracking)] == ["KILLED", "KILLED"]


def test_closing_ends_what_a_killed_step_left_open(
    tracking: LineTracking, platform: Tracking, client: "MlflowClient"
) -> None:
    run = dagster_run()
    with tracking.run(run) as parent:
        left_open = parent.nested("cluster 0/xgboost")
        left_open.__enter__()
        platform.close(run.run_id, DagsterRunStatus.CANCELED)
        assert [found.info.status for found in all_runs(client, tracking)] == ["KILLED", "KILLED"]


def test_a_retried_step_resumes_its_nested_run(tracking: LineTracking, client: "MlflowClient") -> None:
    run = dagster_run()
    with (
        pytest.raises(ValueError, match="lost"),
        tracking.run(run) as parent,
        parent.nested("cluster 0/xgboost"),
    ):
        raise ValueError("lost the node")
    with tracking.run(run) as parent, parent.nested("cluster 0/xgboost") as nested:
        nested.log_metrics({"log_loss": 0.2})
    (member,) = [found for found in all_runs(client, tracking) if found.info.run_name == "cluster 0/xgboost"]
    assert member.info.status == "FINISHED"


def test_closing_needs_an_end_and_tolerates_runs_that_logged_nothing(
    tracking: LineTracking, platform: Tracking, client: "MlflowClient"
) -> None:
    with pytest.raises(ValueError, match="STARTED"):
        platform.close(str(uuid.uuid4()), DagsterRunStatus.STARTED)
    platform.close(str(uuid.uuid4()), DagsterRunStatus.SUCCESS)
    Tracking(Settings()).close(str(uuid.uuid4()), DagsterRunStatus.SUCCESS)
    assert client.get_experiment_by_name(tracking.settings.experiment) is None


def test_a_re_execution_is_a_run_of_its_own_linked_to_the_first(tracking: LineTracking, client: "MlflowClient") -> None:
    first = dagster_run()
    second = DagsterRun(
        job_name="secom__train", run_id=str(uuid.uuid4()), parent_run_id=first.run_id, root_run_id=first.run_id
    )
    with tracking.run(first) as before, tracking.run(second) as after:
        pass
    assert before.run_id != after.run_id
    assert client.get_run(after.run_id).data.tags["dagster_root_run_id"] == first.run_id


def test_every_line_has_an_experiment_and_a_model_of_its_own(
    platform_settings: Settings, platform: Tracking, client: "MlflowClient"
) -> None:
    names = platform_settings.mlflow
    versions = {}
    for line in ("secom", "metal_etch"):
        tracking = platform.of(line)
        assert tracking.settings.experiment == f"{names.experiment}-{line}"
        with tracking.run(dagster_run(f"{line}__train")) as run:
            versions[line] = tracking.register_bundle(run, line.encode(), sensors=["Sensor-1"], tags={})
        (found,) = all_runs(client, tracking)
        assert found.info.run_id == run.run_id
    assert {line: (item.name, item.version) for line, item in versions.items()} == {
        line: (f"{names.model_name}-{line}", 1) for line in ("secom", "metal_etch")
    }
    # What one line promotes says nothing about the other, whose versions it does not see.
    platform.of("secom").set_alias(CHAMPION, versions["secom"])
    assert platform.of("metal_etch").version(CHAMPION) is None
    assert platform.of("metal_etch").versions() == [versions["metal_etch"]]
    assert platform.of("metal_etch").content_of(versions["metal_etch"]) == b"metal_etch"


def test_the_end_of_a_run_closes_that_of_its_line_and_no_other(platform: Tracking, client: "MlflowClient") -> None:
    runs = {line: dagster_run(f"{line}__train") for line in ("secom", "metal_etch", "removed_since")}
    left_open = []
    for line, run in runs.items():
        with platform.of(line).run(run) as tracked:
            left_open.append(tracked.nested("cluster 0/xgboost"))
            left_open[-1].__enter__()

    def statuses() -> dict[str, set[str]]:
        return {line: {found.info.status for found in all_runs(client, platform.of(line))} for line in runs}

    platform.close(runs["metal_etch"].run_id, DagsterRunStatus.FAILURE)
    assert statuses() == {"secom": {"RUNNING"}, "metal_etch": {"FAILED"}, "removed_since": {"RUNNING"}}
    # Nobody need know of which line a run was, or whether that is declared still.
    platform.close(runs["removed_since"].run_id, DagsterRunStatus.SUCCESS)
    assert statuses() == {"secom": {"RUNNING"}, "metal_etch": {"FAILED"}, "removed_since": {"FINISHED"}}


def test_one_process_serves_several_dagster_runs_one_after_the_other(
    tracking: LineTracking, client: "MlflowClient"
) -> None:
    import mlflow

    for auc in (0.6, 0.7):
        with tracking.run(dagster_run()) as run:
            run.log_metrics({"auc": auc})
            assert mlflow.active_run() is None, "whatever else the process does would be logged to this run"
    assert sorted(run.data.metrics["auc"] for run in all_runs(client, tracking)) == [0.6, 0.7]


HOUR = 3600.0


def use_clock(behind: float) -> None:
    """Set the clock of this process; call it in one that a test has to itself."""
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() - behind
    time.time_ns = lambda: now_ns() - int(behind * 1e9)


def track(settings: Settings, run: DagsterRun, behind: float, together: "Barrier", answers: "SimpleQueue[str]") -> None:
    """Log from three threads at once, together with the other processes."""
    import mlflow  # noqa: F401 - before the barrier, since it takes seconds

    use_clock(behind)
    tracking = LineTracking(settings, "secom")

    def step(_: int) -> str:
        with tracking.run(run) as tracked, tracked.nested("cluster 0/xgboost") as nested:
            return f"{tracked.run_id} {nested.run_id}"

    together.wait(timeout=120)
    with ThreadPoolExecutor(3) as pool:
        for answer in pool.map(step, range(3)):
            answers.put(answer)


def test_steps_that_start_at_once_share_one_run_whatever_their_clocks_say(
    platform_settings: Settings, tracking: LineTracking, client: "MlflowClient"
) -> None:
    run, spawn = dagster_run(), multiprocessing.get_context("spawn")
    together, answers = spawn.Barrier(2), spawn.SimpleQueue()
    processes = [
        spawn.Process(target=track, args=(platform_settings, run, behind, together, answers), daemon=True)
        for behind in (HOUR, -HOUR)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=180)
        assert process.exitcode == 0
    found = {answers.get() for _ in range(6)}
    assert len(found) == 1
    assert set(found.pop().split()) == {each.info.run_id for each in all_runs(client, tracking)}


def slow_step(settings: Settings, run: DagsterRun, fate: str, asked: "Event", settled: "Event") -> None:
    """Find no run and create one whose time is the oldest of all, but only after another step has settled."""
    from mlflow import MlflowClient

    create = MlflowClient.create_run

    def create_late(client: MlflowClient, *args: Any, **kwargs: Any) -> "Run":
        asked.set()
        assert settled.wait(120)
        created = create(client, *args, **kwargs)
        if fate == "dies":
            os._exit(0)
        return created

    MlflowClient.create_run = create_late  # type: ignore[method-assign]
    use_clock(behind=HOUR)
    with LineTracking(settings, "secom").run(run) as tracked:
        tracked.log_metrics({"auc": 0.7})


@pytest.mark.parametrize("fate", ["goes on", "dies"])
def test_a_step_that_creates_its_run_too_late_logs_to_the_others(
    platform_settings: Settings, tracking: LineTracking, platform: Tracking, client: "MlflowClient", fate: str
) -> None:
    run = dagster_run()
    spawn = multiprocessing.get_context("spawn")
    asked, settled = spawn.Event(), spawn.Event()
    late = spawn.Process(target=slow_step, args=(platform_settings, run, fate, asked, settled), daemon=True)
    late.start()
    assert asked.wait(120)
    with tracking.run(run) as first:
        settled.set()
    late.join(timeout=120)
    assert late.exitcode == 0
    with tracking.run(run) as again:
        assert again.run_id == first.run_id

    platform.close(run.run_id, DagsterRunStatus.SUCCESS)
    (kept,) = all_runs(client, tracking)
    assert kept.info.run_id == first.run_id
    assert kept.info.status == "FINISHED"
    assert kept.data.metrics == ({} if fate == "dies" else {"auc": 0.7})


def test_a_run_that_was_created_but_never_elected_is_taken(tracking: LineTracking, client: "MlflowClient") -> None:
    run = dagster_run()
    created = client.create_run(
        client.create_experiment(tracking.settings.experiment), tags={"dagster_run_id": run.run_id}
    )
    with tracking.run(run) as tracked:
        assert tracked.run_id == created.info.run_id
    assert len(all_runs(client, tracking)) == 1


def test_only_logging_to_a_run_needs_mongodb(platform_settings: Settings, tracking: LineTracking) -> None:
    with tracking.run(dagster_run()) as run:
        version = tracking.register_bundle(run, b"model", sensors=["Sensor-1"], tags={})
    registry = LineTracking(platform_settings.model_copy(update={"mongo": MongoSettings()}), "secom")
    assert registry.version(CHALLENGER) == version
    assert registry.content_of(version) == b"model"
    with pytest.raises(NotConfiguredError, match="WAFER_MONGO__URI"), registry.run(dagster_run()):
        pass


def test_everything_logged_is_read_back(tracking: LineTracking, client: "MlflowClient") -> None:
    params = {f"setting_{i}": i for i in range(150)}
    batches = [f"wafer_28012020_{i:06d}.csv" for i in range(2_000)]
    with tracking.run(dagster_run()) as run:
        run.log_params(params)
        run.log_metrics({"auc": 0.7, "recall": 0.4})
        for k, inertia in ((1, 9.0), (2, 4.0)):
            run.log_metrics({"inertia": inertia}, step=k)
        run.log_bytes("plots/elbow.png", b"\x89PNG")
        run.log_dict("clusters.json", {"sizes": [3, 4]})
        run.log_dataset(
            "wafer_table",
            content_hash="c" * 64,
            source="s3://lake/wafer_table.parquet",
            rows=7,
            batches=batches,
        )
    found = client.get_run(run.run_id)
    assert found.data.params == {key: str(value) for key, value in params.items()}
    assert found.data.metrics == {"auc": 0.7, "recall": 0.4, "inertia": 4.0}
    curve = client.get_metric_history(run.run_id, "inertia")
    assert [(point.step, point.value) for point in curve] == [(1, 9.0), (2, 4.0)]
    assert run.url.startswith(f"{tracking.settings.tracking_uri}/#/")
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"plots", "clusters.json"}
    assert Path(client.download_artifacts(run.run_id, "plots/elbow.png")).read_bytes() == b"\x89PNG"
    assert found.inputs is not None
    (dataset,) = (given.dataset for given in found.inputs.dataset_inputs)
    assert json.loads(dataset.source) == {"uri": "s3://lake/wafer_table.parquet"}
    assert json.loads(dataset.profile or "") == {"num_rows": 7, "content_hash": "c" * 64, "batches": batches}


@pytest.fixture(scope="module")
def fitted() -> "Fitted":
    """A small fault model and wafers it has not seen, with their ids."""
    from wafer_assets.domain.config import ModelConfig
    from wafer_assets.domain.simulation import simulate_table
    from wafer_assets.domain.training import FaultModel

    schema = load_schema("training")
    table = simulate_table(400, seed=1, fault_rate=0.2)
    config = ModelConfig(k=2, folds=2, xgboost_trees=5, forest_trees=5)
    model = FaultModel(config).fit(table[list(schema.sensors)], table["faulty"])
    return model, simulate_table(20, seed=2)[["wafer", *schema.sensors]]


def register(tracking: LineTracking, model: "FaultModel") -> BundleVersion:
    from wafer_assets.domain.persistence import dump
    from wafer_assets.domain.scoring import make_bundle
    from wafer_assets.domain.simulation import simulate_table

    schema = load_schema("training")
    table = simulate_table(40, seed=1)
    features = model.preprocessor_.transform(table[list(schema.sensors)])
    bundle = make_bundle(
        model,
        table,
        model.clusterer_.predict(features),
        model.clusterer_.coordinates(features)[:, :2],
        contract_version=schema.contract_version,
        optional=schema.optional_columns,
        card={},
    )
    with tracking.run(dagster_run()) as run:
        return tracking.register_bundle(
            run,
            dump(bundle),
            sensors=schema.sensors,
            optional=schema.optional_columns,
            tags={"table_hash": "c0ffee"},
        )


def predict(bundle: "PyFuncModel", wafers: pd.DataFrame) -> pd.DataFrame:
    predicted = bundle.predict(wafers)
    assert isinstance(predicted, pd.DataFrame)
    return predicted


def test_a_registered_bundle_predicts_what_the_model_did(tracking: LineTracking, fitted: "Fitted") -> None:
    model, wafers = fitted
    version = register(tracking, model)
    predicted = predict(pyfunc_of(tracking, version), wafers)

    readings = wafers.drop(columns="wafer")
    assert predicted["wafer"].tolist() == wafers["wafer"].tolist()
    np.testing.assert_array_equal(predicted["probability"], model.predict_proba(readings)[:, 1])
    np.testing.assert_array_equal(predicted["faulty"], model.predict(readings) == 1)
    assert set(predicted["cluster"]) <= {0, 1}
    assert set(predicted["bundle_version"]) == {version.version}


def test_a_bundle_takes_missing_optional_sensors_and_refuses_others(tracking: LineTracking, fitted: "Fitted") -> None:
    from mlflow.exceptions import MlflowException

    model, wafers = fitted
    bundle = pyfunc_of(tracking, register(tracking, model))
    optional = sorted(load_schema("training").optional_columns)
    without = predict(bundle, wafers.drop(columns=["wafer", *optional]))
    empty = predict(bundle, wafers.assign(**dict.fromkeys(optional)))
    assert list(without) == ["probability", "faulty", "cluster", "decided_by", "bundle_version", "drivers"]
    pd.testing.assert_frame_equal(without, empty.drop(columns="wafer"))
    with pytest.raises(MlflowException, match="Sensor-1'"):
        bundle.predict(wafers.drop(columns="Sensor-1"))


def test_each_registration_is_a_version_and_the_newest_is_the_challenger(
    tracking: LineTracking, fitted: "Fitted"
) -> None:
    assert tracking.version(CHALLENGER) is None
    first, second = register(tracking, fitted[0]), register(tracking, fitted[0])
    assert (first.version, second.version) == (1, 2)
    assert tracking.version(CHALLENGER) == second
    digest = sha256(tracking.content_of(second)).hexdigest()
    assert second.tags == {"table_hash": "c0ffee", "bundle_sha256": digest}

    tracking.set_alias("champion", first)
    assert tracking.version("champion") == first
    assert tracking.version("retired") is None


def test_versions_are_listed_newest_first_with_tags_and_aliases(tracking: LineTracking, fitted: "Fitted") -> None:
    assert tracking.versions() == []
    assert tracking.aliases() == {}
    first, second = register(tracking, fitted[0]), register(tracking, fitted[0])
    tracking.set_alias(CHAMPION, first)
    tracking.tag_version(first, {"decision": "promote"})

    assert [version.version for version in tracking.versions()] == [2, 1]
    assert tracking.aliases() == {CHALLENGER: 2, CHAMPION: 1}
    assert tracking.get_version(2) == second
    assert tracking.get_version(1).tags == {**first.tags, "decision": "promote"}
    assert first.registered_at <= second.registered_at
    with pytest.raises(BundleNotFoundError, match=r"no version 7\. The latest are: 1, 2"):
        tracking.get_version(7)


def test_a_versions_run_holds_its_evidence(tracking: LineTracking) -> None:
    rows = pd.DataFrame({"wafer": ["Wafer-1", "Wafer-2"], "probability": [0.1 + 0.2, 5e-324]})
    with tracking.run(dagster_run()) as run:
        bare = tracking.register_bundle(run, b"model", sensors=["Sensor-1"], tags={})
        with pytest.raises(OutOfFoldMissingError, match="wafer models promote"):
            tracking.out_of_fold(bare)
        assert tracking.training_batches(bare) == ()
        content = rows.to_parquet()
        run.log_bytes(OUT_OF_FOLD, content)
        run.log_dataset("wafer_table", content_hash="c" * 64, source="s3://lake/t", rows=2, batches=["b.csv", "a.csv"])
    pd.testing.assert_frame_equal(tracking.out_of_fold(bare), rows, check_exact=True)
    assert tracking.training_batches(bare) == ("a.csv", "b.csv")


def test_a_versions_content_is_what_was_registered_or_the_version_is_unusable(
    tracking: LineTracking, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.run(dagster_run()) as run:
        version = tracking.register_bundle(run, b"any bytes \x00\xff", sensors=["Sensor-1"], tags={})
    assert tracking.content_of(version) == b"any bytes \x00\xff"

    client.delete_model_version(version.name, str(version.version))
    with pytest.raises(BundleUnusableError, match=r"version 1 of m-.*`wafer models rollback`"):
        tracking.content_of(version)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = LineTracking(Settings(mlflow=MLflowSettings(tracking_uri="http://127.0.0.1:9")), "secom")
    with pytest.raises(TrackingUnreachableError):
        gone.content_of(version)


def test_a_version_holds_code_and_skops_and_pinned_libraries_but_no_pickle(
    tracking: LineTracking, fitted: "Fitted", tmp_path: Path
) -> None:
    from mlflow.artifacts import download_artifacts

    download_artifacts(register(tracking, fitted[0]).uri, dst_path=str(tmp_path))
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    libraries = (tmp_path / "requirements.txt").read_text().splitlines()
    assert files == {
        "MLmodel",
        "artifacts/bundle.skops",
        "bundle_pyfunc.py",
        "conda.yaml",
        "python_env.yaml",
        "registered_model_meta",
        "requirements.txt",
    }
    assert all("==" in library for library in libraries)


def test_an_unset_server_says_what_to_set() -> None:
    tracking = LineTracking(Settings(), "secom")
    with pytest.raises(NotConfiguredError, match="WAFER_MLFLOW__TRACKING_URI"):
        tracking.version(CHALLENGER)


def test_a_server_that_is_gone_says_what_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracking = LineTracking(Settings(mlflow=MLflowSettings(tracking_uri="http://127.0.0.1:9")), "secom")
    with pytest.raises(TrackingUnreachableError, match="wafer services up"), tracking.run(dagster_run()):
        pass


class Doorman(BaseHTTPRequestHandler):
    """A server that only notes who asks."""

    credentials: str | None = None

    def do_GET(self) -> None:
        type(self).credentials = self.headers["Authorization"]
        self.send_response(404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def doorman_uri() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Doorman) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_credentials_reach_the_server_and_nothing_else(doorman_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "somebody else")
    server = MLflowSettings(tracking_uri=doorman_uri, username="fab", password=SecretStr("s3cret"))
    tracking = LineTracking(Settings(mlflow=server), "secom")
    with pytest.raises(MlflowException):
        tracking.version(CHALLENGER)
    assert Doorman.credentials == "Basic " + base64.b64encode(b"fab:s3cret").decode()
    assert "s3cret" not in repr(tracking)

"""Runs of the command line whose process is killed, interrupted or terminated: nothing waits for them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dagster as dg
import psutil
import pytest
from dagster._core.scheduler.instigation import SensorInstigatorData
from mlflow import MlflowClient

from resources.run_launcher import PROCESS_IS_GONE
from schemas.loader import load_schema
from tests.conftest import environment_of
from tests.daemon import daemon
from tests.inbox import open_inbox
from tests.landing import land
from tests.waiting import wait_until
from wafer_assets.cli.instance import dagster_home, open_instance, run_job
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.settings import Settings

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def stored_once(shared_platform: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a platform that holds labelled wafers."""
    settings = shared_platform.model_copy(
        update={
            "state_dir": tmp_path_factory.mktemp("state"),
            "mongo": shared_platform.mongo.model_copy(update={"database": f"test-{uuid4().hex[:8]}"}),
        }
    )
    files = simulate_batches(3, 60, feed="training", schema=load_schema("training"), seed=3, fault_rate=0.2)
    with open_instance(settings) as instance:
        tags = land(settings, instance, {batch.name: batch.content for batch in files})
        assert run_job(settings, instance, "secom__ingest_training", tags=tags).success
    return settings


@pytest.fixture
def stored(stored_once: Settings, tmp_path: Path) -> Settings:
    """The same with an instance and an experiment of its own."""
    mlflow = stored_once.mlflow.model_copy(update={"experiment": uuid4().hex, "model_name": uuid4().hex})
    return stored_once.model_copy(update={"state_dir": tmp_path / "state", "mlflow": mlflow})


@contextmanager
def training(settings: Settings, until: str = "secom/training/elbow") -> Iterator[subprocess.Popen[str]]:
    """Run `wafer train` in a process of its own; yields it once it has said something."""
    command = [str(Path(sys.executable).with_name("wafer")), "train"]
    environment = {**os.environ, **environment_of(settings)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any(until in line for line in process.stderr), "the training ended early"
            yield process
        finally:
            process.kill()


def last_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (run,) = instance.get_runs(dg.RunsFilter(job_name="secom__train"))
    return run


def mlflow_end(settings: Settings) -> str:
    """Return the state of the only MLflow run of a platform that is not nested."""
    assert settings.mlflow.tracking_uri is not None
    client = MlflowClient(settings.mlflow.tracking_uri)
    experiment = client.get_experiment_by_name(settings.mlflow.of("secom").experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (run,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return str(run.info.status)


def test_without_a_daemon_the_next_command_ends_a_killed_run_and_its_mlflow_run(stored: Settings) -> None:
    with training(stored, until="secom/training/evaluation: ") as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []

    # Where MLflow does not answer, the unfinished run is what reminds a later command of it.
    nowhere = stored.mlflow.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    with open_instance(stored.model_copy(update={"mlflow": nowhere})) as instance:
        assert last_run(instance).status == dg.DagsterRunStatus.STARTED
    assert mlflow_end(stored) == "RUNNING"

    with open_instance(stored) as instance:
        run = last_run(instance)
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.tags["dagster/will_retry"] == "false"
    assert mlflow_end(stored) == "FAILED"


@pytest.mark.timeout(600)
def test_the_daemon_ends_a_killed_run_and_tells_people(stored: Settings) -> None:
    home = dagster_home(stored)
    config = home / "dagster.yaml"
    config.write_text(config.read_text().replace("poll_interval_seconds: 30", "poll_interval_seconds: 5"))
    with open_inbox() as inbox, dg.DagsterInstance.from_config(str(home)) as instance:

        def watched() -> bool:
            """Return whether the sensors have begun to follow runs."""
            begun = {
                state.instigator_name
                for state in instance.all_instigator_state()
                if isinstance(state.instigator_data, SensorInstigatorData) and state.instigator_data.cursor
            }
            return begun >= {"notify_run_failure", "close_mlflow_run_on_failure"}

        environment = environment_of(stored) | {"WAFER_NOTIFICATIONS__URLS": f'["{inbox.url}"]'}
        with daemon(home, environment):
            with training(stored):
                wait_until(watched, seconds=240, look_every=0.5)
            wait_until(lambda: inbox.titles and mlflow_end(stored) == "FAILED", seconds=240, look_every=0.5)
        assert inbox.titles == ["Run failed: secom__train"]
        assert PROCESS_IS_GONE in inbox.bodies[0]
        run = last_run(instance)
        assert run.status == dg.DagsterRunStatus.FAILURE
        assert run.tags["dagster/will_retry"] == "false"


def test_a_live_run_is_terminated_as_by_an_interrupt(stored: Settings) -> None:
    with training(stored) as process, open_instance(stored) as instance:
        run = last_run(instance)
        assert run.status == dg.DagsterRunStatus.STARTED, "opening the instance leaves a live run alone"
        assert instance.run_coordinator.cancel_run(run.run_id)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "Aborted" in said
        assert last_run(instance).status == dg.DagsterRunStatus.CANCELED
    assert mlflow_end(stored) == "KILLED"


def test_the_end_of_its_terminal_cancels_a_run(stored: Settings) -> None:
    with training(stored) as process, open_instance(stored) as instance:
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=120)
        assert process.returncode == 1
        assert last_run(instance).status == dg.DagsterRunStatus.CANCELED
    assert mlflow_end(stored) == "KILLED"

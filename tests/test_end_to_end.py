"""The whole training feed on real services, as its users run it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from resources.mlflow import LineTracking, Tracking
from resources.mongo import WaferStore
from schemas.loader import load_schema
from tests.feeds import TRAINING
from tests.landing import land
from tests.shell import WAFER, processes_of, wafer
from tests.stored import pyfunc_of
from wafer_assets.cli.instance import open_instance, run_job
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.simulation import broken_batches, simulate_batches
from wafer_assets.domain.table import sensor_readings, wafer_table
from wafer_assets.domain.training import FaultModel
from wafer_assets.keys import training_key
from wafer_assets.settings import Settings

pytestmark = pytest.mark.services

FAST = {"forest_trees": 20, "xgboost_trees": 20}


def simulated(batches: int, fault_rate: float) -> dict[str, bytes]:
    return {
        batch.name: batch.content
        for batch in simulate_batches(batches, 60, feed="training", seed=3, fault_rate=fault_rate)
    }


def test_files_become_a_registered_model(platform_settings: Settings) -> None:
    settings = platform_settings
    files = simulated(5, fault_rate=0.15)
    bad = {batch.name: batch.content for batch in broken_batches(load_schema("training"), seed=3)}
    with open_instance(settings) as instance:
        tags = land(settings, instance, files | bad)
        resources = {"secom__model": {"config": FAST}, "evaluation": {"config": {"repeats": 1, "folds": 5}}}
        result = run_job(settings, instance, "secom__train_end_to_end", tags=tags, resources=resources)
        assert result.success
        bundle = instance.get_latest_materialization_event(training_key("secom", "model_bundle"))
        table = instance.get_latest_materialization_event(training_key("secom", "wafer_table"))
    assert bundle is not None
    assert bundle.asset_materialization is not None
    assert table is not None
    assert table.asset_materialization is not None

    store = WaferStore(settings)
    assert len(store.batches(TRAINING, "accepted")) == len(files)
    assert len(store.batches(TRAINING, "quarantined")) == len(bad)
    tracking = LineTracking(settings, "secom")
    Tracking(settings).close(result.run_id, dg.DagsterRunStatus.SUCCESS)
    version = tracking.version("challenger")
    assert version is not None
    assert version.version == bundle.asset_materialization.metadata["version"].value
    assert version.tags["table_hash"] == table.asset_materialization.metadata["content_hash"].value

    # The bundle of the many steps is the estimator fitted in one piece on the same table.
    frame, _ = wafer_table((manifest.batch, frame) for manifest, frame in store.read_batches(TRAINING))
    readings = sensor_readings(frame)
    whole = FaultModel(ModelConfig(**FAST)).fit(readings, frame["faulty"])
    loaded = pyfunc_of(tracking, version).predict(readings)
    assert (loaded["probability"].to_numpy() == whole.predict_proba(readings)[:, 1]).all()


def test_a_table_without_faults_is_refused_and_the_model_stays(platform_settings: Settings) -> None:
    settings = platform_settings
    with open_instance(settings) as instance:
        tags = land(settings, instance, simulated(2, fault_rate=0.0))
        result = run_job(settings, instance, "secom__train_end_to_end", tags=tags)
    assert not result.success
    failed = [event.step_key for event in result.all_events if event.is_step_failure]
    assert failed == ["secom__training__wafer_table_both_outcomes"]
    assert LineTracking(settings, "secom").version("challenger") is None


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    folder = tmp_path / "batches"
    folder.mkdir()
    for name, content in simulated(5, fault_rate=0.15).items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("not a batch")
    return folder


def test_the_demo_survives_an_interrupt_and_repeats_without_change(tmp_path: Path, batches: Path) -> None:
    state = tmp_path / "demo"
    command = [WAFER, "demo", str(batches)]
    environment = {**os.environ, "WAFER_STATE_DIR": str(state)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "wafer_table" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert processes_of(state) == []

    finished = wafer(state, "demo", batches)
    assert finished.returncode == 0, finished.stderr
    first = json.loads((state / "summary.json").read_text())
    assert first["files"]["received"] == 6
    assert first["files"]["accepted"] == 5
    assert first["registered"]["version"] == 1

    again = wafer(state, "demo", batches)
    assert again.returncode == 0, again.stderr
    assert json.loads((state / "summary.json").read_text()) == first
    assert processes_of(state) == []

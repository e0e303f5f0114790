"""`wafer demo` again and again on one state folder: what is missing is run, whatever was lost, and only that."""

import io
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from resources.local_services import LocalServices
from resources.mlflow import CHAMPION, LineTracking, Tracking
from resources.mongo import WaferStore
from resources.predictions import PredictionStore
from resources.s3 import S3Store
from schemas.lines import Feed, load_lines
from tests.feeds import PREDICTION, TRAINING
from tests.shell import WAFER, wafer
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import prediction_key, report_key, validated_key
from wafer_assets.settings import Settings

pytestmark = pytest.mark.slow

FILES, TO_SCORE = 3, 2


def files(feed: Feed, folder: Path) -> Path:
    folder.mkdir()
    count, wafers, first = (FILES, 60, 1) if feed == "training" else (TO_SCORE, 10, 1 + 60 * FILES)
    for batch in simulate_batches(count, wafers, feed=feed, seed=3, fault_rate=0.3, first_wafer=first):
        (folder / batch.name).write_bytes(batch.content)
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command, on small files."""
    folder = tmp_path_factory.mktemp("files")
    return [
        "demo",
        str(files("training", folder / "training")),
        "--predict",
        str(files("prediction", folder / "prediction")),
    ]


def copy(state: Path, to: Path) -> None:
    shutil.copytree(state, to, ignore=shutil.ignore_patterns("*.sock"))


def summary(state: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((state / "summary.json").read_text())
    return facts


@pytest.fixture(scope="module")
def killed(demo: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a demo that was killed once its model was registered."""
    state = tmp_path_factory.mktemp("killed") / "state"
    environment = {**os.environ, "WAFER_STATE_DIR": str(state)}
    with subprocess.Popen([WAFER, *demo], env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "✓ secom/training/model_bundle" in line:
                break
        process.send_signal(signal.SIGKILL)
    LocalServices(Settings(state_dir=state)).down()
    return state


@pytest.fixture(scope="module")
def finished(
    demo: list[str], killed: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The state of the demo that came after it, and how it ended."""
    state = tmp_path_factory.mktemp("finished") / "state"
    copy(killed, state)
    return state, wafer(state, *demo)


@pytest.mark.timeout(600)
def test_a_model_that_was_registered_and_not_decided_on_is_decided_on(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    state, result = finished
    assert result.returncode == 0, result.stderr
    assert "not decided yet" in result.stderr
    assert "secom/training/evaluation" not in result.stderr
    facts = summary(state)
    assert (facts["registered"]["version"], facts["champion"]["version"]) == (1, 1)
    assert [row["wafers"] for row in facts["predictions"]] == [10] * TO_SCORE


@pytest.mark.timeout(600)
@pytest.mark.parametrize("lost", ["s3", "mongo", "dagster"])
def test_what_was_lost_is_made_again(
    demo: list[str], finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, lost: str
) -> None:
    state = tmp_path / "state"
    copy(finished[0], state)
    before = summary(state)
    shutil.rmtree(state / lost)
    result = wafer(state, *demo)
    assert result.returncode == 0, result.stderr

    after = summary(state)
    for name in ("files", "files_to_score", "wafers", "table", "quality"):
        assert after[name] == before[name]
    for row, was in zip(after["predictions"], before["predictions"], strict=True):
        assert {**row, "bundle_version": None} == {**was, "bundle_version": None}
    trained_again = "secom/training/evaluation" in result.stderr
    assert trained_again == (lost != "mongo")

    with LocalServices(Settings(state_dir=state)) as settings:
        s3, wafers = S3Store(settings), WaferStore(settings)
        for feed, count in ((TRAINING, FILES), (PREDICTION, TO_SCORE)):
            accepted = [item.batch for item in wafers.batches(feed, "accepted")]
            assert len(accepted) == count
            assert all(s3.exists(s3.lake, validated_key(feed, batch)) for batch in accepted)
        scored = PredictionStore(settings).scored("secom")
        assert len(scored) == TO_SCORE
        assert all(s3.exists(s3.lake, key("secom", batch)) for batch in scored for key in (prediction_key, report_key))
        tracking = LineTracking(settings, "secom")
        champion = tracking.version(CHAMPION)
        assert champion is not None
        assert tracking.content_of(champion)


@pytest.mark.timeout(600)
def test_a_demo_that_leaves_files_unscored_says_why_and_fails(demo: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "meaningless"
    folder.mkdir()
    for file in Path(demo[1]).iterdir():
        frame = pd.read_csv(io.BytesIO(file.read_bytes()))
        frame.iloc[:, -1] = rng.permutation(frame.iloc[:, -1].to_numpy())
        frame.to_csv(folder / file.name, index=False)
    result = wafer(tmp_path / "state", demo[0], folder, *demo[2:])
    assert result.returncode == 1
    assert "files to score, accepted" in result.stdout  # the summary comes first
    assert "Accepted but not scored: wafer_" in result.stderr
    assert "was not promoted: No better" in result.stderr
    assert "wafer models promote" in result.stderr
    assert summary(tmp_path / "state")["champion"]["version"] is None


ETCH = Path(__file__).parents[3] / "shared" / "data" / "metal_etch"


@pytest.mark.skipif(not ETCH.exists(), reason="needs ../shared/data/metal_etch")
@pytest.mark.timeout(900)
def test_a_second_line_is_run_beside_the_first_and_changes_nothing_of_it(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    copy(finished[0], state)
    monkeypatch.setenv("WAFER_LINES", str(Path(__file__).parents[1] / "lines"))
    demo: list[str | Path] = [
        "demo",
        "--line",
        "metal_etch",
        ETCH / "training_batches",
        "--predict",
        ETCH / "prediction_batches",
    ]
    first = wafer(state, *demo, seconds=600)
    # It has too few faults for a model to be promoted by itself, so that a person must.
    assert first.returncode == 1, first.stderr
    assert "was not promoted: Not comparable: 11 faulty and 72 passed wafers" in first.stderr
    facts = summary(state)
    assert facts["registered"]["model"] == "wafer-fault-model-metal_etch"
    assert (facts["files"]["accepted"], facts["files_to_score"]["accepted"]) == (6, 3)
    assert facts["wafers"] == {"stored": 83, "faulty": 11}

    line = load_lines(Path(__file__).parents[1] / "lines").lines["metal_etch"]
    with LocalServices(Settings(state_dir=state)) as settings:
        promoted = wafer(state, "models", "promote", "1", "--reason", "a try", "--line", line.name)
        assert promoted.returncode == 0, promoted.stderr
        again = wafer(state, *demo)
        assert again.returncode == 0, again.stderr
        assert "metal_etch/training/evaluation" not in again.stderr, "nothing is done twice"
        store, predictions, tracking = WaferStore(settings), PredictionStore(settings), Tracking(settings)
        assert store.lines() == ["metal_etch", "secom"]
        for name, feed, scored in (("metal_etch", line.feed("prediction"), 3), ("secom", PREDICTION, TO_SCORE)):
            accepted = {item.batch for item in store.batches(feed, "accepted")}
            assert len(accepted) == scored
            assert set(predictions.scored(name)) == accepted
            assert [version.version for version in tracking.of(name).versions()] == [1]
            champion = tracking.of(name).version(CHAMPION)
            assert champion is not None
            assert champion.name == f"wafer-fault-model-{name}"

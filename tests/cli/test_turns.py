"""Two trainings at once: each keeps what is its own, and where both can be seen the second one waits."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import dagster as dg
import pytest
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat

from resources.champion import load_bundle
from resources.mlflow import BundleVersion, LineTracking
from resources.promotions import PromotionLog
from resources.run_launcher import RunProcess
from tests.conftest import environment_of
from tests.landing import land
from wafer_assets.cli.instance import open_instance, run_job
from wafer_assets.cli.turns import turn_to_train
from wafer_assets.definitions import build_defs
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.settings import Settings

pytestmark = pytest.mark.services

FAST = {"forest_trees": 5, "xgboost_trees": 5, "folds": 2}


@pytest.fixture
def wafers(platform_settings: Settings) -> Settings:
    """A platform with a few accepted wafers to train on."""
    batches = simulate_batches(2, 50, feed="training", seed=3, fault_rate=0.3)
    with open_instance(platform_settings) as instance:
        tags = land(platform_settings, instance, {batch.name: batch.content for batch in batches})
        assert run_job(platform_settings, instance, "secom__ingest_training", tags=tags).success
    return platform_settings


def train(settings: Settings, **model: object) -> subprocess.Popen[str]:
    """Begin `wafer train` as a person on the machine of this state folder does."""
    overrides = [f"--set={name}={value}" for name, value in (FAST | model).items()]
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("wafer")), "train", "--repeats=1", *overrides],
        env={**os.environ, **environment_of(settings), "COLUMNS": "200"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def stopped_while_it_evaluates(process: subprocess.Popen[str]) -> Iterator[None]:
    """Hold a training in the middle of its evaluation for as long as the block lasts."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "secom/training/evaluation: 5 of" in line:
            break
    else:
        pytest.fail("It ended before it evaluated:\n" + "".join(seen))
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def ended(process: subprocess.Popen[str]) -> str:
    """Return what a training said once it has succeeded."""
    try:
        _, said = process.communicate(timeout=180)
    finally:
        process.kill()
        process.wait(10)
    assert process.returncode == 0, said
    return said


def version_of(tracking: LineTracking, seed: int) -> BundleVersion:
    """Return the version whose run was made with this seed."""
    import mlflow

    client = mlflow.MlflowClient(tracking.settings.tracking_uri)
    (found,) = [item for item in tracking.versions() if client.get_run(item.run_id).data.params["seed"] == str(seed)]
    return found


@pytest.mark.timeout(600)  # two trainings, on a machine that may be busy
def test_trainings_that_do_not_see_each_other_do_not_mix(wafers: Settings, tmp_path: Path) -> None:
    # Two laptops on the same stores: neither sees the runs of the other.
    other = wafers.model_copy(update={"state_dir": tmp_path / "other"})
    model = {"config": FAST | {"n_components": 20, "seed": 2}}
    resources = {"secom__model": model, "evaluation": {"config": {"repeats": 1, "folds": 5}}}
    first = train(wafers, n_components=3, seed=1)
    with stopped_while_it_evaluates(first), open_instance(other) as instance:
        assert run_job(other, instance, "secom__train", resources=resources).success
    ended(first)

    tracking, log = LineTracking(wafers, "secom"), PromotionLog(wafers)
    decisions = log.history(tracking.settings.model_name)
    assert len(decisions) == 2
    for seed, components in ((1, 3), (2, 20)):
        version = version_of(tracking, seed)
        bundle = load_bundle(tracking, version)
        assert (bundle.model.clusterer_.n_components, bundle.model.clusterer_.seed) == (components, seed)
        assert bundle.card["config"]["n_components"] == components
        assert version.tags["table_hash"] == bundle.card["table_hash"]
        # Each was judged by its own run, on its own evidence.
        (decision,) = [item for item in decisions if item.dagster_run_id == version.tags["dagster_run_id"]]
        assert decision.version == version.version


# --- Whose turn it is ---


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(Settings(state_dir=tmp_path / "state")) as instance:
        yield instance


HOLD = """
import sys
from wafer_assets.cli.instance import open_instance
from wafer_assets.settings import load_settings
from wafer_assets.cli.turns import turn_to_train

settings = load_settings()
with open_instance(settings) as instance, turn_to_train(settings, instance, "secom", "11111111-0000"):
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose turn it is to train."""
    environment = {**os.environ, **environment_of(Settings(state_dir=tmp_path / "state"))}
    command = [sys.executable, "-c", HOLD]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_a_second_training_says_what_it_waits_for_and_can_be_interrupted(
    tmp_path: Path, at_work: subprocess.Popen[bytes]
) -> None:
    second = train(Settings(state_dir=tmp_path / "state"))
    try:
        assert second.stderr is not None
        assert re.fullmatch(
            rf"Waiting for the training 11111111 \(since \d\d:\d\d:\d\d, process {at_work.pid}\) to end. "
            r"Ctrl-C gives up.\n",
            second.stderr.readline(),
        )
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=30)
    finally:
        second.kill()
        second.wait(10)
    assert second.returncode == 1
    assert at_work.poll() is None


def test_the_next_training_begins_when_the_process_of_the_one_before_is_gone(
    tmp_path: Path, instance: dg.DagsterInstance, at_work: subprocess.Popen[bytes]
) -> None:
    settings, begun = Settings(state_dir=tmp_path / "state"), Event()

    def begin() -> None:
        with turn_to_train(settings, instance, "secom", "22222222-0000"):
            begun.set()

    waiting = Thread(target=begin)
    waiting.start()
    assert not begun.wait(2)
    at_work.kill()
    assert begun.wait(30)
    waiting.join(10)


def recorded(instance: dg.DagsterInstance, job: str, *, daemon: bool) -> dg.DagsterRun:
    """Record a run that is at work, of a daemon or of a command."""
    definition = build_defs(Settings()).resolve_job_def(job)
    location = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(executable_path=sys.executable, module_name="wafer_assets.definitions")
    )
    return instance.create_run_for_job(
        definition,
        status=dg.DagsterRunStatus.STARTED,
        tags={} if daemon else RunProcess.current().tags,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job),
    )


def test_a_training_of_the_daemon_is_waited_for_while_there_is_a_daemon(
    tmp_path: Path, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    # What was killed on the command line, or with its daemon, is not waited for.
    recorded(instance, "secom__train", daemon=False)
    ingestion = recorded(instance, "secom__ingest_training", daemon=True)
    run = recorded(instance, "secom__train", daemon=True)
    with turn_to_train(settings, instance, "secom", "none"):
        pass
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", None))
    begun = Event()

    def begin() -> None:
        with turn_to_train(settings, instance, "secom", "none"):
            begun.set()

    waiting = Thread(target=begin)
    waiting.start()
    assert not begun.wait(2)
    instance.report_run_canceled(run)
    assert begun.wait(30)
    waiting.join(10)
    assert f"Waiting for the training {run.run_id[:8]} (since" in capsys.readouterr().err
    assert not ingestion.is_finished


@pytest.mark.parametrize(
    ("job", "waits"), [("secom__train", True), ("secom__train_end_to_end", True), ("secom__ingest_training", False)]
)
def test_the_queue_of_a_laptop_holds_trainings_back_while_one_is_at_work(
    instance: dg.DagsterInstance, job: str, waits: bool
) -> None:
    recorded(instance, "secom__train", daemon=False)
    at_work = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    queued = recorded(instance, job, daemon=True)
    storage = instance.event_log_storage

    def counter() -> GlobalOpConcurrencyLimitsCounter:
        return GlobalOpConcurrencyLimitsCounter(
            instance,
            [queued],
            at_work,
            storage.get_concurrency_keys(),
            storage.get_pool_limits(),
            pool_granularity=storage.get_pool_config().pool_granularity,
        )

    counter()  # the first look gives the pools their limits
    assert counter().is_blocked(queued) == waits

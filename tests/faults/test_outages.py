"""Ingestion survives what goes wrong around it: killed processes, lost servers, full disks, races and clocks.

Every test does harm to real services and, after the recovery, asks for the same: each landed file has one outcome,
for its present version; MongoDB and the lake hold just what follows from the files; a refused file is kept as it was.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pandas as pd
import psutil
import pytest
from botocore.exceptions import BotoCoreError
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from resources.local_services import LocalServices, ServiceName
from resources.local_services.state import StateFolder
from resources.mongo import WaferStore
from resources.s3 import S3Store, StoredObject
from schemas.loader import load_schema
from sensors.landing import landing_sensor
from tests.conftest import environment_of
from tests.daemon import daemon, marked
from tests.faults.proxy import DISK_FULL, DROPPED, UNAVAILABLE, FaultProxy, Refusal, Request
from tests.feeds import TRAINING
from tests.stored import etags_of, frame_of
from tests.waiting import wait_until
from wafer_assets.cli.instance import dagster_home, open_instance
from wafer_assets.definitions import build_defs
from wafer_assets.domain.contract import Accepted, validate
from wafer_assets.domain.simulation import broken_batches, simulate_batches
from wafer_assets.domain.table import frame_hash, wafer_table
from wafer_assets.keys import landing_key, quarantine_folder, validated_key
from wafer_assets.operations.ingestion import ingest_batch
from wafer_assets.operations.landing import take_up
from wafer_assets.operations.ranges import batch_ranges
from wafer_assets.partitions import partitions_name
from wafer_assets.settings import AutomationSettings, Settings

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
SCHEMA = load_schema("training")
HOUR = 3_600

Files = Mapping[str, bytes]


# --- What holds after every recovery ---


def require_invariants(settings: Settings, files: Files) -> None:
    """Require of the stores all that follows from the landed files, and nothing else."""
    store, s3 = WaferStore(settings), S3Store(settings)
    frames = accepted_frames(files)

    # Received = accepted + quarantined: every file is still there, and has its outcome in its present version.
    landed = {
        item.key.removeprefix("secom/training/"): item.etag for item in s3.list_objects(s3.landing, "secom/training/")
    }
    assert set(landed) == set(files)
    assert etags_of(store, TRAINING) == landed
    manifests = {item.batch: item for item in store.batches(TRAINING)}
    assert {batch for batch, item in manifests.items() if item.status == "accepted"} == set(frames)

    # MongoDB holds exactly the accepted wafers, once what killed processes left is old enough to be swept.
    sweep_in_an_hour(settings)
    assert store.miscounted(TRAINING, list(manifests.values())) == []
    assert count_of_wafers(settings) == sum(map(len, frames.values()))
    read = {manifest.batch: frame for manifest, frame in store.read_batches(TRAINING)}
    assert {batch: frame_hash(frame) for batch, frame in read.items()} == {
        batch: frame_hash(frame) for batch, frame in frames.items()
    }
    assert {batch: manifests[batch].sha256 for batch in read} == {
        batch: frame_hash(frame) for batch, frame in frames.items()
    }

    # The table is that of an ingestion that nothing disturbed.
    if frames:
        assert table_hash(read) == table_hash(frames)

    # The lake holds every accepted batch, and every refused file byte for byte with its reasons, and no more.
    refused = set(files) - set(frames)
    kept = [s3.list_objects(s3.lake, f"secom/training/{kind}_batches/") for kind in ("validated", "quarantined")]
    assert {item.key for items in kept for item in items} == {
        *(validated_key(TRAINING, batch) for batch in frames),
        *(f"{quarantine_folder(TRAINING, batch)}{name}" for batch in refused for name in (batch, "reasons.json")),
    }
    for batch in refused:
        folder = quarantine_folder(TRAINING, batch)
        assert s3.get(s3.lake, f"{folder}{batch}") == files[batch]
        report = json.loads(s3.get(s3.lake, f"{folder}reasons.json"))
        assert report["etag"] == landed[batch]
        assert report["reasons"] == [dict(reason) for reason in manifests[batch].reasons] != []


def accepted_frames(files: Files) -> dict[str, pd.DataFrame]:
    verdicts = {name: validate(name, content, SCHEMA) for name, content in files.items()}
    return {name: verdict.frame for name, verdict in verdicts.items() if isinstance(verdict, Accepted)}


def table_hash(frames: Mapping[str, pd.DataFrame]) -> str:
    table, _ = wafer_table(frames.items())
    return frame_hash(table)


def sweep_in_an_hour(settings: Settings) -> None:
    with database(settings) as mongo:
        mongo["storings"].update_many({}, {"$set": {"begun_at": datetime.now(UTC) - timedelta(hours=1)}})
    WaferStore(settings).sweep()


def count_of_wafers(settings: Settings) -> int:
    with database(settings) as mongo:
        return mongo["secom_training_wafers"].count_documents({})


@contextmanager
def database(settings: Settings) -> Iterator[Database[dict[str, object]]]:
    assert settings.mongo.uri is not None
    with MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value()) as client:
        yield client[settings.mongo.database]


# --- The platform of one test ---


def good_files(count: int, wafers: int = 5, seed: int = 1) -> dict[str, bytes]:
    batches = simulate_batches(count, wafers, feed="training", schema=SCHEMA, seed=seed, fault_rate=0.3)
    return {batch.name: batch.content for batch in batches}


def bad_files(count: int) -> dict[str, bytes]:
    batches = broken_batches(SCHEMA, seed=1)
    small = {batch.name: batch.content for batch in batches if 0 < len(batch.content) < 1e6}
    return dict(list(small.items())[:count])


@dataclass
class Platform:
    """What a laptop runs without its daemon: files are dropped, found and ingested by hand."""

    settings: Settings
    instance: dg.DagsterInstance
    cursor: str | None = None
    clock: Callable[[], float] = time.time

    @property
    def s3(self) -> S3Store:
        return S3Store(self.settings)

    @property
    def mongo(self) -> WaferStore:
        return WaferStore(self.settings)

    def drop(self, files: Files) -> None:
        s3 = self.s3
        for name, content in files.items():
            s3.put(s3.landing, landing_key(TRAINING, name), content)

    def ingest(self, through: Settings | None = None) -> list[dg.ExecuteInProcessResult]:
        """Ingest what has no outcome yet, as `wafer ingest` does; `through` says over which connections."""
        job = build_defs(through or self.settings).resolve_job_def("secom__ingest_training")
        return [
            job.execute_in_process(instance=self.instance, tags=part.tags, raise_on_error=False)
            for part in take_up(self.instance, TRAINING, self.s3, self.mongo)
        ]

    def run(self, batches: list[str], through: Settings | None = None) -> list[dg.ExecuteInProcessResult]:
        job = build_defs(through or self.settings).resolve_job_def("secom__ingest_training")
        return [
            job.execute_in_process(instance=self.instance, tags=part.tags, raise_on_error=False)
            for part in batch_ranges(self.instance, TRAINING, batches)
        ]

    def tick(self, through: Settings | None = None, s3: S3Store | None = None) -> str:
        """Let the landing sensor look once; return what it says."""
        s3 = s3 or S3Store(through or self.settings)
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"s3": s3, "wafers": self.mongo}
        )
        result = landing_sensor(SCHEMA, AutomationSettings(), self.clock).evaluate_tick(context)
        self.cursor = result.cursor
        return str(result.skip_message)

    def known_to_dagster(self) -> tuple[object, ...]:
        """Return all that a tick may change."""
        raw_batches = dg.AssetKey(["secom", "training", "raw_batches"])
        kinds = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
        return (
            self.instance.get_dynamic_partitions(partitions_name(TRAINING)),
            *(self.instance.get_latest_storage_id_by_partition(raw_batches, kind) for kind in kinds),
        )


def succeeded(results: list[dg.ExecuteInProcessResult]) -> bool:
    return bool(results) and all(result.success for result in results)


def failure(results: list[dg.ExecuteInProcessResult]) -> str:
    """Return what the one run that failed says."""
    (result,) = results
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return str(event.step_failure_data.error)


@pytest.fixture(autouse=True)
def _steps_are_retried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


@pytest.fixture
def platform(settings: Settings) -> Iterator[Platform]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(settings, instance)


@pytest.fixture
def proxy(settings: Settings) -> Iterator[FaultProxy]:
    assert settings.s3.endpoint_url is not None
    with FaultProxy(settings.s3.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def through_proxy(settings: Settings, proxy: FaultProxy) -> Settings:
    return by_way_of(settings, proxy)


def by_way_of(settings: Settings, proxy: FaultProxy) -> Settings:
    return settings.model_copy(update={"s3": settings.s3.model_copy(update={"endpoint_url": proxy.url})})


class Servers:
    """S3 and MongoDB servers that may be killed."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._services = LocalServices(Settings(state_dir=state_dir), ("s3", "mongo"))
        self._database = ""

    def up(self) -> Settings:
        """Return settings for one test; they stay the same when the servers come back."""
        settings = self._services.up()
        return settings.model_copy(update={"mongo": settings.mongo.model_copy(update={"database": self._database})})

    def for_one_test(self) -> Settings:
        """Return settings with empty buckets and an empty database."""
        self._database = f"test-{uuid4().hex[:8]}"
        s3 = S3Store(settings := self.up())
        for bucket in (s3.landing, s3.lake):
            for item in s3.list_objects(bucket):
                s3.delete(bucket, item.key)
        return settings

    def run(self) -> bool:
        return any(status.running for status in self._services.status())

    def kill(self, name: ServiceName) -> None:
        """Kill a server and the supervisor, which would start it again; the other one ends with that."""
        (server,) = [status for status in self._services.status() if status.name == name]
        supervisor = StateFolder(self._state_dir).supervisor()
        assert supervisor is not None
        for pid in (supervisor.pid, *server.pids):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.run())


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    state_dir = tmp_path_factory.mktemp("servers")
    try:
        yield Servers(state_dir)
    finally:
        LocalServices(Settings(state_dir=state_dir)).down()


# --- Killed processes ---


def environment_of_daemon(settings: Settings) -> dict[str, str]:
    return {
        "WAFER_AUTOMATION__EVALUATION_SECONDS": "5",
        "WAFER_AUTOMATION__LANDING_SECONDS": "5",
        "WAFER_MONGO__DATABASE": settings.mongo.database,
        "WAFER_RETRAINING__ENABLED": "false",
        "WAFER_STATE_DIR": str(settings.state_dir),
    }


def run_processes(home: Path) -> list[psutil.Process]:
    """Find the processes that execute runs of an instance: each is a child of the code server."""
    return [process for process in marked(str(home)) if "spawn_main" in " ".join(process.cmdline())]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_run_and_then_a_killed_daemon_need_no_hand(servers: Servers, tmp_path: Path) -> None:
    files = good_files(200) | bad_files(5)
    home = dagster_home(Settings(state_dir=tmp_path / "instance"))
    config = home / "dagster.yaml"
    config.write_text(config.read_text().replace("poll_interval_seconds: 30", "poll_interval_seconds: 5"))
    settings = servers.for_one_test().model_copy(update={"dagster_home": home})
    store = WaferStore(settings)
    with open_instance(settings) as instance:

        def retried() -> set[str]:
            """Return the runs that take the place of failed ones and are at work."""
            at_work = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            return {run.run_id for run in at_work if run.parent_run_id}

        def all_told() -> bool:
            """Return whether Dagster knows of every file and of all that came of it."""
            assets = ("raw_batches", "validated_batches", "wafer_records")
            keys = [dg.AssetKey(["secom", "training", asset]) for asset in assets]
            return all(set(instance.get_materialized_partitions(key)) == set(files) for key in keys)

        Platform(settings, instance).drop(files)
        with daemon(home, environment_of_daemon(settings)):
            wait_until(lambda: len(etags_of(store, TRAINING)) > 20, seconds=120, look_every=0.3)
            killed = run_processes(home)
            for process in killed:
                process.kill()
            assert killed
            assert len(etags_of(store, TRAINING)) < len(files), "in the middle"
            wait_until(retried, seconds=180, look_every=0.3)  # behind a run that was ahead of it in the queue
        cut_off = retried()

        with daemon(home, environment_of_daemon(settings)):
            wait_until(all_told, seconds=300, look_every=1)
        failed = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))}
        assert failed >= cut_off
    require_invariants(settings, files)


def test_what_a_killed_run_stored_and_did_not_tell_is_made_up_for(platform: Platform) -> None:
    files = good_files(4) | bad_files(2)
    names = list(files)
    platform.drop(files)
    platform.tick()
    ingest_batch(SCHEMA, names[0], platform.s3, platform.mongo)  # and then its process was killed
    assert succeeded(platform.run(names[1:]))
    records = dg.AssetKey(["secom", "training", "wafer_records"])
    assert set(platform.instance.get_materialized_partitions(records)) == set(names[1:])

    platform.clock = lambda: time.time() + HOUR
    assert "reported again" not in platform.tick(), "a search that only notes what there is"
    platform.clock = lambda: time.time() + 2 * HOUR
    assert "1 had no outcome and are reported again" in platform.tick()
    assert succeeded(platform.run(names[:1]))
    assert set(platform.instance.get_materialized_partitions(records)) == set(files)
    platform.clock = lambda: time.time() + 4 * HOUR
    assert platform.tick().startswith("Nothing is new")
    require_invariants(platform.settings, files)


def test_no_half_batch_is_visible_when_mongodb_is_killed_while_it_writes(servers: Servers) -> None:
    settings, files = servers.for_one_test(), good_files(40, wafers=8)
    whole: list[bool] = []
    done = threading.Event()

    def watch() -> None:
        store = WaferStore(settings)
        while not done.is_set():
            with suppress(PyMongoError):
                whole.extend(len(frame) == manifest.wafers == 8 for manifest, frame in store.read_batches(TRAINING))

    with dg.DagsterInstance.ephemeral() as instance, ThreadPoolExecutor(2) as pool:
        platform = Platform(settings, instance)
        platform.drop(files)
        watching = pool.submit(watch)
        try:
            ingesting = pool.submit(platform.ingest)
            store = platform.mongo
            wait_until(lambda: len(etags_of(store, TRAINING)) > 5)
            servers.kill("mongo")
            assert servers.up() == settings, "the same servers again"
            assert len(etags_of(store, TRAINING)) < len(files), "in the middle"
            if not succeeded(ingesting.result(120)):
                assert succeeded(platform.ingest())
        finally:
            done.set()
        watching.result(60)
    assert len(whole) > 5
    assert all(whole)
    require_invariants(settings, files)


def test_a_tick_that_loses_s3_fails_and_changes_nothing(servers: Servers) -> None:
    settings, files = servers.for_one_test(), good_files(6) | bad_files(2)
    late = dict(list(files.items())[:2])
    early = {name: files[name] for name in files if name not in late}
    # A listing of more than a page: the server dies between the two, when not all reported files are in the first.
    filling = [landing_key(TRAINING, f"a{number:04}") for number in range(1_000)]
    assert settings.s3.endpoint_url is not None
    with dg.DagsterInstance.ephemeral() as instance, FaultProxy(settings.s3.endpoint_url) as proxy:
        platform = Platform(settings, instance)
        platform.drop(early)
        assert platform.tick().startswith(f"{len(early)} files are new or changed")
        platform.drop(late)
        s3 = platform.s3
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: s3.put(s3.landing, key, b""), filling))
        before = platform.known_to_dagster()

        def die(request: Request) -> Refusal | None:
            if "continuation-token" in request.path and servers.run():
                servers.kill("s3")
            return None

        proxy.rule = die
        with pytest.raises(BotoCoreError):
            platform.tick(by_way_of(settings, proxy))
        assert not servers.run(), "in the middle of the listing"
        assert platform.known_to_dagster() == before

        assert servers.up() == settings
        for key in filling:
            s3.delete(s3.landing, key)
        assert platform.tick().startswith(f"{len(late)} files are new or changed")
        assert succeeded(platform.ingest())
    require_invariants(settings, files)


# --- Slow, failing and full servers ---


def test_a_slow_and_failing_s3_delays_ingestion_and_no_more(
    platform: Platform, proxy: FaultProxy, through_proxy: Settings
) -> None:
    files = good_files(4) | bad_files(2)
    platform.drop(files)

    def struggle(request: Request) -> Refusal | None:
        time.sleep(0.3)
        if request.number % 3 == 0:
            return UNAVAILABLE
        return DROPPED if request.number % 7 == 0 else None

    proxy.rule = struggle
    assert succeeded(platform.ingest(through_proxy))
    assert len(proxy.requests) > 3 * len(files)
    require_invariants(platform.settings, files)


@pytest.mark.parametrize("what", ["the file", "its reasons"])
def test_a_disk_too_full_for_the_quarantine_leaves_the_file_where_it_landed(
    platform: Platform, proxy: FaultProxy, through_proxy: Settings, what: str
) -> None:
    (name,) = bad_files(1)
    was = good_files(3)
    platform.drop(was)
    assert succeeded(platform.ingest())
    replaced = next(iter(was))  # by a file that is refused: what was accepted stays until that is certain
    files = {**was, replaced: bad_files(1)[name]}
    platform.drop({replaced: files[replaced]})
    accepted = platform.mongo.batches(TRAINING)

    def fill(request: Request) -> Refusal | None:
        part = request.copied_from if what == "the file" else request.path.endswith("reasons.json")
        return DISK_FULL if request.method == "PUT" and part else None

    proxy.rule = fill
    error = failure(platform.ingest(through_proxy))
    assert "InsufficientStorage" in error
    assert replaced in error
    s3 = platform.s3
    assert s3.get(s3.landing, landing_key(TRAINING, replaced)) == files[replaced]
    assert platform.mongo.batches(TRAINING) == accepted
    assert count_of_wafers(platform.settings) == 5 * len(was)

    proxy.rule = lambda _: None
    assert succeeded(platform.ingest(through_proxy))
    require_invariants(platform.settings, files)


# --- Races ---


def test_two_runs_over_the_same_batches_agree(settings: Settings) -> None:
    files = good_files(14) | bad_files(4)
    with open_instance(settings) as instance:
        platform = Platform(settings, instance)
        platform.drop(files)
        assert platform.tick().startswith(f"{len(files)} files are new or changed")
        first, *_, last = instance.get_dynamic_partitions(partitions_name(TRAINING))
        command = [str(Path(sys.executable).with_name("wafer")), "ingest", "--from", first, "--to", last]
        with ExitStack() as stack:
            runs = [stack.enter_context(started(command, settings)) for _ in range(2)]
            assert [run.wait(120) for run in runs] == [0, 0]
        succeeded_runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
        assert len(succeeded_runs) == 2
    require_invariants(settings, files)


@contextmanager
def started(command: list[str], settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on the stores of the settings; it is killed if it has not ended by itself."""
    process = subprocess.Popen(command, env={**os.environ, **environment_of(settings)}, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


GOOD_1, GOOD_2 = (next(iter(good_files(1, seed=seed).values())) for seed in (1, 2))
BAD_1, BAD_2 = list(bad_files(8).values())[-2:]
READ = "GET"
COPIED = "PUT of a copy"
STORED = "PUT"


@pytest.mark.parametrize(
    ("first", "second", "moment"),
    [
        pytest.param(GOOD_1, GOOD_2, READ, id="a good file, before it is read"),
        pytest.param(GOOD_1, BAD_1, READ, id="a good file by a bad one, before it is read"),
        pytest.param(GOOD_1, GOOD_2, STORED, id="a good file, after it was read"),
        pytest.param(GOOD_1, BAD_1, STORED, id="a good file by a bad one, after it was read"),
        pytest.param(BAD_1, GOOD_1, READ, id="a bad file by a good one, before it is read"),
        pytest.param(BAD_1, GOOD_1, COPIED, id="a bad file by a good one, before it is copied"),
        pytest.param(BAD_1, BAD_2, COPIED, id="a bad file by another, before it is copied"),
        pytest.param(BAD_1, BAD_2, STORED, id="a bad file by another, after it was copied"),
    ],
)
def test_a_file_replaced_while_it_is_ingested_gets_the_outcome_of_one_version(
    platform: Platform, proxy: FaultProxy, through_proxy: Settings, first: bytes, second: bytes, moment: str
) -> None:
    (name,) = good_files(1)
    direct = platform.s3
    pending = [second]

    def replace_it(request: Request) -> Refusal | None:
        doing = f"{request.method} of a copy" if request.copied_from else request.method
        if doing == moment and pending:
            direct.put(direct.landing, landing_key(TRAINING, name), pending.pop())
        return None

    platform.drop({name: first})
    proxy.rule = replace_it
    assert succeeded(platform.ingest(through_proxy))
    assert not pending

    (manifest,) = platform.mongo.batches(TRAINING)
    present = direct.head(direct.landing, landing_key(TRAINING, name))
    version = second if manifest.etag == present.etag else first
    verdict = validate(name, version, SCHEMA)
    assert manifest.size == len(version)
    if isinstance(verdict, Accepted):
        assert manifest.sha256 == frame_hash(verdict.frame)
        assert frame_hash(frame_of(platform.mongo, TRAINING, name)) == manifest.sha256
    else:
        assert [dict(reason) for reason in manifest.reasons] == [reason.as_dict() for reason in verdict.reasons]
        assert direct.get(direct.lake, f"{quarantine_folder(TRAINING, name)}{name}") == version

    if version != second:
        assert succeeded(platform.ingest(through_proxy))
    require_invariants(platform.settings, {name: second})


def test_a_file_replaced_at_every_reading_fails_the_run_and_leaves_nothing_behind(
    platform: Platform, proxy: FaultProxy, through_proxy: Settings
) -> None:
    (name,) = good_files(1)
    direct, key = platform.s3, landing_key(TRAINING, name)
    versions = cycle((GOOD_1, GOOD_2))

    def replace_it(request: Request) -> Refusal | None:
        if request.method == "GET":
            direct.put(direct.landing, key, next(versions))
        return None

    platform.drop({name: BAD_1})
    proxy.rule = replace_it
    assert "was replaced since it was listed" in failure(platform.ingest(through_proxy))
    assert platform.mongo.batches(TRAINING) == []
    assert direct.list_objects(direct.lake) == []
    proxy.rule = lambda _: None
    platform.drop({name: GOOD_2})
    assert succeeded(platform.ingest(through_proxy))
    require_invariants(platform.settings, {name: GOOD_2})


# --- Clocks ---


def test_a_clock_that_goes_back_hides_no_file(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    files = good_files(6) | bad_files(2)
    names = list(files)
    early, late = names[:4], names[4:]
    platform.drop({name: files[name] for name in early})
    assert platform.tick().startswith("4 files are new or changed")
    assert succeeded(platform.run(early[:3])), "one stays without outcome"

    now = time.time
    offset = [-HOUR]
    # Of the whole process, because Dagster's events get its times, too.
    monkeypatch.setattr("time.time", lambda: now() + offset[0])
    platform.clock = lambda: now() + offset[0]

    class Older(S3Store):
        def list_objects(self, bucket: str, prefix: str = "") -> list[StoredObject]:
            """List what came late as if it were older than all that is known."""
            found = super().list_objects(bucket, prefix)
            oldest = min((item.last_modified for item in found), default=None)
            return [
                replace(item, last_modified=oldest.replace(year=oldest.year - 1))
                if oldest and item.key.rpartition("/")[2] in late
                else item
                for item in found
            ]

    older = Older(platform.settings)
    platform.drop({name: files[name] for name in late})
    assert platform.tick(s3=older).startswith("4 files are new or changed")
    assert succeeded(platform.run(late))
    assert set(etags_of(platform.mongo, TRAINING)) == set(files) - {early[3]}

    offset[0] += 2 * HOUR
    before = platform.known_to_dagster()
    assert "1 had no outcome and are reported again" in platform.tick(s3=older)
    assert platform.known_to_dagster() != before
    assert succeeded(platform.run([early[3]]))
    require_invariants(platform.settings, files)

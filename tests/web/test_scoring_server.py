"""The scoring server as `wafer serve` runs it, on real services: it follows the champion, or says why it does not."""

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from uuid import uuid4

import psutil
import pytest
import requests
from dagster import DagsterRun

from resources.champion import NoChampionError
from resources.local_services import free_port
from resources.mlflow import CHAMPION, BundleVersion, LineTracking
from resources.s3 import S3Store
from tests.conftest import environment_of, use
from tests.shell import WAFER, call
from tests.stored import exchange_bundle, pyfunc_of
from tests.waiting import wait_until
from tests.web.test_scoring import ask, is_alive
from tests.web.wafers import FORMATS, SCHEMA, WAFERS, expected, small_bundle, split
from wafer_assets.domain.persistence import dump
from wafer_assets.domain.scoring import Bundle
from wafer_assets.settings import Settings
from wafer_assets.web.champions import shared_folder
from wafer_assets.web.scoring import VERSION_HEADER, Served
from wafer_assets.web.scoring_server import Follower, check, checked_champion, prepare


def register(tracking: LineTracking, bundle: Bundle) -> BundleVersion:
    with tracking.run(DagsterRun(job_name="train", run_id=str(uuid4()))) as run:
        return tracking.register_bundle(
            run, dump(bundle), sensors=SCHEMA.sensors, optional=SCHEMA.optional_columns, tags={}
        )


@contextmanager
def serving(settings: Settings, log: Path) -> Iterator[int]:
    """Run `wafer serve`; yield its port. At the end it is interrupted, and has left no process."""
    port = free_port()
    # Production, for its services are others' to start and stop.
    environment = {**environment_of(settings), "PATH": "/usr/bin:/bin", "WAFER_ENVIRONMENT": "production"}
    with log.open("w") as remarks:
        process = subprocess.Popen([WAFER, "serve", "--port", str(port)], env=environment, stderr=remarks)
        try:
            wait_until(lambda: process.poll() is not None or is_alive(port), 90)
            assert process.poll() is None, log.read_text()
            wait_until(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 3, 10)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(30)
    assert code == 0, log.read_text()
    assert not psutil.wait_procs(family, timeout=10)[1]


def test_the_champion_is_followed_without_a_restart_by_all_workers_together(
    platform_settings: Settings, bundle: Bundle, tmp_path: Path
) -> None:
    tracking, log, second = LineTracking(platform_settings, "secom"), tmp_path / "log", small_bundle(seed=1)
    with pytest.raises(NoChampionError, match="wafer train"):
        checked_champion(tracking)
    one, two = register(tracking, bundle), register(tracking, second)
    tracking.set_alias(CHAMPION, one)
    rows = {one.version: expected(bundle, WAFERS, one.version), two.version: expected(second, WAFERS, two.version)}
    stopped = Event()

    def versions(_: int) -> list[tuple[float, float, int]]:
        """Ask again and again; return when each request began and ended, and which version answered it."""
        seen = []
        while not stopped.is_set():
            began = time.monotonic()
            answer = ask(port, split(WAFERS))
            version = int(answer.headers[VERSION_HEADER])
            assert answer.json()["predictions"] == rows[version]
            seen.append((began, time.monotonic(), version))
        return seen

    with serving(platform_settings, log) as port, ThreadPoolExecutor(4) as pool:
        for written, content_type in FORMATS:
            assert ask(port, written(WAFERS), content_type).json()["predictions"] == rows[one.version]
        clients = [pool.submit(versions, number) for number in range(4)]
        try:
            tracking.set_alias(CHAMPION, two)
            address = f"http://127.0.0.1:{port}/ping"
            wait_until(lambda: requests.get(address, timeout=10).headers[VERSION_HEADER] == "2")
            time.sleep(1)
        finally:
            stopped.set()
        seen = [each for client in clients for each in client.result()]
        first_new = min(end for _, end, version in seen if version == two.version)
        assert all(version == two.version for began, _, version in seen if began > first_new)
        assert {version for *_, version in seen} == {one.version, two.version}
    assert "Version 2 answers now." in log.read_text()
    # Read back from the registry as any consumer would.
    assert pyfunc_of(tracking, two).predict(WAFERS).to_dict("records") == rows[two.version]


def test_a_champion_that_cannot_be_used_is_not_followed(platform_settings: Settings, bundle: Bundle) -> None:
    tracking, said = LineTracking(platform_settings, "secom"), []
    good, bad = register(tracking, bundle), register(tracking, small_bundle(seed=1))
    exchange_bundle(tracking, S3Store(platform_settings), bad, b"something else")
    with shared_folder() as folder:
        prepare(folder, Served(line="secom", origins=[]), good.version, check(tracking, good).content)
        follower = Follower(tracking, folder, 1, said.append)
        tracking.set_alias(CHAMPION, bad)
        for _ in range(2):
            follower.look(lambda: True)
        assert folder.current == good.version
    (remark,) = said
    assert remark.startswith("version 2 of ")
    assert "SHA-256" in remark
    assert remark.endswith("Version 1 goes on answering.")


def test_without_a_usable_champion_it_ends_with_the_reason(
    platform_settings: Settings, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(platform_settings, monkeypatch)
    monkeypatch.setenv("WAFER_ENVIRONMENT", "production")
    tracking = LineTracking(platform_settings, "secom")
    version = register(tracking, bundle)
    tracking.set_alias(CHAMPION, version)
    exchange_bundle(tracking, S3Store(platform_settings), version, dump(bundle)[:5_000])
    refused = call("serve", "--port", str(free_port()))
    assert refused.exit_code == 1
    assert "version 1 of" in refused.output
    assert "unusable" in refused.output
    assert "address" not in refused.output
    # And the command that would promote it says the same.
    message = refused.output.strip().splitlines()[-1]
    tracking.set_alias(CHAMPION, register(tracking, small_bundle(seed=1)))
    assert message in call("models", "promote", "1", "--reason", "why not").output

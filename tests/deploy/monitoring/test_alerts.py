"""Alerts that are caused: a real platform under a real Prometheus, each seen to fire and to clear again.

All durations of rules and scrapes are divided by FACTOR, and nothing else is changed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pytest
import requests

from deploy.monitoring.dashboards import dashboards, queries
from deploy.monitoring.local import prometheus_config
from deploy.monitoring.routes import read_routes
from resources.local_services import LocalServices, free_port
from resources.mlflow import CHAMPION, LineTracking
from resources.s3 import S3Store
from schemas.loader import load_schema
from tests.deploy.monitoring.hook import Hook, open_hook
from tests.deploy.monitoring.servers import alertmanager, needs_prometheus, prometheus, query
from tests.feeds import TRAINING
from tests.landing import land
from tests.shell import processes_of
from tests.waiting import wait_until
from wafer_assets.cli.instance import dagster_home, open_instance, run_job
from wafer_assets.domain.simulation import broken_batches, simulate_batches
from wafer_assets.keys import landing_key
from wafer_assets.settings import Settings

pytestmark = [pytest.mark.observe, needs_prometheus]

FACTOR = 6  # more, and Dagster's own heartbeats, 30 seconds apart, would be silence
FAST = {"forest_trees": 20, "xgboost_trees": 20}
MINUTE = 60.0


@dataclass(frozen=True)
class Watched:
    """A platform at work, and who watches it."""

    settings: Settings
    prometheus: str
    hook: Hook

    def fires(self, alert: str, **labels: str) -> bool:
        chosen = ",".join(f'{name}="{value}"' for name, value in {"alertname": alert, **labels}.items())
        return bool(query(self.prometheus, f'ALERTS{{alertstate="firing",{chosen}}}'))

    def processes(self, words: str) -> list[psutil.Process]:
        found = []
        for process in processes_of(self.settings.state_dir):
            with suppress(psutil.Error):
                if words in " ".join(process.cmdline()):
                    found.append(process)
        assert found, f"no process of the platform is a {words!r}"
        return found


def train(settings: Settings) -> None:
    files = {item.name: item.content for item in simulate_batches(5, 60, feed="training", seed=3, fault_rate=0.15)}
    bad = {item.name: item.content for item in list(broken_batches(load_schema("training"), seed=3))[:1]}
    resources = {"secom__model": {"config": FAST}, "evaluation": {"config": {"repeats": 1, "folds": 5}}}
    with open_instance(settings) as instance:
        tags = land(settings, instance, files | bad)
        assert run_job(settings, instance, "secom__train_end_to_end", tags=tags, resources=resources).success
    tracking = LineTracking(settings, "secom")
    tracking.set_alias(CHAMPION, tracking.versions()[0])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    state, port = folder / "state", free_port()
    environment = {**os.environ, "WAFER_STATE_DIR": str(state), "WAFER_METRICS__PORT": str(port)}
    with LocalServices(Settings(state_dir=state)) as settings, open_hook() as hook:
        dagster_home(settings)
        train(settings)
        with (
            (folder / "dev.log").open("w") as log,
            subprocess.Popen(
                [sys.executable, "-c", "from wafer_assets.cli import main; main()", "dev"],
                env=environment, stdout=log, stderr=log,
            ) as dev,
            alertmanager(folder, read_routes({"platform": hook.url}, {})) as manager,
        ):  # fmt: skip
            config = prometheus_config(
                folder, {"wafer": f"127.0.0.1:{port}"}, manager.removeprefix("http://"), factor=FACTOR
            )
            try:
                with prometheus(folder, config) as url:
                    seen = Watched(settings, url, hook)
                    wait_until(lambda: query(url, "count(wafer_sensor_tick_age_seconds) > 4"), 240, look_every=1)
                    yield seen
            finally:
                dev.send_signal(signal.SIGINT)
                dev.wait(60)


def test_every_panel_of_every_dashboard_shows_something(watched: Watched) -> None:
    wait_until(lambda: query(watched.prometheus, "wafer_database_size_bytes"), MINUTE, look_every=1)
    empty = [
        f"{name}, {title}: {expression}"
        for name, page in dashboards().items()
        for title, expression in queries(page)
        if not query(watched.prometheus, expression.replace("${line}", "secom").replace("$line", "secom"))
    ]
    assert empty == []


def test_the_watchdog_reaches_alertmanager(watched: Watched) -> None:
    wait_until(lambda: watched.fires("Watchdog"), MINUTE, look_every=1)


def test_a_champion_that_is_gone_is_told_until_there_is_one(watched: Watched) -> None:
    tracking = LineTracking(watched.settings, "secom")
    version = tracking.versions()[0]
    with tracking._server() as client:
        client.delete_registered_model_alias(version.name, CHAMPION)
    wait_until(lambda: watched.fires("ChampionMissing", line="secom"), 4 * MINUTE, look_every=1)
    wait_until(lambda: "ChampionMissing" in watched.hook.names(""), MINUTE, look_every=1)
    tracking.set_alias(CHAMPION, version)
    wait_until(lambda: not watched.fires("ChampionMissing"), MINUTE, look_every=1)


def test_mongodb_that_does_not_answer_is_told_until_it_does(watched: Watched) -> None:
    servers = watched.processes("secantusd")
    for process in servers:
        process.suspend()
    try:
        wait_until(lambda: watched.fires("SourceAway", source="mongodb"), 3 * MINUTE, look_every=1)
        assert requests.get(f"{watched.prometheus}/-/ready", timeout=5).ok
    finally:
        for process in servers:
            process.resume()
    wait_until(lambda: not watched.fires("SourceAway", source="mongodb"), 3 * MINUTE, look_every=1)


def test_a_daemon_that_is_stopped_is_told_until_it_goes_on(watched: Watched) -> None:
    daemons = watched.processes("daemon run")
    for process in daemons:
        process.suspend()
    try:
        wait_until(lambda: watched.fires("DaemonSilent"), 4 * MINUTE, look_every=1)
    finally:
        for process in daemons:
            process.resume()
    wait_until(lambda: not watched.fires("DaemonSilent"), 3 * MINUTE, look_every=1)


def test_a_code_location_that_hangs_is_told_until_it_answers(watched: Watched) -> None:
    servers = watched.processes("dagster api grpc") + watched.processes("dagster code-server")
    for process in servers:
        process.suspend()
    try:
        wait_until(lambda: watched.fires("CodeLocationGone"), 4 * MINUTE, look_every=1)
    finally:
        for process in servers:
            process.resume()
    wait_until(lambda: not watched.fires("CodeLocationGone"), 4 * MINUTE, look_every=1)


def test_bad_files_are_told_until_good_ones_outweigh_them(watched: Watched) -> None:
    s3 = S3Store(watched.settings)
    for item in list(broken_batches(load_schema("training"), seed=4))[1:7]:
        s3.put(s3.landing, landing_key(TRAINING, item.name), item.content)
    wait_until(lambda: watched.fires("FilesRefused", line="secom"), 5 * MINUTE, look_every=1)
    wait_until(lambda: not watched.fires("FilesRefused"), 8 * MINUTE, look_every=1)

"""Everything that the platform starts on a laptop, at once: who gets in, without credentials or from elsewhere."""

import os
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from resources.local_services import LocalServices, free_port
from resources.local_services.state import StateFolder
from resources.mlflow import CHAMPION, LineTracking
from resources.s3 import S3Store
from tests.resources.test_ports import FOREIGN, LOCAL, PAGES, TABLE, ask
from tests.shell import WAFER, processes_of
from tests.waiting import wait_until
from tests.web.test_dagster_ui import attack, query
from tests.web.test_scoring_server import register, serving
from tests.web.wafers import CSV, WAFERS, csv, small_bundle
from wafer_assets.settings import Settings

pytestmark = [pytest.mark.services, pytest.mark.slow]

SECRET, KEY = b"nobody but the platform reads this", "secom/training/secret-of-the-lake"
RUNS = "{ runsOrError { ... on Runs { results { runId } } } }"
GUARDED = {"Dagster UI", "reports", "scoring server", "metrics"}
# What SeaweedFS says to whoever asks from this machine: nothing of what is stored.
TOLD = {"/", "/cluster/status", "/status", "/metrics", "/ui/index.html", "/dir/status", "/vol/status"}


@dataclass(frozen=True)
class Doors:
    """Everything while it runs: its settings, and every TCP port that listens, with the name of its server."""

    settings: Settings
    ports: dict[int, str]

    def address(self, name: str) -> str:
        (port,) = (port for port, known in self.ports.items() if known == name)
        return f"http://127.0.0.1:{port}"


@contextmanager
def dev(settings: Settings, log: Path) -> Iterator[tuple[int, int, int]]:
    """Run `wafer dev` beside the services; yield the ports of the Dagster UI, of the reports and of the metrics."""
    ui, reports, metrics = free_port(), free_port(), free_port()
    environment = {
        **os.environ,
        "WAFER_STATE_DIR": str(settings.state_dir),
        "WAFER_PAGES_URL": f"http://127.0.0.1:{reports}",
        "WAFER_METRICS__PORT": str(metrics),
    }
    with log.open("w") as remarks:
        process = subprocess.Popen([WAFER, "dev", "--port", str(ui)], env=environment, stdout=remarks, stderr=remarks)
        try:
            for port, path in ((ui, "/server_info"), (metrics, "/metrics")):
                wait_until(
                    lambda at=port, of=path: process.poll() is not None or ask(at, "GET", of, {}) is not None, 120
                )
            assert process.poll() is None, log.read_text()
            yield ui, reports, metrics
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("doors")
    with LocalServices(Settings(state_dir=folder / "state")) as settings:
        S3Store(settings).put(settings.s3.lake_bucket, KEY, SECRET)
        tracking = LineTracking(settings, "secom")
        tracking.set_alias(CHAMPION, register(tracking, small_bundle()))
        with dev(settings, folder / "dev") as (ui, reports, metrics), serving(settings, folder / "serve") as scoring:
            names = {port: name for name, port in StateFolder(settings.state_dir).identity().ports.items()}
            names |= {ui: "Dagster UI", reports: "reports", metrics: "metrics", scoring: "scoring server"}
            yield Doors(settings, {port: names.get(port, f"unknown {port}") for port in listening(settings.state_dir)})


def listening(state: Path) -> set[int]:
    """Return every TCP port of the platform's processes; nothing may listen elsewhere, or be open to other users."""
    connections = [each for process in processes_of(state) for each in process.net_connections("all")]
    inet = [each for each in connections if each.family in (socket.AF_INET, socket.AF_INET6)]
    open_ = [each.laddr for each in inet if each.status == psutil.CONN_LISTEN]
    assert {address.ip for address in open_} == {"127.0.0.1"}
    files = {str(each.laddr) for each in connections if each not in inet and str(each.laddr).startswith("/")}
    writable = {
        file for file in files if Path(file).exists() and stat.S_IMODE(Path(file).stat().st_mode) & stat.S_IWOTH
    }
    assert {file for file in writable if Path(file).parent.stat().st_mode & stat.S_IXOTH} == set()
    return {address.port for address in open_}


def paths(lake: str) -> list[str]:
    return [
        *("/buckets/", f"/buckets/{lake}/", f"/buckets/{lake}/{KEY}", f"/{lake}/{KEY}", f"/{lake}/?list-type=2"),
        *("/1,0100000000", "/1,0200000000", "/dir/assign", "/dir/status", "/vol/status", *PAGES),
        *("/api/2.0/mlflow/experiments/search?max_results=10", "/graphql?query={version}"),
    ]


def test_every_port_is_one_of_the_page_on_ports(doors: Doors) -> None:
    tables = TABLE.read_text().split("`wafer dev` and `wafer serve` open these")
    inner = [line.split("|")[1] for line in tables[0].splitlines() if line.startswith("| `")]
    outer = [line.split("|")[2].strip() for line in tables[1].splitlines() if re.match(r"\| \d", line)]
    assert sorted(doors.ports.values()) == sorted([*re.findall(r"`([^`]+)`", " ".join(inner)), *outer])
    assert set(outer) == GUARDED


def test_without_credentials_each_port_answers_what_the_page_says(doors: Doors) -> None:
    lake = doors.settings.s3.lake_bucket
    for port, name in doors.ports.items():
        answered = {path: answer for path in paths(lake) if (answer := ask(port, "GET", path, {})) is not None}
        given = {path for path, (status, _, _) in answered.items() if status < 400}
        if name == "mongo" or name.endswith(".grpc"):
            assert not given, name
        elif name not in GUARDED | {"mlflow"}:  # SeaweedFS
            assert given <= TOLD, name
        assert [
            path
            for path, (status, _, body) in answered.items()
            if SECRET in body or (status < 400 and KEY.encode() in body)
        ] == [], name
    assert requests.get(doors.address("Dagster UI"), timeout=30).ok
    scored = requests.post(
        f"{doors.address('scoring server')}/invocations", csv(WAFERS), headers={"Content-Type": CSV}, timeout=30
    )
    assert len(scored.json()["predictions"]) == len(WAFERS), "people of this machine get in, as the page says"


@pytest.mark.parametrize("headers", [FOREIGN, LOCAL], ids=["a foreign host", "a foreign origin"])
def test_nobody_foreign_gets_in_anywhere(doors: Doors, headers: dict[str, str]) -> None:
    lake = doors.settings.s3.lake_bucket
    for port, name in doors.ports.items():
        for method in ("GET", "POST", "PUT", "DELETE"):
            for path in [*paths(lake), "/graphql", "/invocations", "/api/2.0/mlflow/experiments/create"]:
                answer = ask(port, method, path, headers | {"Content-Type": "application/json"})
                if answer is None:
                    continue
                status, told, body = answer
                what = f"{name} {method} {path}: {status}"
                assert SECRET not in body, what
                if name in GUARDED:
                    assert status in (403, 421), what
                elif name == "mlflow":
                    assert status == 403, what
                elif method != "GET":
                    assert status >= 400 or path in TOLD, what
                readable = told.get("Access-Control-Allow-Origin") in ("*", headers["Origin"])
                assert not readable or status >= 400 or (name, path) == ("s3", "/status"), what
    assert S3Store(doors.settings).get(lake, KEY) == SECRET


def test_a_page_elsewhere_starts_wipes_lists_and_scores_nothing(doors: Doors) -> None:
    names = ("Dagster UI", "scoring server", "reports", "mlflow", "s3", "filer.port", "master.port", "volume.port")
    assert attack(*map(doors.address, names)) == ["done"] * len(names)
    assert query(doors.address("Dagster UI"), RUNS) == {"runsOrError": {"results": []}}
    assert S3Store(doors.settings).get(doors.settings.s3.lake_bucket, KEY) == SECRET

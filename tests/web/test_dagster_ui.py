"""A page of another origin in a real browser, against the real webserver: it starts nothing and reads nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import dagster as dg
import pytest
import requests

from resources.local_services import free_port
from tests.screenshots import browser
from tests.waiting import wait_until
from tests.web.test_guard import Recorder, serving
from wafer_assets.web.dagster_ui import guarded
from wafer_assets.web.guard import Guard

pytestmark = pytest.mark.services

DEFINITIONS = """
import dagster as dg

@dg.asset
def precious() -> None: ...

defs = dg.Definitions(assets=[precious], jobs=[dg.define_asset_job("everything")])
"""
LAUNCH = (
    'mutation { launchRun(executionParams: {selector: {repositoryLocationName: "definitions.py", '
    'repositoryName: "__repository__", jobName: "everything"}, runConfigData: {}}) { __typename } }'
)
WIPE = 'mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["precious"]}}]) { __typename } }'
PAGE = Path(__file__).with_name("page_elsewhere.html").read_text()


@contextmanager
def page_elsewhere(target: str) -> Iterator[str]:
    """Serve the page that attacks `target`, at another origin."""
    content = PAGE.replace("TARGET", json.dumps(target)).replace("MUTATIONS", json.dumps([LAUNCH, WIPE])).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def attack(*targets: str) -> list[str]:
    """Open the page in Chromium for every target; return the titles that it ends with."""
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("there is no chromium with its chromedriver on this machine")
    titles = []
    with browser() as driver:
        for target in targets:
            with page_elsewhere(target) as page:
                driver.get(page)
                wait_until(lambda: driver.title.startswith("done"), 60)
                titles.append(driver.title)
    return titles


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The real webserver behind the guard, on a code location with an asset and a job; its address and home."""
    home = tmp_path_factory.mktemp("home")
    (home / "definitions.py").write_text(DEFINITIONS)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("precious"))
    port = free_port()
    command = [sys.executable, "-m", "wafer_assets.web.dagster_ui", "-h", "127.0.0.1", "-p", str(port)]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "-f", str(home / "definitions.py")],
            env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore"},
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or listens(port), 60)
        assert process.poll() is None, (home / "log").read_text()
        yield address, home
    finally:
        process.terminate()
        process.wait(30)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def state_of(home: Path) -> tuple[int, bool]:
    """Return how many runs there are, and whether the asset is still materialized."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return instance.get_runs_count(), instance.get_latest_materialization_event(dg.AssetKey("precious")) is not None


def query(address: str, text: str) -> dict[str, object]:
    answer = requests.post(f"{address}/graphql", json={"query": text}, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def test_a_page_elsewhere_starts_no_run_and_wipes_nothing_and_people_can(webserver: tuple[str, Path]) -> None:
    address, home = webserver
    assert state_of(home) == (0, True)
    open_to_all = Recorder()
    with serving(lambda _: open_to_all) as port:
        (titled, open_title) = attack(address, f"http://127.0.0.1:{port}")
    assert (titled, state_of(home)) == ("done", (0, True))
    # The same page gets through where there is no guard, or it would prove nothing.
    assert open_title == "done socket"
    assert {"http POST /graphql", "http GET /graphql", "http POST /invocations"} <= set(open_to_all.reached)

    assert query(address, LAUNCH) == {"launchRun": {"__typename": "LaunchRunSuccess"}}
    assert query(address, WIPE) == {"wipeAssets": {"__typename": "AssetWipeSuccess"}}
    assert state_of(home) == (1, False)


def test_the_ui_itself_works_behind_the_guard(webserver: tuple[str, Path]) -> None:
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("there is no chromium with its chromedriver on this machine")
    address, _ = webserver
    with browser() as driver:
        driver.get(f"{address}/jobs")
        wait_until(lambda: "everything" in driver.find_element("tag name", "body").text, 60)
        opened = "new Promise(d => { const s = new WebSocket(location.origin.replace('http', 'ws') + '/graphql', "
        opened += "'graphql-ws'); s.onopen = () => d('open'); s.onerror = () => d('refused'); })"
        assert driver.execute_script(f"return {opened}") == "open"


@pytest.mark.parametrize(
    ("headers", "status"), [({"Host": "rebound.example"}, 421), ({"Origin": "http://evil.example"}, 403)]
)
def test_a_foreign_host_or_origin_is_refused(webserver: tuple[str, Path], headers: dict[str, str], status: int) -> None:
    address, _ = webserver
    assert requests.get(f"{address}/", headers=headers, timeout=30).status_code == status
    assert requests.post(f"{address}/graphql", json={}, headers=headers, timeout=30).status_code == status


def test_other_names_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAFER_WEB__ORIGINS", '["https://wafer.example.com"]')
    recorder = Recorder()
    with serving(lambda port: guarded(recorder, "0.0.0.0", port)) as port:
        for host, status in (("wafer.example.com", 200), ("other.example.com", 421)):
            assert requests.get(f"http://127.0.0.1:{port}/", headers={"Host": host}, timeout=10).status_code == status
    assert isinstance(guarded(recorder, "127.0.0.1", 1), Guard)

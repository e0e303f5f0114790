"""The metrics over HTTP: in the form that Prometheus reads, under the exporter's own name alone."""

from collections.abc import Iterator
from threading import Thread

import pytest
import requests
import uvicorn
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from resources.local_services import free_port
from tests.waiting import wait_until
from wafer_assets.operations.metrics import Collector, Source
from wafer_assets.web.guard import origins_of
from wafer_assets.web.metrics import HOST, metrics_app, registry_of


@pytest.fixture
def url() -> Iterator[str]:
    port = free_port()
    collector = Collector([Source("deep", lambda: [GaugeMetricFamily("wafer_depth_meters", "Depth.", 7)])])
    app = metrics_app(registry_of(collector), origins_of(HOST, port))
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_level="error", lifespan="off"))
    thread = Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://{HOST}:{port}"
    server.should_exit = True
    thread.join(10)


def test_prometheus_can_read_every_line(url: str) -> None:
    answer = requests.get(f"{url}/metrics", timeout=10)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert found["wafer_depth_meters"].samples[0].value == 7
    assert found["wafer_source_up"].samples[0].value == 1
    assert "process_resident_memory_bytes" in found


def test_a_page_under_another_name_reads_nothing(url: str) -> None:
    assert requests.get(f"{url}/metrics", headers={"Host": "evil.example"}, timeout=10).status_code == 421
    assert requests.get(f"{url}/metrics", headers={"Origin": "http://evil.example"}, timeout=10).status_code == 403


def test_a_probe_learns_that_the_exporter_is_there(url: str) -> None:
    assert requests.get(f"{url}/health", headers={"Host": "10.0.0.7:9464"}, timeout=10).text == "ok\n"

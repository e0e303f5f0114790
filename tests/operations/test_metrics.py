"""The platform in numbers: what each store tells, and that one that is away takes only its own numbers with it."""

import threading
from collections.abc import Iterable, Iterator

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from resources.mlflow import Tracking
from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.loader import load_schema
from tests.feeds import LINE, TRAINING, line_like
from tests.landing import land
from tests.waiting import wait_until
from wafer_assets.cli.instance import open_instance, run_job
from wafer_assets.domain.simulation import broken_batches, simulate_batches
from wafer_assets.operations.metrics import Collector, Source, platform_sources
from wafer_assets.operations.metrics.collecting import Refreshed
from wafer_assets.operations.metrics.models import champion_reader
from wafer_assets.operations.metrics.runs import OTHER, run_metrics
from wafer_assets.settings import Settings


def gauge(value: float) -> list[Metric]:
    return [GaugeMetricFamily("wafer_depth_meters", "Depth.", value)]


def told(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def values(metrics: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def test_a_source_that_fails_takes_only_its_own_numbers_with_it() -> None:
    def away() -> Iterator[Metric]:
        yield from gauge(1)
        raise ConnectionError("no route")

    registry = told(Collector([Source("deep", lambda: gauge(7)), Source("gone", away)]))
    assert registry.get_sample_value("wafer_depth_meters") == 7
    assert registry.get_sample_value("wafer_source_up", {"source": "deep"}) == 1
    assert registry.get_sample_value("wafer_source_up", {"source": "gone"}) == 0


def test_a_source_that_hangs_is_left_alone_until_it_has_come_back() -> None:
    goes_on, asked = threading.Event(), []

    def hang() -> list[Metric]:
        asked.append(1)
        goes_on.wait(10)
        return gauge(3)

    collector = Collector([Source("slow", hang)], deadline=0.05)
    for _ in range(3):
        assert values(collector.collect())["wafer_source_up", "slow"] == 0
    assert len(asked) == 1
    goes_on.set()
    wait_until(lambda: values(collector.collect())["wafer_source_up", "slow"] == 1)
    assert values(collector.collect())["wafer_source_errors_total", "slow"] >= 3


def test_a_problem_is_logged_once_as_long_as_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "wafer.metrics")  # commands that ran in this process before let others be silent

    def away() -> list[Metric]:
        raise ConnectionError("no route")

    collector = Collector([Source("gone", away)])
    for _ in range(3):
        list(collector.collect())
    assert [record.getMessage() for record in caplog.records] == ["No metrics of gone: ConnectionError: no route"]


def test_what_takes_long_is_read_beside_the_scrapes() -> None:
    read = Refreshed(lambda: gauge(5), seconds=60)
    assert read() == []  # nobody waited for it
    wait_until(lambda: read() != [])
    assert values(read()) == {("wafer_depth_meters",): 5}


def test_what_failed_beside_the_scrapes_is_raised_at_the_next() -> None:
    def away() -> list[Metric]:
        raise ConnectionError("no route")

    read = Refreshed(away, seconds=60)
    read()
    with pytest.raises(ConnectionError):
        wait_until(lambda: read() and False, seconds=5)


def test_jobs_that_no_line_has_share_one_name() -> None:
    @dg.op
    def step() -> None: ...

    @dg.job(name="made_up")
    def made_up() -> None:
        step()

    with dg.DagsterInstance.ephemeral() as instance:
        made_up.execute_in_process(instance=instance)
        assert values(run_metrics(instance, ["secom"]))["wafer_runs", OTHER, "success"] == 1


@pytest.mark.services
def test_files_their_outcomes_and_their_run_are_told(settings: Settings) -> None:
    good = {item.name: item.content for item in simulate_batches(2, 30, feed="training", seed=3, fault_rate=0.2)}
    bad = {item.name: item.content for item in list(broken_batches(load_schema("training"), seed=3))[:1]}
    with open_instance(settings) as instance:
        tags = land(settings, instance, good | bad)
        sources = platform_sources(settings, {LINE.name: LINE, "idle": line_like("idle")}, lambda: instance)
        registry = told(Collector(sources, deadline=30))

        def of(name: str, feed: str = "training", line: str = "secom", **labels: str) -> float | None:
            return registry.get_sample_value(name, {"line": line, "feed": feed, **labels})

        def becomes(value: float, name: str, **labels: str) -> None:
            wait_until(lambda: of(name, **labels) == value, 30)  # a store that is slow for a moment misses a scrape

        becomes(3, "wafer_files_received")
        becomes(3, "wafer_files_waiting")
        run_job(settings, instance, "secom__ingest_training", tags=tags)
        becomes(0, "wafer_files_waiting")
        becomes(2, "wafer_files", outcome="accepted")
        becomes(1, "wafer_files", outcome="quarantined")
        becomes(60, "wafer_wafers")
        becomes(0, "wafer_files", outcome="accepted", line="idle")
        age = of("wafer_asset_age_seconds", asset="wafer_records")
        assert age is not None
        assert 0 <= age < 60
        labels = {"job_name": "secom__ingest_training", "state": "success"}
        wait_until(lambda: registry.get_sample_value("wafer_runs", labels) == 1, 30)
        refused = {key: value for key, value in values(registry.collect()).items() if key[0] == "wafer_files_refused"}
        assert set(refused.values()) == {1}
        # There is no MLflow server: its numbers alone are missing.
        assert registry.get_sample_value("wafer_source_up", {"source": "mlflow"}) == 0
        assert registry.get_sample_value("wafer_champion", {"line": "secom"}) is None
        wait_until(lambda: registry.get_sample_value("wafer_bucket_objects", {"bucket": "landing"}) == 3)
    assert S3Store(settings).list_objects(S3Store(settings).landing)
    assert len(WaferStore(settings).batches(TRAINING)) == 3


@pytest.mark.services
def test_a_line_without_a_champion_is_told_as_such(platform_settings: Settings) -> None:
    found = values(champion_reader(Tracking(platform_settings), ["secom"])())
    assert found == {("wafer_champion", "secom"): 0}

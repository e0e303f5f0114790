"""A small platform: the real graph on real services, with a contract of few sensors."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import dagster as dg
import pytest

from resources.s3 import S3Store
from schemas.loader import BatchSchema, load_schema
from wafer_assets.definitions import build_defs
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import changed_batches, report_raw_batches
from wafer_assets.operations.ranges import partition_ranges
from wafer_assets.partitions import BATCHES
from wafer_assets.settings import Settings


class Ingest(Protocol):
    def __call__(self, files: Mapping[str, bytes], *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult: ...


@pytest.fixture(autouse=True)
def _retries_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


@pytest.fixture
def instance() -> Iterable[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session")
def schema() -> BatchSchema:
    return load_schema("training")


@pytest.fixture
def ingest(settings: Settings, s3: S3Store, instance: dg.DagsterInstance) -> Ingest:
    """Drop files into the landing bucket and ingest, in one run, the ones that are new or changed."""
    known: dict[str, str] = {}
    job = build_defs(settings).resolve_job_def("ingest_training")

    def run(files: Mapping[str, bytes], *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        for name, content in files.items():
            s3.put(s3.landing, landing_key("training", name), content)
        found = changed_batches("training", s3.list_objects(s3.landing), known)
        report_raw_batches(instance, "training", s3.landing, found)
        known.update({batch: item.etag for batch, item in found.items()})
        keys = instance.get_dynamic_partitions(str(BATCHES["training"].name))
        (only,) = partition_ranges(keys, found)
        return job.execute_in_process(instance=instance, tags=only.tags, raise_on_error=raise_on_error)

    return run

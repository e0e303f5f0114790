"""A small platform: the real graph on real services, with a contract of few sensors."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import dagster as dg
import pytest

from schemas.loader import BatchSchema, load_schema
from tests.landing import land
from wafer_assets.definitions import build_defs
from wafer_assets.settings import Settings


class Ingest(Protocol):
    def __call__(
        self, files: Mapping[str, bytes], *, raise_on_error: bool = True, **resources: object
    ) -> dg.ExecuteInProcessResult: ...


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
def ingest(settings: Settings, instance: dg.DagsterInstance) -> Ingest:
    """Drop files into the landing bucket and ingest, in one run, those that are new or changed."""

    def run(
        files: Mapping[str, bytes], *, raise_on_error: bool = True, **resources: object
    ) -> dg.ExecuteInProcessResult:
        job = build_defs(settings, **resources).resolve_job_def("ingest_training")
        tags = land(settings, instance, files, everything=False)
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=raise_on_error)

    return run

"""What is counted in Dagster's tables is what Dagster itself says, asked one by one."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sql
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable

from resources.adapters.dagster_storage import (
    backfill_counts,
    partition_counts,
    run_counts,
    storage_bytes,
    tick_counts,
)

RAW, GOOD, BAD = (dg.AssetKey(["etch", "training", name]) for name in ("raw", "good", "bad"))


@dg.op
def step() -> None: ...


@dg.job
def etch__works() -> None:
    step()


@dg.op
def broken_step() -> None:
    raise ValueError("broken")


@dg.job
def etch__breaks() -> None:
    broken_step()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def came(instance: dg.DagsterInstance, key: dg.AssetKey, *partitions: str) -> None:
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))


def test_runs_are_counted_with_the_time_they_took(instance: dg.DagsterInstance) -> None:
    begun = time.time()
    for _ in range(2):
        etch__works.execute_in_process(instance=instance)
    etch__breaks.execute_in_process(instance=instance, raise_on_error=False)
    found = {(item.job, item.status): item for item in run_counts(instance)}
    assert {key: item.runs for key, item in found.items()} == {
        ("etch__works", "SUCCESS"): 2,
        ("etch__breaks", "FAILURE"): 1,
    }
    records = instance.get_run_records(dg.RunsFilter(job_name="etch__works"))
    took = sum(record.end_time - record.start_time for record in records)  # type: ignore[operator]
    assert found["etch__works", "SUCCESS"].seconds == pytest.approx(took)
    assert begun - 2 <= found["etch__works", "SUCCESS"].oldest <= time.time()


def test_partitions_wait_until_a_follower_comes_after_them(instance: dg.DagsterInstance) -> None:
    before = time.time()
    came(instance, RAW, "a", "b", "c")
    assert partition_counts(instance, RAW, [GOOD, BAD]).waiting == 3
    came(instance, GOOD, "a")
    came(instance, BAD, "b")
    found = partition_counts(instance, RAW, [GOOD, BAD])
    assert (found.came, found.waiting) == (3, 1)
    assert found.oldest is not None
    assert before - 1 <= found.oldest <= time.time()
    came(instance, RAW, "a")  # another file of that name
    assert partition_counts(instance, RAW, [GOOD, BAD]).waiting == 2


def test_a_partition_told_again_and_again_is_as_old_as_when_it_first_waited(instance: dg.DagsterInstance) -> None:
    came(instance, RAW, "a")
    first = partition_counts(instance, RAW, [GOOD]).oldest
    time.sleep(0.02)
    came(instance, RAW, "a")
    assert partition_counts(instance, RAW, [GOOD]).oldest == first


def test_a_partition_that_has_gone_waits_no_more(instance: dg.DagsterInstance) -> None:
    came(instance, RAW, "a")
    instance.report_runless_asset_event(dg.AssetObservation(RAW, partition="a"))
    assert partition_counts(instance, RAW, [GOOD]).waiting == 0
    assert partition_counts(instance, RAW, [GOOD]).oldest is None


def test_an_empty_instance_has_nothing_but_its_files(instance: dg.DagsterInstance) -> None:
    assert run_counts(instance) == []
    assert backfill_counts(instance) == {}
    assert tick_counts(instance, "none", 0.0) == {}
    assert storage_bytes(instance) > 0


@pytest.mark.slow
def test_ten_thousand_runs_and_twenty_thousand_partitions_are_counted_in_less_than_half_a_second(
    instance: dg.DagsterInstance,
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    runs = [
        {"run_id": f"run-{n}", "pipeline_name": f"etch__{n % 9}", "status": "SUCCESS", "run_body": "x" * 2_000,
         "create_timestamp": now, "start_time": 1.0 * n, "end_time": n + 9.0}
        for n in range(10_000)
    ]  # fmt: skip
    events = [
        {"run_id": "", "event": "x" * 1_000, "dagster_event_type": "ASSET_MATERIALIZATION", "timestamp": now,
         "asset_key": key.to_string(), "partition": f"batch-{n}"}
        for key in (RAW, GOOD) for n in range(20_000)
    ]  # fmt: skip
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(sql.insert(RunsTable), runs)
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(sql.insert(SqlEventLogStorageTable), events)
    begun = time.process_time()
    assert sum(item.runs for item in run_counts(instance)) == 10_000
    assert partition_counts(instance, RAW, [GOOD, BAD]).came == 20_000
    assert time.process_time() - begun < 0.5

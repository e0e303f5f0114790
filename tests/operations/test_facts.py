"""What the events say: the summary of a platform that has scored many batches, and what one training made."""

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from wafer_assets.cli.instance import open_instance
from wafer_assets.cli.summary import render_summary
from wafer_assets.keys import predictions_key, training_key
from wafer_assets.operations.facts import LISTED, latest_metadata, read_summary, training_metadata
from wafer_assets.settings import Settings

LEDGER = {
    "received": 1,
    "accepted": 1,
    "quarantined": 0,
    "quarantined_by_reason": dg.MetadataValue.json({}),
}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(Settings(state_dir=tmp_path / "state")) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey(["secom", "prediction", "batch_ledger"]), metadata=LEDGER)
        )
        yield instance


def report_scored(instance: dg.DagsterInstance, batch: str, alarms: int = 1) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            predictions_key("secom"),
            partition=batch,
            metadata={
                "status": "scored",
                "dagster/partition_row_count": 100,
                "alarms": alarms,
                "highest_probability": 0.5,
                "bundle_version": 1,
            },
        )
    )


def report_withdrawn(instance: dg.DagsterInstance, batch: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            predictions_key("secom"),
            partition=batch,
            metadata={"status": "quarantined", "dagster/partition_row_count": 0},
        )
    )


def report_many(instance: dg.DagsterInstance, batches: int) -> None:
    """Report so many scored batches, in bulk: the events are copies of that of `batch_00.csv`."""
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        columns = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(event_logs)")]
        copied = ", ".join(name for name in columns if name not in ("id", "partition", "event"))
        connection.exec_driver_sql(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {batches}) "  # noqa: S608
            f"INSERT INTO event_logs (partition, event, {copied}) "
            f"SELECT 'many_' || n.i, replace(event, 'batch_00', 'many_' || n.i), {copied} "
            "FROM n, (SELECT * FROM event_logs WHERE partition = 'batch_00.csv' LIMIT 1)"
        )


def cost_of_reading(instance: dg.DagsterInstance) -> tuple[int, int]:
    """Return how many SQL statements a summary takes, and how many hundred steps SQLite does for them."""
    statements, steps = 0, 0

    def count_step() -> int:
        nonlocal steps
        steps += 1
        return 0

    def count_statement(*_: object) -> None:
        nonlocal statements
        statements += 1

    def watch(connection: sqlite3.Connection, _: object) -> None:
        connection.set_progress_handler(count_step, 100)

    event.listen(Pool, "connect", watch)
    event.listen(Engine, "after_cursor_execute", count_statement)
    try:
        read_summary(instance, "secom")
    finally:
        event.remove(Pool, "connect", watch)
        event.remove(Engine, "after_cursor_execute", count_statement)
    return statements, steps


def batches_of(instance: dg.DagsterInstance) -> list[str]:
    return [row["batch"] for row in read_summary(instance, "secom")["predictions"]]


def test_a_summary_costs_the_same_after_twenty_thousand_batches(instance: dg.DagsterInstance) -> None:
    names = [f"batch_{number:02}.csv" for number in range(18)]
    for name in names:
        report_scored(instance, name)
    assert batches_of(instance) == names
    statements, steps = cost_of_reading(instance)

    report_many(instance, 20_000)
    for name in reversed(names):
        report_scored(instance, name)
    assert len(instance.get_materialized_partitions(predictions_key("secom"))) == 20_018
    found = batches_of(instance)
    assert len(found) == LISTED
    assert found == sorted({*names, *found})
    after = cost_of_reading(instance)
    assert after[0] == statements
    assert after[1] <= 2 * steps + LISTED


def test_a_summary_tells_what_was_said_last_of_the_latest_batches(instance: dg.DagsterInstance) -> None:
    report_scored(instance, "refused_since.csv")
    report_scored(instance, "b.csv", alarms=3)
    report_withdrawn(instance, "refused_since.csv")
    for alarms in range(2 * LISTED):  # scored again and again, it takes no other's place
        report_scored(instance, "a.csv", alarms)
    rows = read_summary(instance, "secom")["predictions"]
    assert [(row["batch"], row["alarms"]) for row in rows] == [("a.csv", 2 * LISTED - 1), ("b.csv", 3)]


def test_the_terminal_says_when_there_are_more_batches(instance: dg.DagsterInstance) -> None:
    def shown() -> str:
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(render_summary(read_summary(instance, "secom"), {}))
        return console.export_text()

    report_scored(instance, "batch_00.csv")
    assert "Scored batches" in shown()
    report_many(instance, LISTED)
    assert f"The latest {LISTED} scored batches" in shown()


def test_the_champion_is_the_one_of_now_whatever_a_later_training_decided(instance: dg.DagsterInstance) -> None:
    def report(asset: str, **metadata: object) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(["secom", "training", asset], metadata=metadata))

    bundle = dict.fromkeys(("model", "alias", "policy", "mlflow_run_id"), "a text")
    report("model_bundle", training="a training", version=2, alarm_threshold=0.1, **bundle)
    report("champion", training="a training", decision="keep", reasons="- It is no better.")
    report("champion", decision="promote", reasons="- By a person: It is needed.", champion_version=1)
    assert read_summary(instance, "secom")["champion"]["version"] == 1


def test_facts_of_a_training_are_not_those_of_what_came_after_it(instance: dg.DagsterInstance) -> None:
    key = training_key("secom", "wafer_table")
    for training, rows in (("first", 1), ("second", 2)):
        instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata={"training": training, "rows": rows}))
    facts = {name: training_metadata(instance, key, name)["rows"].value for name in ("first", "second", "third")}
    assert facts == {"first": 1, "second": 2, "third": 2}, "of a training that made none, the latest"


def test_an_asset_that_was_never_materialized_has_no_facts(instance: dg.DagsterInstance) -> None:
    assert latest_metadata(instance, training_key("secom", "wafer_table")) == {}
    assert training_metadata(instance, training_key("secom", "wafer_table"), "a training") == {}
    assert set(read_summary(instance, "secom")) == {"line", "files_to_score", "predictions"}


def test_the_summary_tells_of_the_training_that_registered_the_latest_bundle(instance: dg.DagsterInstance) -> None:
    def report_table(training: str, rows: int) -> None:
        facts = {"training": training, "dagster/row_count": rows, "faulty_wafers": 1, "superseded_rows": 0}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(training_key("secom", "wafer_table"), metadata={**facts, "content_hash": training})
        )

    report_table("first", 100)
    bundle = dict.fromkeys(("model", "alias", "policy", "mlflow_run_id"), "a text")
    facts = {**bundle, "training": "first", "version": 1, "alarm_threshold": 0.1}
    instance.report_runless_asset_event(dg.AssetMaterialization(training_key("secom", "model_bundle"), metadata=facts))
    report_table("second", 200)  # another training has begun since
    table = read_summary(instance, "secom")["table"]
    assert (table["wafers"], table["content_hash"]) == (100, "first")

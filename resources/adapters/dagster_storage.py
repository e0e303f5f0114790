"""What Dagster's storages count in their databases: reading what is counted would take a hundred times as long.

The tables are Dagster's own; `tests/resources/adapters/test_dagster_storage.py` compares every number with what Dagster
says where one asks it for each run, tick or event.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
import sqlalchemy as sql
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import BulkActionsTable, RunsTable
from dagster._core.storage.schedules.schema import JobTickTable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION.value
_OBSERVED = dg.DagsterEventType.ASSET_OBSERVATION.value


@dataclass(frozen=True, slots=True)
class RunCount:
    """Runs of one job in one state.

    Attributes
    ----------
    runs
        How many there are.
    seconds
        That those of them took which have begun and ended.
    oldest
        When the first of them was created, in seconds since 1970.
    """

    job: str
    status: str
    runs: int
    seconds: float
    oldest: float


def run_counts(instance: dg.DagsterInstance) -> list[RunCount]:
    """Count the runs by job and state."""
    columns = RunsTable.c
    query = sql.select(
        columns.pipeline_name,
        columns.status,
        sql.func.count(),
        sql.func.sum(columns.end_time - columns.start_time),
        sql.func.min(columns.create_timestamp),
    ).group_by(columns.pipeline_name, columns.status)
    with _runs(instance) as connection:
        return [
            RunCount(job, status, number, float(seconds or 0), _seconds(oldest))
            for job, status, number, seconds, oldest in connection.execute(query)
        ]


def backfill_counts(instance: dg.DagsterInstance) -> dict[str, int]:
    """Count the backfills by state."""
    status = BulkActionsTable.c.status
    with _runs(instance) as connection:
        found = connection.execute(sql.select(status, sql.func.count()).group_by(status))
        return {row[0]: row[1] for row in found}


def tick_counts(instance: dg.DagsterInstance, selector: str, since: float) -> dict[str, int]:
    """Count the ticks of a sensor or schedule by state, since a moment in seconds since 1970."""
    columns = JobTickTable.c
    moment = datetime.fromtimestamp(since, UTC).replace(tzinfo=None)
    query = (
        sql.select(columns.status, sql.func.count())
        .where(columns.selector_id == selector, columns.timestamp >= moment)
        .group_by(columns.status)
    )
    storage = cast("Any", instance.schedule_storage)
    with storage.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class PartitionCount:
    """Partitions of an asset that came, and those of them that wait for what follows.

    Attributes
    ----------
    oldest
        When the first of those that wait came, in seconds since 1970; None where none waits.
    """

    came: int
    waiting: int
    oldest: float | None


def partition_counts(
    instance: dg.DagsterInstance, key: dg.AssetKey, followers: Sequence[dg.AssetKey]
) -> PartitionCount:
    """Count the partitions of an asset that were materialized, and those that no follower was materialized for since.

    A partition that was observed since has gone, and waits no more.
    """
    came, later = SqlEventLogStorageTable.alias("came"), SqlEventLogStorageTable.alias("later")
    of_key = sql.and_(
        came.c.asset_key == key.to_string(),
        came.c.dagster_event_type == _MATERIALIZED,
        came.c.partition.is_not(None),
    )

    def since(keys: Sequence[dg.AssetKey], event: str) -> Any:
        return sql.exists().where(
            later.c.asset_key.in_([each.to_string() for each in keys]),
            later.c.dagster_event_type == event,
            later.c.partition == came.c.partition,
            later.c.id > came.c.id,
        )

    everything = sql.select(sql.func.count(came.c.partition.distinct())).where(of_key)
    left = sql.select(sql.func.count(came.c.partition.distinct()), sql.func.min(came.c.timestamp)).where(
        of_key, ~since(followers, _MATERIALIZED), ~since([key], _OBSERVED)
    )
    with _events(instance) as connection:
        number = connection.execute(everything).scalar_one()
        waiting, oldest = connection.execute(left).one()
    return PartitionCount(number, waiting, _seconds(oldest) if oldest else None)


def storage_bytes(instance: dg.DagsterInstance) -> int:
    """Return how much the instance keeps: the size of its PostgreSQL database, or of its files."""
    with _events(instance) as connection:
        if connection.dialect.name == "postgresql":
            return int(connection.execute(sql.text("SELECT pg_database_size(current_database())")).scalar_one())
    return sum(file.stat().st_size for file in Path(instance.root_directory).rglob("*") if file.is_file())


def _runs(instance: dg.DagsterInstance) -> "AbstractContextManager[Connection]":
    return cast("Any", instance.run_storage).connect()  # type: ignore[no-any-return]


def _events(instance: dg.DagsterInstance) -> "AbstractContextManager[Connection]":
    return cast("Any", instance.event_log_storage).index_connection()  # type: ignore[no-any-return]


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()  # the storages write UTC and do not say so

"""The training table: one snapshot of all accepted labelled wafers."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from resources.mongo import WaferStore
from resources.wafer_table import WaferTable, WaferTableStore
from wafer_assets.assets.common import OWNERS
from wafer_assets.automation import follows_ledger
from wafer_assets.checks.models import SUPERSEDING_CHECK_SPEC, superseding_check_result
from wafer_assets.keys import training_key
from wafer_assets.operations.table import superseding_batches, update_table


@dg.asset(
    key=training_key("wafer_table"),
    deps=[training_key("batch_ledger")],
    description="All accepted labelled wafers in time order, one row each; of a wafer that several batches "
    "hold, the row of the latest batch. The data version is the hash of the content.",
    group_name="features",
    owners=OWNERS,
    kinds={"pandas", "parquet"},
    code_version="1",
    io_manager_key="tables",
    automation_condition=follows_ledger(),
    check_specs=[SUPERSEDING_CHECK_SPEC],
)
def wafer_table(
    context: dg.AssetExecutionContext, tables: dg.ResourceParam[WaferTableStore], wafers: dg.ResourceParam[WaferStore]
) -> Iterator[dg.Output[WaferTable] | dg.AssetCheckResult]:
    """Merge the records of all accepted batches."""
    table, new = update_table(tables, wafers)
    frame, contents = table.frame, table.contents
    batches = sorted(frame["batch"].unique())
    context.log.info(f"{len(frame)} wafers of {len(batches)} batches, of which {new} are new")
    yield superseding_check_result(superseding_batches(contents, wafers))
    yield dg.Output(
        table,
        data_version=dg.DataVersion(contents.content_hash),
        metadata={
            **_figures(frame),
            "superseded_rows": contents.superseded,
            "content_hash": contents.content_hash,
            "batches": dg.MetadataValue.json(batches),
            "dagster/column_schema": _columns(frame),
        },
    )


def _figures(frame: pd.DataFrame) -> dict[str, Any]:
    return {
        "faulty_wafers": int(frame["faulty"].sum()),
        "fault_rate": float(frame["faulty"].mean()),
        "sensors": len(frame.columns) - 3,
        "missing_cells": float(frame.isna().to_numpy().mean()),
    }


def _columns(frame: pd.DataFrame) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn("wafer", "string", description="wafer id"),
            dg.TableColumn("batch", "string", description="batch file that the row comes from"),
            *(dg.TableColumn(name, "float64") for name in frame.columns[2:-1]),
            dg.TableColumn("faulty", "int8", description="1 faulty, 0 passed"),
        ]
    )

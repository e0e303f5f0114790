"""The training table: one snapshot of all accepted labelled wafers of a line."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from resources.mongo import WaferStore
from resources.wafer_table import WaferTable, WaferTableStore
from schemas.lines import Line
from schemas.loader import BatchSchema
from wafer_assets.assets.common import group, owners
from wafer_assets.automation import follows_ledger
from wafer_assets.checks.models import superseding_check_result, superseding_check_spec
from wafer_assets.keys import name_of, training_key
from wafer_assets.operations.table import superseding_batches, update_table


def table_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that holds a line's training table."""
    tables_key, schema = name_of(line.name, "tables"), BatchSchema.of(line, "training")

    @dg.asset(
        key=training_key(line.name, "wafer_table"),
        deps=[training_key(line.name, "batch_ledger")],
        description="All accepted labelled wafers in time order, one row each; of a wafer that several batches "
        "hold, the row of the latest batch. The data version is the hash of the content.",
        kinds={"pandas", "parquet"},
        code_version="1",
        io_manager_key=tables_key,
        required_resource_keys={tables_key, "wafers"},
        automation_condition=follows_ledger(),
        group_name=group(line, "features"),
        owners=owners(line),
        check_specs=[superseding_check_spec(line.name)],
    )
    def wafer_table(context: dg.AssetExecutionContext) -> Iterator[dg.Output[WaferTable] | dg.AssetCheckResult]:
        """Merge the records of all accepted batches."""
        tables: WaferTableStore = getattr(context.resources, tables_key)
        wafers: WaferStore = context.resources.wafers
        table, new = update_table(tables, wafers, schema)
        frame, contents = table.frame, table.contents
        batches = sorted(frame["batch"].unique())
        context.log.info(f"{len(frame)} wafers of {len(batches)} batches, of which {new} are new")
        superseding = superseding_batches(contents, wafers, schema.line_feed)
        yield superseding_check_result(line.name, superseding)
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

    return wafer_table


def _figures(frame: pd.DataFrame) -> dict[str, Any]:
    from wafer_assets.domain.table import sensor_readings

    return {
        "faulty_wafers": int(frame["faulty"].sum()),
        "fault_rate": float(frame["faulty"].mean()),
        "sensors": sensor_readings(frame).shape[1],
        "missing_cells": float(frame.isna().to_numpy().mean()),
    }


def _columns(frame: pd.DataFrame) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn("wafer", "string", description="wafer id"),
            dg.TableColumn("batch", "string", description="batch file that the row comes from"),
            *(dg.TableColumn(name, "float64") for name in frame.columns.drop(["wafer", "batch", "faulty"])),
            dg.TableColumn("faulty", "int8", description="1 faulty, 0 passed"),
        ]
    )

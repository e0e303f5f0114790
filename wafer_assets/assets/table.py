"""The training table: one snapshot of all accepted labelled wafers."""

import dagster as dg
import pandas as pd

from resources.mongo import WaferStore
from wafer_assets.assets.common import OWNERS, training_key
from wafer_assets.automation import follows_ledger


@dg.asset(
    key=training_key("wafer_table"),
    deps=[training_key("batch_ledger")],
    description="All accepted labelled wafers in time order, one row each; of a wafer that several batches "
    "hold, the row of the latest batch. The data version is the hash of the content.",
    group_name="features",
    owners=OWNERS,
    kinds={"pandas", "parquet"},
    code_version="1",
    io_manager_key="frames",
    automation_condition=follows_ledger(),
)
def wafer_table(context: dg.AssetExecutionContext, wafers: dg.ResourceParam[WaferStore]) -> dg.Output[pd.DataFrame]:
    """Merge the records of all accepted batches, batch by batch."""
    from wafer_assets.domain.table import frame_hash
    from wafer_assets.domain.table import wafer_table as merge

    table, superseded = merge((manifest.batch, frame) for manifest, frame in wafers.read_batches("training"))
    digest = frame_hash(table)
    batches = sorted(table["batch"].unique())
    context.log.info(f"{len(table)} wafers of {len(batches)} batches")
    sensors = len(table.columns) - 3
    return dg.Output(
        table,
        data_version=dg.DataVersion(digest),
        metadata={
            "faulty_wafers": int(table["faulty"].sum()),
            "fault_rate": float(table["faulty"].mean()),
            "superseded_rows": superseded,
            "sensors": sensors,
            "missing_cells": float(table.isna().to_numpy().mean()),
            "content_hash": digest,
            "batches": dg.MetadataValue.json(batches),
            "dagster/column_schema": dg.TableSchema(
                [
                    dg.TableColumn("wafer", "string", description="wafer id"),
                    dg.TableColumn("batch", "string", description="batch file that the row comes from"),
                    *(dg.TableColumn(name, "float64") for name in table.columns[2:-1]),
                    dg.TableColumn("faulty", "int8", description="1 faulty, 0 passed"),
                ]
            ),
        },
    )

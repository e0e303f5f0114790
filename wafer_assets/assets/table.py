"""The training table: one snapshot of all accepted labelled wafers."""

from collections.abc import Iterator

import dagster as dg
import pandas as pd
from pydantic import BaseModel

from resources.io_managers import FrameIOManager
from resources.mongo import WaferStore
from resources.s3 import ObjectNotFoundError, S3Store
from wafer_assets.assets.common import OWNERS
from wafer_assets.automation import follows_ledger
from wafer_assets.keys import training_key, value_key

MERGED_KEY = "training/wafer_table/merged.json"
"""Where the lake keeps which batches the table holds."""


class _Merged(BaseModel):
    """What the last table was made of.

    Attributes
    ----------
    content_hash
        Of that table.
    batches
        Hash of the content of every batch that went into it.
    superseded
        Rows of these that lost to a later batch.
    """

    content_hash: str = ""
    batches: dict[str, str] = {}
    superseded: int = 0


def _last_merged(s3: S3Store) -> _Merged:
    try:
        return _Merged.model_validate_json(s3.get(s3.lake, MERGED_KEY))
    except ObjectNotFoundError:
        return _Merged()


def _last_table(s3: S3Store, content_hash: str) -> pd.DataFrame | None:
    """Read the last table; None where it is not that of the hash, because a run ended between the two writes."""
    from wafer_assets.domain.table import frame_hash

    frames = FrameIOManager(s3)
    try:
        table = frames.decode(s3.get(s3.lake, value_key(training_key("wafer_table"), frames.extension)))
    except ObjectNotFoundError:
        return None
    return table if frame_hash(table) == content_hash else None


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
def wafer_table(
    context: dg.AssetExecutionContext, s3: dg.ResourceParam[S3Store], wafers: dg.ResourceParam[WaferStore]
) -> dg.Output[pd.DataFrame]:
    """Merge the records of all accepted batches, batch by batch; what the last table holds is not read again."""
    from wafer_assets.domain.table import frame_hash
    from wafer_assets.domain.table import wafer_table as merge

    merged = _last_merged(s3)
    accepted = {item.batch: item.sha256 for item in wafers.batches("training", "accepted")}
    # Where a batch was replaced or left, what it had superseded is in no table.
    grows = bool(merged.batches) and merged.batches.items() <= accepted.items()
    base = _last_table(s3, merged.content_hash) if grows else None
    if base is None:
        merged = _Merged()
    known, read = dict(merged.batches), {}

    def new_batches() -> Iterator[tuple[str, pd.DataFrame]]:
        for manifest, frame in wafers.read_batches("training", without=known):
            read[manifest.batch] = str(manifest.sha256)
            yield manifest.batch, frame

    table, lost = merge(new_batches(), base)
    del base  # a large table twice is enough
    superseded = merged.superseded + lost
    digest = frame_hash(table)
    merged = _Merged(content_hash=digest, batches=known | read, superseded=superseded)
    s3.put(s3.lake, MERGED_KEY, merged.model_dump_json().encode())
    batches = sorted(table["batch"].unique())
    context.log.info(f"{len(table)} wafers of {len(batches)} batches, of which {len(read)} are new")
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

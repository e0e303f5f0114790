"""IO managers: values in the lake come back exactly, under keys a person can read."""

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from resources.io_managers import FrameIOManager, NotMaterializedError, ObjectIOManager
from resources.s3 import S3Store
from wafer_assets.domain.preprocessing import Preprocessor

TABLE = pd.DataFrame(
    {
        "wafer": ["Wafer-2", "Wafer-1"],
        "batch": ["a.csv", "a.csv"],
        "Sensor-1": [np.nan, 0.1 + 0.2],
        "Sensor-2": [-0.0, 5e-324],
        "faulty": np.array([0, 1], dtype=np.int8),
    }
)


@dg.asset(key_prefix=["secom", "training"], io_manager_key="frames")
def wafer_table() -> pd.DataFrame:
    return TABLE


@dg.asset(key_prefix=["secom", "training"], io_manager_key="objects")
def preprocessor(wafer_table: pd.DataFrame) -> Preprocessor:
    return Preprocessor().fit(wafer_table[["Sensor-1", "Sensor-2"]])


@dg.asset(
    key_prefix=["secom", "training"],
    io_manager_key="frames",
    partitions_def=dg.StaticPartitionsDefinition(["wafer_28012020_051011.csv"]),
)
def copies(wafer_table: pd.DataFrame) -> pd.DataFrame:
    return wafer_table


@dg.op(out=dg.DynamicOut(io_manager_key="frames"))
def one_by_one(wafer_table: pd.DataFrame):  # type: ignore[no-untyped-def]
    for row in range(len(wafer_table)):
        yield dg.DynamicOutput(wafer_table.iloc[[row]].reset_index(drop=True), mapping_key=f"row_{row}")


@dg.op(out=dg.Out(io_manager_key="frames"))
def unchanged(row: pd.DataFrame) -> pd.DataFrame:
    return row


@dg.op(out=dg.Out(io_manager_key="frames"))
def together(rows: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(rows, ignore_index=True)


@dg.graph_asset(
    key_prefix=["secom", "training"], ins={"wafer_table": dg.AssetIn(key=["secom", "training", "wafer_table"])}
)
def rebuilt(wafer_table: pd.DataFrame) -> pd.DataFrame:
    return together(one_by_one(wafer_table).map(unchanged).collect())  # type: ignore[no-any-return]


def materialize(s3: S3Store, *assets: dg.AssetsDefinition, **options: object) -> dg.ExecuteInProcessResult:
    everything = [wafer_table, preprocessor, copies, rebuilt]
    return dg.materialize(
        everything,
        selection=list(assets),
        resources={"frames": FrameIOManager(s3, "secom"), "objects": ObjectIOManager(s3, "secom")},
        **options,  # type: ignore[arg-type]
    )


def keys(s3: S3Store) -> set[str]:
    return {item.key for item in s3.list_objects(s3.lake)}


def test_a_frame_is_one_readable_object_that_comes_back_exactly(s3: S3Store) -> None:
    run = materialize(s3, wafer_table)
    assert keys(s3) == {"secom/training/wafer_table/wafer_table.parquet"}
    pd.testing.assert_frame_equal(
        FrameIOManager(s3, "secom").decode(s3.get(s3.lake, "secom/training/wafer_table/wafer_table.parquet")),
        TABLE,
        check_exact=True,
    )
    metadata = run.asset_materializations_for_node("secom__training__wafer_table")[0].metadata
    assert metadata["uri"].value == "s3://lake/secom/training/wafer_table/wafer_table.parquet"
    assert metadata["size_bytes"].value == s3.list_objects(s3.lake)[0].size
    assert metadata["dagster/row_count"].value == 2


def test_an_estimator_made_from_a_stored_frame_works_when_it_comes_back(s3: S3Store) -> None:
    materialize(s3, wafer_table)
    fitted = materialize(s3, preprocessor).output_for_node("secom__training__preprocessor")
    stored = s3.get(s3.lake, "secom/training/preprocessor/preprocessor.skops")
    loaded = ObjectIOManager(s3, "secom").decode(stored)
    assert isinstance(loaded, Preprocessor)
    sensors = TABLE[["Sensor-1", "Sensor-2"]]
    pd.testing.assert_frame_equal(loaded.transform(sensors), fitted.transform(sensors))
    assert b"pickle" not in stored


def test_a_partition_is_an_object_of_its_own(s3: S3Store) -> None:
    materialize(s3, wafer_table)
    materialize(s3, copies, partition_key="wafer_28012020_051011.csv")
    assert "secom/training/copies/wafer_28012020_051011.csv.parquet" in keys(s3)


def test_ops_that_fan_out_inside_an_asset_hand_frames_on(s3: S3Store) -> None:
    materialize(s3, wafer_table)
    run = materialize(s3, rebuilt)
    pd.testing.assert_frame_equal(run.output_for_node("secom__training__rebuilt"), TABLE)
    assert "secom/training/rebuilt/rebuilt.parquet" in keys(s3)
    assert sum(key.startswith(f"runs/{run.run_id}/") for key in keys(s3)) == 4


def test_a_missing_value_names_the_asset_to_materialize(s3: S3Store) -> None:
    with pytest.raises(NotMaterializedError, match="Materialize secom/training/wafer_table first"):
        materialize(s3, preprocessor)


def test_something_else_than_a_frame_is_refused(s3: S3Store) -> None:
    with pytest.raises(TypeError, match="`objects` IO manager"):
        FrameIOManager(s3, "secom").encode([1, 2])

"""Wafers as requests to the scoring server, and what a batch of them gives."""

import json
from typing import Any

import pandas as pd

from schemas.loader import load_schema
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.scoring import Bundle, make_bundle, score
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import FaultModel

SCHEMA = load_schema("prediction")
WAFERS = simulate_table(50, seed=2)[["wafer", *SCHEMA.sensors]]
VERSION = 7
JSON, CSV = "application/json", "text/csv"


def small_bundle(seed: int = 0) -> Bundle:
    """Train a bundle in a second."""
    table = simulate_table(400, seed=1, fault_rate=0.15)
    model = FaultModel(ModelConfig(k=2, folds=2, xgboost_trees=10, forest_trees=10, seed=seed))
    readings = sensor_readings(table)
    model.fit(readings, table["faulty"])
    features = model.preprocessor_.transform(readings)
    return make_bundle(
        model,
        table,
        model.clusterer_.predict(features),
        model.clusterer_.coordinates(features)[:, :2],
        contract_version="1.0",
        optional=SCHEMA.optional_columns,
        card={},
    )


def cells(frame: pd.DataFrame) -> list[list[Any]]:
    return [[None if cell != cell else cell for cell in row] for row in frame.to_numpy(dtype=object).tolist()]


def split(frame: pd.DataFrame) -> bytes:
    return json.dumps({"dataframe_split": {"columns": list(frame), "data": cells(frame)}}).encode()


def records(frame: pd.DataFrame, name: str = "dataframe_records") -> bytes:
    return json.dumps({name: [dict(zip(frame, row, strict=True)) for row in cells(frame)]}).encode()


def instances(frame: pd.DataFrame) -> bytes:
    return records(frame, "instances")


def inputs(frame: pd.DataFrame) -> bytes:
    columns = {name: [row[place] for row in cells(frame)] for place, name in enumerate(frame)}
    return json.dumps({"inputs": columns}).encode()


def csv(frame: pd.DataFrame, header: str = "Wafer") -> bytes:
    return frame.rename(columns={"wafer": header}).to_csv(index=False).encode()


def expected(bundle: Bundle, wafers: pd.DataFrame, version: int = VERSION) -> list[dict[str, Any]]:
    """Return the rows that a batch of the wafers gets."""
    return score(bundle, wafers, version).rows.to_dict("records")  # type: ignore[return-value]


FORMATS = [(split, JSON), (records, JSON), (instances, JSON), (inputs, JSON), (csv, CSV)]

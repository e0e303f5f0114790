"""Preprocessing: fitted on the training table, and the features it makes of it."""

import dagster as dg
import pandas as pd

from resources.model_config import FaultModelConfig
from resources.trainings import POOL
from wafer_assets.assets.common import OWNERS, Preprocessor, training_input
from wafer_assets.keys import training_key


@dg.asset(
    key=training_key("preprocessor"),
    ins={"table": training_input("wafer_table")},
    description="Fitted preprocessing: drops constant and mostly missing sensors, imputes medians, scales, "
    "clips and marks missing readings.",
    group_name="features",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version="1",
    pool=POOL,
    io_manager_key="objects",
)
def preprocessor(table: pd.DataFrame, model: FaultModelConfig) -> dg.Output[Preprocessor]:
    """Fit the preprocessing on all wafers of the table."""
    from wafer_assets.domain.table import sensor_readings
    from wafer_assets.domain.training import fit_preprocessor

    fitted = fit_preprocessor(sensor_readings(table), model.values)
    kept, indicators = len(fitted.sensors_), len(fitted.indicators_)
    return dg.Output(
        fitted,
        metadata={
            "sensors": fitted.n_features_in_,
            "kept_sensors": kept,
            "dropped_sensors": fitted.n_features_in_ - kept,
            "missing_indicators": indicators,
        },
    )


@dg.asset(
    key=training_key("features"),
    ins={"table": training_input("wafer_table"), "preprocessor": training_input("preprocessor")},
    description="The preprocessed wafers, a row each in the order of the table, in standard deviations.",
    group_name="features",
    owners=OWNERS,
    kinds={"pandas", "parquet"},
    code_version="1",
    pool=POOL,
    io_manager_key="frames",
)
def features(table: pd.DataFrame, preprocessor: Preprocessor) -> dg.Output[pd.DataFrame]:
    """Apply the fitted preprocessing to the table."""
    from wafer_assets.domain.table import sensor_readings

    frame = pd.DataFrame(preprocessor.transform(sensor_readings(table)))
    return dg.Output(
        frame,
        metadata={
            "features": frame.shape[1],
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, "float32", description="standard deviations") for name in frame.columns]
            ),
        },
    )

"""Preprocessing: fitted on the training table, and the features it makes of it."""

import dagster as dg
import pandas as pd

from resources.trainings import training_pool
from schemas.lines import Line
from wafer_assets.assets.common import (
    Preprocessor,
    group,
    hyperparameters,
    owners,
    training_input,
    with_hyperparameters,
)
from wafer_assets.keys import name_of, training_key


def preprocessor_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that holds a line's fitted preprocessing."""

    @dg.asset(
        key=training_key(line.name, "preprocessor"),
        ins={"table": training_input(line, "wafer_table")},
        description="Fitted preprocessing: drops constant and mostly missing sensors, imputes medians, scales, "
        "clips and marks missing readings.",
        kinds={"scikitlearn"},
        code_version="1",
        io_manager_key=name_of(line.name, "objects"),
        group_name=group(line, "features"),
        owners=owners(line),
        pool=training_pool(line.name),
        required_resource_keys=with_hyperparameters(line),
    )
    def preprocessor(context: dg.AssetExecutionContext, table: pd.DataFrame) -> dg.Output[Preprocessor]:
        """Fit the preprocessing on all wafers of the table."""
        from wafer_assets.domain.table import sensor_readings
        from wafer_assets.domain.training import fit_preprocessor

        fitted = fit_preprocessor(sensor_readings(table), hyperparameters(context, line))
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

    return preprocessor


def features_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that holds a line's preprocessed wafers."""

    @dg.asset(
        key=training_key(line.name, "features"),
        ins={"table": training_input(line, "wafer_table"), "preprocessor": training_input(line, "preprocessor")},
        description="The preprocessed wafers, a row each in the order of the table, in standard deviations.",
        kinds={"pandas", "parquet"},
        code_version="1",
        pool=training_pool(line.name),
        io_manager_key=name_of(line.name, "frames"),
        group_name=group(line, "features"),
        owners=owners(line),
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

    return features

"""The bundle: everything that prediction needs, as one registered model version."""

from typing import Any

import dagster as dg
import pandas as pd

from resources.mlflow import CHALLENGER, LineTracking
from resources.s3 import S3Store
from resources.trainings import Provenance, training_id, training_pool
from schemas.lines import Line
from schemas.loader import BatchSchema
from wafer_assets.assets.common import (
    Clusterer,
    GroupModels,
    Preprocessor,
    group,
    hyperparameters,
    owners,
    training_input,
    with_hyperparameters,
)
from wafer_assets.keys import model_card_key, name_of, training_key
from wafer_assets.operations.registration import OtherTableError, Pieces, make_bundle_of, register


def model_bundle_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that registers a line's bundles."""
    schema = BatchSchema.of(line, "training")

    @dg.asset(
        key=training_key(line.name, "model_bundle"),
        ins={
            "table": training_input(line, "wafer_table"),
            "preprocessor": training_input(line, "preprocessor"),
            "clusterer": training_input(line, "clusterer"),
            "labels": training_input(line, "cluster_labels"),
            "groups": training_input(line, "cluster_models"),
            # Nothing is registered before its quality is known, and with it what it is compared by later.
            "out_of_fold": training_input(line, "evaluation"),
        },
        description="Preprocessing, clusterer, models, calibration and alarm threshold as one version of the "
        "registered model, with the alias `challenger`.",
        kinds={"mlflow"},
        code_version="2",
        io_manager_key=name_of(line.name, "objects"),
        group_name=group(line, "models"),
        owners=owners(line),
        pool=training_pool(line.name),
        required_resource_keys=with_hyperparameters(line, "tracking", "s3"),
    )
    def model_bundle(
        context: dg.AssetExecutionContext,
        table: pd.DataFrame,
        preprocessor: Preprocessor,
        clusterer: Clusterer,
        labels: pd.DataFrame,
        groups: list[GroupModels],
        out_of_fold: pd.DataFrame,
    ) -> dg.MaterializeResult[dict[str, Any]]:
        """Put the fitted pieces together and register them; hand on the version, with what it comes from.

        All pieces, and the run's hyperparameters, must belong to one training and one table; so must the latest
        ones, where this asset is materialized alone. `resources.trainings.require_fit` is the rule in full.
        """
        from wafer_assets.domain.table import frame_hash

        s3: S3Store = context.resources.s3
        tracking: LineTracking = context.resources.tracking.of(line.name)
        config = hyperparameters(context, line)
        origin = Provenance(training_id(context.run), config.content_hash, frame_hash(table))
        pieces = Pieces(table, preprocessor, clusterer, labels, groups, out_of_fold)
        try:
            bundle = make_bundle_of(pieces, schema, config, origin.table_hash)
        except OtherTableError as error:
            raise dg.Failure(str(error), metadata=error.counts) from error
        with tracking.run(context.run) as run:
            version, size = register(run, tracking, s3, schema, pieces, bundle, origin, context.run_id)
        return dg.MaterializeResult(
            value={"version": version.version, **origin.as_tags()},
            metadata={
                "model_card": dg.MetadataValue.url(s3.page_url(model_card_key(line.name, version.version))),
                "model": version.name,
                "version": version.version,
                "alias": CHALLENGER,
                "size_bytes": size,
                "alarm_threshold": bundle.model.threshold_,
                "policy": config.policy,
                "table_hash": origin.table_hash,
                "mlflow_run_id": run.run_id,
            },
            data_version=dg.DataVersion(str(version.version)),
        )

    return model_bundle

"""The bundle: everything that prediction needs, as one registered model version."""

from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from resources.mlflow import CHALLENGER, BundleVersion, LineTracking
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

if TYPE_CHECKING:
    from wafer_assets.domain.config import ModelConfig
    from wafer_assets.domain.scoring import Bundle


def model_bundle_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that registers a line's bundles."""
    schema = BatchSchema.of(line, "training")

    @dg.asset(
        key=training_key(line.name, "model_bundle"),
        ins={name: training_input(line, asset) for name, asset in _INPUTS.items()},
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
            metadata=_metadata(line, s3, version, bundle, config)
            | {"size_bytes": size, "table_hash": origin.table_hash, "mlflow_run_id": run.run_id},
            data_version=dg.DataVersion(str(version.version)),
        )

    return model_bundle


_INPUTS = {
    "table": "wafer_table",
    "preprocessor": "preprocessor",
    "clusterer": "clusterer",
    "labels": "cluster_labels",
    "groups": "cluster_models",
    # Nothing is registered before its quality is known, and with it what it is compared by later.
    "out_of_fold": "evaluation",
}


def _metadata(
    line: Line, s3: S3Store, version: BundleVersion, bundle: "Bundle", config: "ModelConfig"
) -> dict[str, Any]:
    """Return what people read of a version."""
    return {
        "model_card": dg.MetadataValue.url(s3.page_url(model_card_key(line.name, version.version))),
        "model": version.name,
        "version": version.version,
        "alias": CHALLENGER,
        "alarm_threshold": bundle.model.threshold_,
        "policy": config.policy,
    }

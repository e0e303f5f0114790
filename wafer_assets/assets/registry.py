"""The bundle: everything that prediction needs, as one registered model version."""

import dagster as dg
import pandas as pd

from resources.io_managers import FrameIOManager, value_key
from resources.mlflow import Tracking
from resources.model_config import FaultModelConfig
from resources.s3 import S3Store
from schemas.loader import BatchSchema
from wafer_assets.assets.common import (
    OWNERS,
    Clusterer,
    GroupModels,
    Preprocessor,
    training_input,
    training_key,
)


def model_bundle_asset(schema: BatchSchema) -> dg.AssetsDefinition:
    """Build the asset that registers bundles for files of `schema`."""

    @dg.asset(
        key=training_key("model_bundle"),
        ins={
            "table": training_input("wafer_table"),
            "preprocessor": training_input("preprocessor"),
            "clusterer": training_input("clusterer"),
            "labels": training_input("cluster_labels"),
            "groups": training_input("cluster_models"),
        },
        # Nothing is registered before its quality is known.
        deps=[training_key("evaluation")],
        description="Preprocessing, clusterer, models, calibration and alarm threshold as one version of the "
        "registered model, with the alias `challenger`.",
        group_name="models",
        owners=OWNERS,
        kinds={"mlflow"},
        code_version="1",
        io_manager_key="objects",
    )
    def model_bundle(
        context: dg.AssetExecutionContext,
        table: pd.DataFrame,
        preprocessor: Preprocessor,
        clusterer: Clusterer,
        labels: pd.DataFrame,
        groups: list[GroupModels],
        model: FaultModelConfig,
        tracking: dg.ResourceParam[Tracking],
        s3: dg.ResourceParam[S3Store],
    ) -> dg.MaterializeResult[None]:
        """Put the fitted pieces together and register them."""
        from wafer_assets.domain.persistence import dump
        from wafer_assets.domain.table import frame_hash
        from wafer_assets.domain.training import assemble

        config = model.values
        bundle = assemble(
            preprocessor,
            clusterer,
            groups[0],
            groups[1:],
            labels["cluster"].to_numpy(),
            labels["faulty"].to_numpy(dtype=int),
            config,
        )
        content, digest = dump(bundle), frame_hash(table)
        table_key = value_key(training_key("wafer_table"), FrameIOManager.extension)
        batches = sorted(table["batch"].unique())
        with tracking.run(context.run) as run:
            run.log_params(config.model_dump())
            run.log_metrics({"alarm_threshold": bundle.threshold_})
            run.log_dataset(
                "training/wafer_table",
                content_hash=digest,
                source=f"s3://{s3.lake}/{table_key}",
                rows=len(table),
                batches=batches,
            )
            version = tracking.register_bundle(
                run,
                content,
                sensors=schema.sensors,
                optional=schema.optional_columns,
                tags={
                    "table_hash": digest,
                    "contract_version": schema.contract_version,
                    "dagster_run_id": context.run_id,
                },
            )
        return dg.MaterializeResult(
            metadata={
                "model": version.name,
                "version": version.version,
                "alias": "challenger",
                "size_bytes": len(content),
                "alarm_threshold": bundle.threshold_,
                "policy": config.policy,
                "table_hash": digest,
                "mlflow_run_id": run.run_id,
            },
            data_version=dg.DataVersion(str(version.version)),
        )

    return model_bundle

"""The bundle: everything that prediction needs, as one registered model version."""

from typing import Any

import dagster as dg
import pandas as pd

from resources.io_managers import FrameIOManager
from resources.mlflow import OUT_OF_FOLD, Tracking
from resources.model_config import FaultModelConfig
from resources.s3 import S3Store
from resources.trainings import POOL, Provenance, training_id
from schemas.loader import BatchSchema
from wafer_assets.assets.common import OWNERS, Clusterer, GroupModels, Preprocessor, training_input
from wafer_assets.keys import model_card_key, training_key, value_key


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
            # Nothing is registered before its quality is known, and with it what it is compared by later.
            "out_of_fold": training_input("evaluation"),
        },
        description="Preprocessing, clusterer, models, calibration and alarm threshold as one version of the "
        "registered model, with the alias `challenger`.",
        group_name="models",
        owners=OWNERS,
        kinds={"mlflow"},
        code_version="2",
        pool=POOL,
        io_manager_key="objects",
    )
    def model_bundle(
        context: dg.AssetExecutionContext,
        table: pd.DataFrame,
        preprocessor: Preprocessor,
        clusterer: Clusterer,
        labels: pd.DataFrame,
        groups: list[GroupModels],
        out_of_fold: pd.DataFrame,
        model: FaultModelConfig,
        tracking: dg.ResourceParam[Tracking],
        s3: dg.ResourceParam[S3Store],
    ) -> dg.MaterializeResult[dict[str, Any]]:
        """Put the fitted pieces together and register them; hand on the version, with what it comes from.

        All pieces, and the run's hyperparameters, must belong to one training and one table; so must the latest
        ones, where this asset is materialized alone. `resources.trainings.require_fit` is the rule in full.
        """
        from wafer_assets.domain.evaluation import quality
        from wafer_assets.domain.persistence import dump
        from wafer_assets.domain.report import model_card
        from wafer_assets.domain.scoring import make_bundle
        from wafer_assets.domain.table import frame_hash
        from wafer_assets.domain.training import assemble

        _require_same_wafers(out_of_fold, table)
        config, digest = model.values, frame_hash(table)
        origin = Provenance(training_id(context.run), config.content_hash, digest)
        clusters, faulty = labels["cluster"].to_numpy(), labels["faulty"].to_numpy(dtype=int)
        fitted = assemble(preprocessor, clusterer, groups[0], groups[1:], clusters, faulty, config)
        table_key = value_key(training_key("wafer_table"), FrameIOManager.extension)
        batches = sorted(table["batch"].unique())
        card = {
            "table_hash": digest,
            "batches": batches,
            "wafers": len(table),
            "faults": int(faulty.sum()),
            "policy": config.policy,
            "threshold": fitted.threshold_,
            "config": config.model_dump(),
            "quality": quality(out_of_fold, seed=config.seed),
            "clusters": [
                {
                    "cluster": group.cluster,
                    "wafers": group.n_wafers,
                    "faulty_wafers": group.n_faults,
                    "weight": group.weight,
                }
                for group in groups[1:]
            ],
        }
        bundle = make_bundle(
            fitted,
            table,
            clusters,
            labels[["pc1", "pc2"]].to_numpy(),
            contract_version=schema.contract_version,
            optional=schema.optional_columns,
            card=card,
        )
        content = dump(bundle)
        with tracking.run(context.run) as run:
            run.log_params(config.model_dump())
            run.log_metrics({"alarm_threshold": fitted.threshold_})
            run.log_dataset(
                "training/wafer_table",
                content_hash=digest,
                source=f"s3://{s3.lake}/{table_key}",
                rows=len(table),
                batches=batches,
            )
            run.log_bytes(OUT_OF_FOLD, FrameIOManager(s3).encode(out_of_fold))
            version = tracking.register_bundle(
                run,
                content,
                sensors=schema.sensors,
                optional=schema.optional_columns,
                tags={
                    **origin.as_tags(),
                    "contract_version": schema.contract_version,
                    "dagster_run_id": context.run_id,
                },
            )
            page = model_card(bundle, version.version, version.name)
            run.log_bytes("model_card.html", page)
        card_key = model_card_key(version.version)
        s3.put(s3.lake, card_key, page)
        return dg.MaterializeResult(
            value={"version": version.version, **origin.as_tags()},
            metadata={
                "model_card": dg.MetadataValue.url(s3.page_url(card_key)),
                "model": version.name,
                "version": version.version,
                "alias": "challenger",
                "size_bytes": len(content),
                "alarm_threshold": fitted.threshold_,
                "policy": config.policy,
                "table_hash": digest,
                "mlflow_run_id": run.run_id,
            },
            data_version=dg.DataVersion(str(version.version)),
        )

    return model_bundle


def _require_same_wafers(out_of_fold: pd.DataFrame, table: pd.DataFrame) -> None:
    """Fail unless the evaluation tested exactly the wafers of the table, with the same outcomes."""
    tested = out_of_fold[out_of_fold["protocol"] == "repeated_k_fold"]
    evaluated = dict(zip(tested["wafer"], tested["faulty"], strict=True))
    wafers = dict(zip(table["wafer"], table["faulty"], strict=True))
    if evaluated != wafers:
        different = len(dict(evaluated.items() ^ wafers.items()))
        raise dg.Failure(
            f"training/evaluation is of another table: {different} wafers, or their outcomes, differ from the "
            f"{len(wafers)} of training/wafer_table. Materialize training/evaluation again.",
            metadata={"evaluated_wafers": len(evaluated), "table_wafers": len(wafers), "different_wafers": different},
        )

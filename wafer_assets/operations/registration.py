"""Registering a bundle: the fitted pieces of a training become one version of the model, with its card."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.io_managers import FrameIOManager
from resources.mlflow import OUT_OF_FOLD, BundleVersion, LineTracking, TrackedRun
from resources.s3 import S3Store
from resources.trainings import Provenance
from resources.wafer_table import table_key
from schemas.loader import BatchSchema
from wafer_assets.keys import model_card_key, training_key

if TYPE_CHECKING:
    import pandas as pd

    from wafer_assets.domain.clustering import Clusterer
    from wafer_assets.domain.config import ModelConfig
    from wafer_assets.domain.preprocessing import Preprocessor
    from wafer_assets.domain.scoring import Bundle
    from wafer_assets.domain.training import GroupModels


class OtherTableError(ValueError):
    """An evaluation tested other wafers, or other outcomes, than the table holds."""

    code = "other_table"

    def __init__(self, line: str, evaluated: int, wafers: int, different: int) -> None:
        evaluation, table = (training_key(line, name).to_user_string() for name in ("evaluation", "wafer_table"))
        super().__init__(
            f"{evaluation} is of another table: {different} wafers, or their outcomes, differ from the "
            f"{wafers} of {table}. Materialize {evaluation} again."
        )
        self.counts = {"evaluated_wafers": evaluated, "table_wafers": wafers, "different_wafers": different}


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a training has made.

    Attributes
    ----------
    table
        The wafer table.
    labels
        Outcome, cluster and place of each of its wafers, in its order.
    groups
        The models: of all wafers first, then of each cluster.
    out_of_fold
        The evaluation's predictions of these very wafers.
    """

    table: "pd.DataFrame"
    preprocessor: "Preprocessor"
    clusterer: "Clusterer"
    labels: "pd.DataFrame"
    groups: "Sequence[GroupModels]"
    out_of_fold: "pd.DataFrame"


def make_bundle_of(pieces: Pieces, schema: BatchSchema, config: "ModelConfig", table_hash: str) -> "Bundle":
    """Put the pieces together: everything that prediction needs, with its card.

    Raises
    ------
    OtherTableError
        The evaluation is of other wafers than the table.
    """
    from wafer_assets.domain.scoring import make_bundle
    from wafer_assets.domain.training import assemble

    require_same_wafers(schema.line, pieces.out_of_fold, pieces.table)
    labels, groups = pieces.labels, pieces.groups
    clusters, faulty = labels["cluster"].to_numpy(), labels["faulty"].to_numpy(dtype=int)
    fitted = assemble(pieces.preprocessor, pieces.clusterer, groups[0], groups[1:], clusters, faulty, config)
    return make_bundle(
        fitted,
        pieces.table,
        clusters,
        labels[["pc1", "pc2"]].to_numpy(),
        contract_version=schema.contract_version,
        optional=schema.optional_columns,
        card=_card(pieces, config, table_hash, fitted.threshold_),
    )


def _card(pieces: Pieces, config: "ModelConfig", table_hash: str, threshold: float) -> dict[str, Any]:
    from wafer_assets.domain.evaluation import folds_of, quality

    return {
        "table_hash": table_hash,
        "batches": batches_of(pieces.table),
        "wafers": len(pieces.table),
        "faults": int(pieces.labels["faulty"].sum()),
        "folds": folds_of(pieces.out_of_fold),
        "policy": config.policy,
        "threshold": threshold,
        "config": config.model_dump(),
        "quality": quality(pieces.out_of_fold, seed=config.seed),
        "clusters": [
            {
                "cluster": group.cluster,
                "wafers": group.n_wafers,
                "faulty_wafers": group.n_faults,
                "weight": group.weight,
            }
            for group in pieces.groups[1:]
        ],
    }


def register(
    run: TrackedRun,
    tracking: LineTracking,
    s3: S3Store,
    schema: BatchSchema,
    pieces: Pieces,
    bundle: "Bundle",
    origin: Provenance,
    dagster_run_id: str,
) -> tuple[BundleVersion, int]:
    """Register a bundle as the next version of the model, with what it comes from, and write its card.

    Returns
    -------
    version
    size
        Of the bundle's file, in bytes.
    """
    from wafer_assets.domain.persistence import dump
    from wafer_assets.domain.report import model_card

    content, table = dump(bundle), table_key(schema.line)
    run.log_params(bundle.card["config"])
    run.log_metrics({"alarm_threshold": bundle.model.threshold_})
    run.log_dataset(
        table.removesuffix(".parquet").rpartition("/")[0],
        content_hash=origin.table_hash,
        source=f"s3://{s3.lake}/{table}",
        rows=len(pieces.table),
        batches=batches_of(pieces.table),
    )
    run.log_bytes(OUT_OF_FOLD, FrameIOManager(s3, schema.line).encode(pieces.out_of_fold))
    version = tracking.register_bundle(
        run,
        content,
        sensors=schema.sensors,
        optional=schema.optional_columns,
        tags={
            **origin.as_tags(),
            "contract_version": schema.contract_version,
            "dagster_run_id": dagster_run_id,
        },
    )
    page = model_card(bundle, version.version, version.name)
    run.log_bytes("model_card.html", page)
    s3.put(s3.lake, model_card_key(schema.line, version.version), page)
    return version, len(content)


def batches_of(table: "pd.DataFrame") -> list[str]:
    """Return the batches that a wafer table has rows of, by name."""
    return sorted(table["batch"].unique())


def require_same_wafers(line: str, out_of_fold: "pd.DataFrame", table: "pd.DataFrame") -> None:
    """Require that an evaluation of a line tested exactly the wafers of a table, with the same outcomes.

    Raises
    ------
    OtherTableError
        Some of them differ, or their outcomes do; `counts` says how many.
    """
    tested = out_of_fold[out_of_fold["protocol"] == "repeated_k_fold"]
    evaluated = dict(zip(tested["wafer"], tested["faulty"], strict=True))
    wafers = dict(zip(table["wafer"], table["faulty"], strict=True))
    if evaluated != wafers:
        raise OtherTableError(line, len(evaluated), len(wafers), len(dict(evaluated.items() ^ wafers.items())))

"""Predictions: the champion's word on every accepted wafer, and what it could not score.

`wafer_assets.operations.scoring` scores; here is what Dagster is told of it.
"""

from collections.abc import Iterator
from contextlib import suppress

import dagster as dg
import pandas as pd

from resources.champion import NoChampionError, load_champion
from resources.mlflow import Tracking
from resources.mongo import WaferStore
from resources.predictions import BatchReplacedError, PredictionStore
from resources.s3 import S3Store
from resources.store_errors import in_short, is_outage
from wafer_assets.assets.common import OWNERS, STORE_RETRIES
from wafer_assets.automation import new_records
from wafer_assets.keys import DATA_VERSION, PREDICTIONS, REFUSALS, feed_key, training_key
from wafer_assets.operations.scoring import BatchScores, Scorer, withdraw
from wafer_assets.partitions import BATCHES

LISTED = 20  # wafers of the inspection list that the UI shows; the report shows all


# Nobody materializes a refusal: scoring reports it, and so the batch waits for another champion.
refusals = dg.AssetSpec(
    REFUSALS,
    deps=[feed_key("prediction", "wafer_records")],
    description="A batch that the champion of the time could not score, with the reason. It is tried again when its "
    "records change or a champion is decided on, and not before.",
    group_name="prediction",
    owners=OWNERS,
    partitions_def=BATCHES["prediction"],
)


@dg.multi_asset(
    name="score_batches",
    specs=[
        dg.AssetSpec(
            PREDICTIONS,
            deps=[feed_key("prediction", "wafer_records"), training_key("champion")],
            description="Each wafer's probability of a fault, the decision, and the sensors that drove it; a CSV "
            "file and a report per batch, and a document per wafer in MongoDB.",
            group_name="prediction",
            owners=OWNERS,
            kinds={"s3", "csv", "mongodb"},
            partitions_def=BATCHES["prediction"],
            # Every batch has an event of its own, but one output would mark all batches of a range at once.
            skippable=True,
            code_version="1",
            automation_condition=new_records(training_key("champion"), REFUSALS),
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=STORE_RETRIES,
)
def score_batches(
    context: dg.AssetExecutionContext,
    s3: dg.ResourceParam[S3Store],
    wafers: dg.ResourceParam[WaferStore],
    predictions: dg.ResourceParam[PredictionStore],
    tracking: dg.ResourceParam[Tracking],
) -> Iterator[dg.AssetMaterialization]:
    """Score the accepted batches of the run with one and the same bundle; a refused batch has no predictions."""
    wanted = set(context.partition_keys)
    manifests = [item for item in wafers.batches("prediction") if item.batch in wanted]
    accepted = [item.batch for item in manifests if item.status == "accepted"]
    for manifest in manifests:
        if manifest.status == "quarantined":
            yield from _withdrawn(manifest.batch, s3, predictions)
    if not accepted:
        context.log.info("None of these batches is accepted: there is nothing to score.")
        return
    try:
        version, bundle = load_champion(tracking)
    except NoChampionError as error:
        yield from (_refusal(batch, str(error)) for batch in accepted)
        raise dg.Failure(
            f"{error} {len(accepted)} batches wait, and are scored once there is one.", allow_retries=False
        ) from error
    scorer = Scorer(version, bundle, context.run_id, s3, wafers, predictions)
    failures: dict[str, str] = {}
    for number, batch in enumerate(accepted, 1):
        yield _scored(scorer, batch, failures)
        if number % 10 == 0 or number == len(accepted):
            context.log.info(f"{number - len(failures)} of {len(accepted)} batches scored")
    if failures:
        raise dg.Failure(
            f"{version.name} version {version.version} could not score {len(failures)} of {len(accepted)} batches. "
            f"{' '.join(f'{batch}: {reason}' for batch, reason in failures.items())}",
            allow_retries=False,
        )


def _scored(scorer: Scorer, batch: str, failures: dict[str, str]) -> dg.AssetMaterialization:
    """Score a batch; note why the bundle cannot."""
    try:
        scores = scorer.score(batch)
        return _materialization(scores, scorer.s3) if scores else _withdrawal(batch)
    except Exception as error:
        if is_outage(error):
            raise
        failures[batch] = in_short(error)
        version = scorer.version
        return _refusal(batch, f"{version.name} version {version.version}: {failures[batch]}")


def _withdrawn(batch: str, s3: S3Store, predictions: PredictionStore) -> Iterator[dg.AssetMaterialization]:
    # One that leaves the quarantine just now asks to be scored by its new records.
    with suppress(BatchReplacedError):
        withdraw(batch, s3, predictions)
        yield _withdrawal(batch)


def _refusal(batch: str, reason: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(REFUSALS, partition=batch, metadata={"reason": reason})


def _withdrawal(batch: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        PREDICTIONS,
        partition=batch,
        metadata={"status": "quarantined", "dagster/partition_row_count": 0},
        tags={DATA_VERSION: "quarantined"},
    )


def _materialization(scores: BatchScores, s3: S3Store) -> dg.AssetMaterialization:
    scored = scores.batch
    return dg.AssetMaterialization(
        PREDICTIONS,
        partition=scored.batch,
        metadata={
            "status": "scored",
            "report": dg.MetadataValue.url(s3.page_url(scored.report)),
            "uri": dg.MetadataValue.path(f"s3://{s3.lake}/{scored.csv}"),
            "dagster/partition_row_count": scored.wafers,
            "alarms": scored.alarms,
            "highest_probability": float(scores.rows["probability"].max()),
            "bundle": f"{scored.model} version {scored.bundle_version}",
            "bundle_version": scored.bundle_version,
            "inspection_list": _inspection_list(scores.rows),
        },
        tags={DATA_VERSION: scored.data_version},
    )


def _inspection_list(rows: pd.DataFrame) -> dg.TableMetadataValue:
    riskiest = rows.sort_values("probability", ascending=False, kind="stable").head(LISTED)
    records = riskiest[["wafer", "probability", "faulty", "cluster", "drivers"]].round(4).to_dict("records")
    return dg.MetadataValue.table(
        [dg.TableRecord({str(name): value for name, value in record.items()}) for record in records]
    )

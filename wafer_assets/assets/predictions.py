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
from resources.promotions import PromotionLog
from resources.s3 import S3Store
from resources.store_errors import in_short, is_outage
from schemas.lines import Line, LineFeed
from wafer_assets.assets.common import STORE_RETRIES, group, owners
from wafer_assets.automation import new_records
from wafer_assets.keys import DATA_VERSION, feed_key, name_of, predictions_key, refusals_key, training_key
from wafer_assets.operations.champion import against_rule
from wafer_assets.operations.scoring import BatchScores, Scorer, withdraw
from wafer_assets.partitions import batches_of

LISTED = 20  # wafers of the inspection list that the UI shows; the report shows all


def refusals_spec(line: Line) -> dg.AssetSpec:
    """Return the asset of what a line's champion could not score; nobody materializes it: scoring reports it."""
    feed = line.feed("prediction")
    return dg.AssetSpec(
        refusals_key(line.name),
        deps=[feed_key(feed, "wafer_records")],
        description="A batch that the champion of the time could not score, with the reason. It is tried again when "
        "its records change or a champion is decided on, and not before.",
        partitions_def=batches_of(feed),
        group_name=group(line, "prediction"),
        owners=owners(line),
    )


def predictions_asset(line: Line) -> dg.AssetsDefinition:
    """Build the step that scores a line's batches."""
    feed = line.feed("prediction")

    @dg.multi_asset(
        name=name_of(line.name, "score_batches"),
        specs=[_spec(line)],
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=STORE_RETRIES,
    )
    def score_batches(
        context: dg.AssetExecutionContext,
        s3: dg.ResourceParam[S3Store],
        wafers: dg.ResourceParam[WaferStore],
        predictions: dg.ResourceParam[PredictionStore],
        tracking: dg.ResourceParam[Tracking],
        promotions: dg.ResourceParam[PromotionLog],
    ) -> Iterator[dg.AssetMaterialization]:
        """Score the accepted batches of the run with one and the same bundle; a refused batch has no predictions."""
        registry = tracking.of(line.name)
        wanted = set(context.partition_keys)
        manifests = [item for item in wafers.batches(feed) if item.batch in wanted]
        accepted = [item.batch for item in manifests if item.status == "accepted"]
        for manifest in manifests:
            if manifest.status == "quarantined":
                yield from _withdrawn(feed, manifest.batch, s3, predictions)
        if not accepted:
            context.log.info("None of these batches is accepted: there is nothing to score.")
            return
        try:
            version, bundle = load_champion(registry)
        except NoChampionError as error:
            yield from (_refusal(line.name, batch, str(error)) for batch in accepted)
            raise dg.Failure(
                f"{error} {len(accepted)} batches wait, and are scored once there is one.", allow_retries=False
            ) from error
        by_hand = against_rule(promotions.history(version.name), version.version)
        scorer = Scorer(feed, version, bundle, context.run_id, s3, wafers, predictions, by_hand)
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

    return score_batches


def _spec(line: Line) -> dg.AssetSpec:
    feed, champion = line.feed("prediction"), training_key(line.name, "champion")
    return dg.AssetSpec(
        predictions_key(line.name),
        deps=[feed_key(feed, "wafer_records"), champion],
        description="Each wafer's probability of a fault, the decision, and the sensors that drove it; a CSV file and "
        "a report per batch, and a document per wafer in MongoDB.",
        kinds={"s3", "csv", "mongodb"},
        partitions_def=batches_of(feed),
        # Every batch has an event of its own, but one output would mark all batches of a range at once.
        skippable=True,
        code_version="1",
        automation_condition=new_records(champion, refusals_key(line.name)),
        group_name=group(line, "prediction"),
        owners=owners(line),
    )


def _scored(scorer: Scorer, batch: str, failures: dict[str, str]) -> dg.AssetMaterialization:
    """Score a batch; note why the bundle cannot."""
    try:
        scores = scorer.score(batch)
        return _materialization(scores, scorer) if scores else _withdrawal(scorer.feed, batch)
    except Exception as error:
        if is_outage(error):
            raise
        failures[batch] = in_short(error)
        version = scorer.version
        return _refusal(scorer.feed.line, batch, f"{version.name} version {version.version}: {failures[batch]}")


def _withdrawn(
    feed: LineFeed, batch: str, s3: S3Store, predictions: PredictionStore
) -> Iterator[dg.AssetMaterialization]:
    # One that leaves the quarantine just now asks to be scored by its new records.
    with suppress(BatchReplacedError):
        withdraw(feed, batch, s3, predictions)
        yield _withdrawal(feed, batch)


def _refusal(line: str, batch: str, reason: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(refusals_key(line), partition=batch, metadata={"reason": reason})


def _withdrawal(feed: LineFeed, batch: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        predictions_key(feed.line),
        partition=batch,
        metadata={"status": "quarantined", "dagster/partition_row_count": 0},
        tags={DATA_VERSION: "quarantined"},
    )


def _materialization(scores: BatchScores, scorer: Scorer) -> dg.AssetMaterialization:
    scored, s3 = scores.batch, scorer.s3
    return dg.AssetMaterialization(
        predictions_key(scorer.feed.line),
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
            **({"sensors_unknown_to_the_model": ", ".join(scores.ignored)} if scores.ignored else {}),
        },
        tags={DATA_VERSION: scored.data_version},
    )


def _inspection_list(rows: pd.DataFrame) -> dg.TableMetadataValue:
    riskiest = rows.sort_values("probability", ascending=False, kind="stable").head(LISTED)
    records = riskiest[["wafer", "probability", "faulty", "cluster", "drivers"]].round(4).to_dict("records")
    return dg.MetadataValue.table(
        [dg.TableRecord({str(name): value for name, value in record.items()}) for record in records]
    )

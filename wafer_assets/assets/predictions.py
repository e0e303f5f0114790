"""Predictions: the champion's word on every accepted wafer, with its evidence. No step here fits anything."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.champion import NoChampionError, load_champion
from resources.mlflow import BundleVersion, Tracking
from resources.mongo import BatchManifest, WaferStore
from resources.predictions import BatchReplacedError, PredictionStore, ScoredBatch
from resources.s3 import S3Store
from resources.store_errors import in_short, is_outage
from wafer_assets.assets.common import OWNERS, STORE_RETRIES
from wafer_assets.automation import new_records
from wafer_assets.keys import PREDICTIONS, REFUSALS, prediction_key, report_key, training_key
from wafer_assets.partitions import BATCHES

if TYPE_CHECKING:
    from wafer_assets.domain.scoring import Bundle, Scores

READ_TRIES = 3  # of a batch that is replaced while it is scored
LISTED = 20  # wafers of the inspection list that the UI shows; the report shows all


# Nobody materializes a refusal: scoring reports it, and so the batch waits for another champion.
unscored_batches = dg.AssetSpec(
    REFUSALS,
    deps=[dg.AssetKey(["prediction", "wafer_records"])],
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
            deps=[dg.AssetKey(["prediction", "wafer_records"]), training_key("champion")],
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
    known = [item for item in wafers.batches("prediction") if item.batch in wanted]
    accepted = [item.batch for item in known if item.status == "accepted"]
    for manifest in known:
        # One that leaves the quarantine just now asks to be scored by its new records.
        with suppress(BatchReplacedError):
            if manifest.status == "quarantined":
                yield _withdraw(manifest, s3, predictions)
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
    failed = []
    for number, batch in enumerate(accepted, 1):
        try:
            yield _score_batch(batch, version, bundle, context.run_id, s3, wafers, predictions)
        except Exception as error:
            if is_outage(error):
                raise
            failed.append(f"{batch}: {in_short(error)}")
            yield _refusal(batch, f"{version.name} version {version.version}: {in_short(error)}")
        if number % 10 == 0 or number == len(accepted):
            context.log.info(f"{number - len(failed)} of {len(accepted)} batches scored")
    if failed:
        raise dg.Failure(
            f"{version.name} version {version.version} could not score {len(failed)} of {len(accepted)} batches. "
            f"{' '.join(failed)}",
            allow_retries=False,
        )


def _refusal(batch: str, reason: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(REFUSALS, partition=batch, metadata={"reason": reason})


def _withdraw(manifest: BatchManifest, s3: S3Store, predictions: PredictionStore) -> dg.AssetMaterialization:
    """Remove what was predicted from an earlier version of a batch that is in quarantine now."""
    predictions.withdraw(manifest.batch)
    for stale in (prediction_key(manifest.batch), report_key(manifest.batch)):
        s3.delete(s3.lake, stale)
    return dg.AssetMaterialization(
        PREDICTIONS,
        partition=manifest.batch,
        metadata={"status": manifest.status, "dagster/partition_row_count": 0},
        tags={"dagster/data_version": "quarantined"},
    )


def _score_batch(
    batch: str,
    version: BundleVersion,
    bundle: "Bundle",
    run_id: str,
    s3: S3Store,
    wafers: WaferStore,
    predictions: PredictionStore,
) -> dg.AssetMaterialization:
    """Score what the batch holds now; where it is replaced meanwhile, that is scored instead.

    Raises
    ------
    ContractMismatch
    BatchReplacedError
        The batch was replaced each time it was scored.
    """
    for _ in range(READ_TRIES - 1):
        try:
            return _score_content(batch, version, bundle, run_id, s3, wafers, predictions)
        except BatchReplacedError:
            continue  # its newer content is there already
    return _score_content(batch, version, bundle, run_id, s3, wafers, predictions)


def _score_content(
    batch: str,
    version: BundleVersion,
    bundle: "Bundle",
    run_id: str,
    s3: S3Store,
    wafers: WaferStore,
    predictions: PredictionStore,
) -> dg.AssetMaterialization:
    from wafer_assets.domain.report import batch_report
    from wafer_assets.domain.scoring import score

    # Read at once: what is recorded of the wafers must be true of these very wafers.
    manifest, frame = wafers.read("prediction", batch)
    if frame is None:
        return _withdraw(manifest, s3, predictions)
    bundle.check_contract(manifest.contract_version, f"Batch {batch}")
    scores = score(bundle, frame, version.version)
    csv = scores.rows.to_csv(index=False).encode()
    page = batch_report(bundle, scores, manifest.batch, frame, version.version, version.name)
    scored = ScoredBatch(
        batch=manifest.batch,
        sha256=str(manifest.sha256),
        wafers=len(frame),
        alarms=int(scores.rows["faulty"].sum()),
        model=version.name,
        bundle_version=version.version,
        csv=prediction_key(manifest.batch),
        report=report_key(manifest.batch),
        dagster_run_id=run_id,
        scored_at=datetime.now(UTC),
    )

    def publish() -> None:
        s3.put(s3.lake, scored.csv, csv)
        s3.put(s3.lake, scored.report, page)

    predictions.replace(scored, _documents(scores), publish)
    return dg.AssetMaterialization(
        PREDICTIONS,
        partition=manifest.batch,
        metadata={
            "status": "scored",
            "report": dg.MetadataValue.url(s3.page_url(scored.report)),
            "uri": dg.MetadataValue.path(f"s3://{s3.lake}/{scored.csv}"),
            "dagster/partition_row_count": scored.wafers,
            "alarms": scored.alarms,
            "highest_probability": float(scores.rows["probability"].max()),
            "bundle": f"{version.name} version {version.version}",
            "bundle_version": version.version,
            "inspection_list": _inspection_list(scores),
        },
        tags={"dagster/data_version": scored.data_version},
    )


def _documents(scores: "Scores") -> list[dict[str, Any]]:
    """Return a document per wafer: its row, and its evidence in full."""
    evidence = scores.evidence
    assert evidence is not None
    return [
        {
            **{str(name): value for name, value in row.items()},
            "margin": float(scores.margin[place]),
            "base": float(evidence.base[place]),
            "others": float(evidence.others[place]),
            "evidence": evidence.of(place),
        }
        for place, row in enumerate(scores.rows.drop(columns="drivers").to_dict("records"))
    ]


def _inspection_list(scores: "Scores") -> dg.TableMetadataValue:
    riskiest = scores.rows.sort_values("probability", ascending=False, kind="stable").head(LISTED)
    records = riskiest[["wafer", "probability", "faulty", "cluster", "drivers"]].round(4).to_dict("records")
    return dg.MetadataValue.table(
        [dg.TableRecord({str(name): value for name, value in record.items()}) for record in records]
    )

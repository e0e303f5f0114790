"""The prediction feed's jobs."""

import dagster as dg

from wafer_assets.partitions import BATCHES

PREDICTED = dg.AssetSelection.assets(["prediction", "predictions"])

ingest_prediction = dg.define_asset_job(
    "ingest_prediction",
    selection=dg.AssetSelection.key_prefixes(["prediction"]) & dg.AssetSelection.groups("ingestion"),
    partitions_def=BATCHES["prediction"],
    executor_def=dg.in_process_executor,
    description="Check the files to score against the contract; store the good ones, quarantine the others.",
)
predict = dg.define_asset_job(
    "predict",
    selection=PREDICTED,
    partitions_def=BATCHES["prediction"],
    executor_def=dg.in_process_executor,
    description="Score the accepted batches of a range with the champion; scoring again replaces.",
)

PREDICTION_JOBS = [ingest_prediction, predict]

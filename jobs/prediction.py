"""The jobs of a line's prediction feed."""

import dagster as dg

from resources.adapters.dagster import UnresolvedAssetJobDefinition
from schemas.lines import Line
from wafer_assets.keys import name_of, predictions_key
from wafer_assets.partitions import batches_of

INGEST_PREDICTION = "ingest_prediction"
PREDICT = "predict"


def predicted(line: str) -> dg.AssetSelection:
    """Return what is made of every scored batch of a line."""
    return dg.AssetSelection.assets(predictions_key(line))


def prediction_jobs(line: Line) -> list[UnresolvedAssetJobDefinition]:
    """Build the jobs of a line."""
    batches = batches_of(line.feed("prediction"))
    return [
        dg.define_asset_job(
            name_of(line.name, INGEST_PREDICTION),
            selection=dg.AssetSelection.groups(f"{line.name}_ingestion")
            & dg.AssetSelection.key_prefixes([line.name, "prediction"]),
            partitions_def=batches,
            executor_def=dg.in_process_executor,
            description="Check the files to score against the contract; store the good ones, quarantine the others.",
        ),
        dg.define_asset_job(
            name_of(line.name, PREDICT),
            selection=predicted(line.name),
            partitions_def=batches,
            executor_def=dg.in_process_executor,
            description="Score the accepted batches of a range with the champion; scoring again replaces.",
        ),
    ]

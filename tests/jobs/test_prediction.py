"""What the jobs of the prediction feed make."""

import dagster as dg
import pytest

from tests.feeds import PREDICTION
from wafer_assets.definitions import build_defs
from wafer_assets.keys import feed_key, predictions_key
from wafer_assets.settings import Settings


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs(Settings())


def test_ingestion_makes_records_and_ledger_of_the_files_to_score(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def("secom__ingest_prediction")
    names = ("validated_batches", "wafer_records", "batch_ledger")
    assert job.asset_layer.executable_asset_keys == {feed_key(PREDICTION, name) for name in names}


def test_scoring_makes_predictions_and_nothing_else(defs: dg.Definitions) -> None:
    assert defs.resolve_job_def("secom__predict").asset_layer.executable_asset_keys == {predictions_key("secom")}


@pytest.mark.parametrize("job", ["secom__ingest_prediction", "secom__predict"])
def test_each_takes_a_range_of_batch_files_in_one_process(defs: dg.Definitions, job: str) -> None:
    found = defs.resolve_job_def(job)
    assert isinstance(found.partitions_def, dg.DynamicPartitionsDefinition)
    assert found.partitions_def.name == "secom_prediction_batches"
    assert found.executor_def.name == "in_process"


def test_both_lines_are_ingested_alike(defs: dg.Definitions) -> None:
    feeds = ("training", "prediction")
    checks = [
        {key.name for key in defs.resolve_job_def(f"secom__ingest_{feed}").asset_layer.asset_graph.asset_check_keys}
        for feed in feeds
    ]
    assert checks[0] == checks[1]
    assert {"contract", "all_accounted_for"} <= checks[0]

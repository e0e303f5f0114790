"""Scoring a file that is in no store; scoring what was ingested is told by the tests of `prediction/predictions`."""

from datetime import UTC, datetime

import pandas as pd

from resources.mlflow import BundleVersion
from schemas.loader import load_schema
from tests.assets.test_predictions import bundle_bytes
from wafer_assets.domain.contract import Refused
from wafer_assets.domain.persistence import load
from wafer_assets.domain.scoring import Bundle
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.operations.scoring import FileScores, score_file

SCHEMA = load_schema("prediction")
VERSION = BundleVersion("a-model", 3, "a run", {}, datetime(2026, 1, 1, tzinfo=UTC))


def bundle() -> Bundle:
    found = load(bundle_bytes(0))
    assert isinstance(found, Bundle)
    return found


def test_a_good_file_gets_a_row_per_wafer_and_a_page() -> None:
    (batch,) = simulate_batches(1, 5, feed="prediction", schema=SCHEMA, seed=2)
    scores = score_file(bundle(), VERSION, SCHEMA, batch.name, batch.content)
    assert isinstance(scores, FileScores)
    assert scores.rows["wafer"].tolist() == [f"Wafer-{number}" for number in range(1, 6)]
    assert set(scores.rows["bundle_version"]) == {3}
    page = scores.report.decode()
    assert batch.name in page
    assert "Wafer-5" in page

    again = score_file(bundle(), VERSION, SCHEMA, batch.name, batch.content)
    assert isinstance(again, FileScores)
    pd.testing.assert_frame_equal(again.rows, scores.rows, check_exact=True)


def test_a_bad_file_gets_every_reason_instead() -> None:
    verdict = score_file(bundle(), VERSION, SCHEMA, "notes.csv", b"not a batch")
    assert isinstance(verdict, Refused)
    assert "file_name_invalid" in {reason.code for reason in verdict.reasons}

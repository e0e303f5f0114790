"""The predictions in MongoDB: those of the wafers that a batch holds, replaced with what scored it."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from resources.mongo import WaferStore
from resources.predictions import BatchReplacedError, PredictionStore, ScoredBatch
from resources.s3 import StoredObject
from schemas.lines import LineFeed
from tests.feeds import PREDICTION, line_like
from tests.stored import predictions_of
from wafer_assets.settings import Settings

SOURCE = StoredObject("secom/prediction/a.csv", 512_000, "etag", datetime(2020, 1, 28, 5, 10, 11, tzinfo=UTC))


@pytest.fixture
def predictions(settings: Settings) -> PredictionStore:
    return PredictionStore(settings)


def accept(mongo: WaferStore, sha256: str, batch: str = "a.csv", feed: LineFeed = PREDICTION) -> None:
    """Let a batch of two wafers be accepted."""
    frame = pd.DataFrame({"wafer": ["Wafer-2", "Wafer-1"], "Sensor-1": [1.0, 2.0]})
    mongo.replace_batch(feed, batch, frame, SOURCE, sha256=sha256)


def scored(sha256: str, version: int = 1, batch: str = "a.csv", line: str = "secom") -> ScoredBatch:
    return ScoredBatch(
        line=line,
        batch=batch,
        sha256=sha256,
        wafers=2,
        alarms=1,
        model="a model",
        bundle_version=version,
        csv="a key",
        report="another key",
        dagster_run_id="a run",
        scored_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def rows(probability: float) -> list[dict[str, object]]:
    return [{"wafer": wafer, "probability": probability} for wafer in ("Wafer-2", "Wafer-1")]


def test_predictions_come_back_in_the_order_of_the_batch_with_what_scored_them(
    mongo: WaferStore, predictions: PredictionStore
) -> None:
    accept(mongo, "first")
    predictions.replace(scored("first"), rows(0.1 + 0.2), lambda: None)
    assert predictions.scored("secom") == {"a.csv": scored("first")}
    assert predictions.scored_batch("secom", "a.csv") == scored("first")
    assert predictions.scored_batch("secom", "b.csv") is None
    found = predictions_of(predictions, "a.csv")
    assert [(item["row"], item["wafer"], item["probability"]) for item in found] == [
        (0, "Wafer-2", 0.1 + 0.2),
        (1, "Wafer-1", 0.1 + 0.2),
    ]


def test_scoring_again_replaces_a_batchs_predictions_and_no_others(
    mongo: WaferStore, predictions: PredictionStore
) -> None:
    for batch in ("a.csv", "b.csv"):
        accept(mongo, "first", batch)
        predictions.replace(scored("first", batch=batch), rows(0.1), lambda: None)
    predictions.replace(scored("first", version=2), rows(0.2), lambda: None)
    assert {batch: item.bundle_version for batch, item in predictions.scored("secom").items()} == {
        "a.csv": 2,
        "b.csv": 1,
    }
    assert [(item["batch"], item["probability"]) for item in predictions.of_wafer("secom", "Wafer-1")] == [
        ("a.csv", 0.2),
        ("b.csv", 0.1),
    ]


def test_predictions_of_other_wafers_than_the_batch_holds_are_refused_and_not_published(
    mongo: WaferStore, predictions: PredictionStore
) -> None:
    accept(mongo, "first")
    predictions.replace(scored("first"), rows(0.1), lambda: None)
    accept(mongo, "second")
    published: list[str] = []
    with pytest.raises(BatchReplacedError, match=r"Batch a\.csv was replaced while it was scored") as error:
        predictions.replace(scored("first", version=2), rows(0.2), lambda: published.append("a file"))
    assert error.value.code == "batch_replaced"
    assert published == []
    assert predictions.scored("secom") == {"a.csv": scored("first")}
    with pytest.raises(BatchReplacedError):
        predictions.replace(scored("first", batch="unknown.csv"), rows(0.2), lambda: None)


def test_only_the_predictions_of_a_batch_in_quarantine_are_withdrawn(
    mongo: WaferStore, predictions: PredictionStore
) -> None:
    accept(mongo, "first")
    predictions.replace(scored("first"), rows(0.1), lambda: None)
    with pytest.raises(BatchReplacedError):
        predictions.withdraw("secom", "a.csv")
    assert predictions.scored("secom") == {"a.csv": scored("first")}
    mongo.quarantine_batch(PREDICTION, "a.csv", [], SOURCE)
    predictions.withdraw("secom", "a.csv")
    assert predictions.scored("secom") == {}
    assert predictions.of_wafer("secom", "Wafer-1") == []


def test_predictions_of_one_name_in_two_lines_are_kept_apart(mongo: WaferStore, predictions: PredictionStore) -> None:
    other = line_like("other").feed("prediction")
    accept(mongo, "ours")
    accept(mongo, "theirs", feed=other)
    predictions.replace(scored("ours"), rows(0.1), lambda: None)
    with pytest.raises(BatchReplacedError):
        predictions.replace(scored("ours", line="other"), rows(0.2), lambda: None)
    predictions.replace(scored("theirs", version=7, line="other"), rows(0.2), lambda: None)

    assert predictions.scored("secom") == {"a.csv": scored("ours")}
    assert predictions.scored("other") == {"a.csv": scored("theirs", version=7, line="other")}
    assert [item["probability"] for item in predictions.of_wafer("secom", "Wafer-1")] == [0.1]
    assert [item["probability"] for item in predictions_of(predictions, "a.csv", "other")] == [0.2, 0.2]

    predictions.remove_line("other")
    assert predictions.scored("other") == {}
    assert predictions.of_wafer("other", "Wafer-1") == []
    assert predictions.scored("secom") == {"a.csv": scored("ours")}
    assert len(predictions_of(predictions, "a.csv")) == 2
    # And the line may come back.
    predictions.replace(scored("theirs", line="other"), rows(0.3), lambda: None)
    assert [item["probability"] for item in predictions.of_wafer("other", "Wafer-1")] == [0.3]


def test_the_version_of_predictions_follows_from_bundle_and_wafers() -> None:
    versions = {scored(sha256, version).data_version for sha256 in ("x", "y") for version in (1, 2)}
    assert versions == {"1-x", "2-x", "1-y", "2-y"}

"""Where a prediction comes from and what a batch went into, also where not everything is there that could be."""

from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg
import pandas as pd
import pytest

from resources.mlflow import BundleVersion, LineTracking
from resources.mongo import WaferStore
from resources.predictions import PredictionStore, ScoredBatch
from resources.promotions import PromotionLog
from resources.s3 import StoredObject
from schemas.lines import LineFeed
from tests.assets.test_predictions import bundle_bytes
from tests.feeds import LINE, PREDICTION, TRAINING
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import frame_hash
from wafer_assets.keys import landing_key, prediction_key, report_key
from wafer_assets.operations.champion import keep, promote
from wafer_assets.operations.tracing import NothingToTraceError, trace
from wafer_assets.settings import Settings

FIRST, SECOND = "wafer_06012020_060000.csv", "wafer_07012020_060000.csv"
TO_SCORE = "wafer_08012020_060000.csv"


class Platform:
    """Stores in which a test puts batches, versions and predictions by hand."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.wafers, self.tracking = WaferStore(settings), LineTracking(settings, "secom")

    def accept(self, feed: LineFeed, batch: str, first: int = 1) -> str:
        """Store four wafers as an accepted batch; return the hash of its content."""
        frame: pd.DataFrame = simulate_table(4, seed=1, first_wafer=first).drop(columns="batch")
        frame = frame if feed == TRAINING else frame.drop(columns="faulty")
        source = StoredObject(landing_key(feed, batch), 1, "etag", datetime(2026, 1, 1, tzinfo=UTC))
        self.wafers.replace_batch(feed, batch, frame, source, sha256=frame_hash(frame))
        return frame_hash(frame)

    def register(self, *batches: str, **tags: str) -> BundleVersion:
        """Register a version that was trained on these batches."""
        with self.tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as run:
            run.log_dataset("table", content_hash="abc", source="s3://lake/table", rows=8, batches=batches)
            return self.tracking.register_bundle(run, bundle_bytes(0), sensors=["Sensor-1"], tags=tags)

    def score(self, batch: str, version: int) -> None:
        """Store predictions of a batch that a version made."""
        scored = ScoredBatch(
            line="secom",
            batch=batch,
            sha256=self.accept(PREDICTION, batch, first=100),
            wafers=4,
            alarms=0,
            model=self.tracking.settings.model_name,
            bundle_version=version,
            csv=prediction_key("secom", batch),
            report=report_key("secom", batch),
            dagster_run_id="a run",
            scored_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        wafers = [{"wafer": f"Wafer-{number}"} for number in range(100, 104)]
        PredictionStore(self.settings).replace(scored, wafers, lambda: None)


@pytest.fixture
def platform(platform_settings: Settings) -> Platform:
    return Platform(platform_settings)


@pytest.mark.parametrize("name", [TO_SCORE, "Wafer-100"], ids=["by the batch", "by a wafer"])
def test_a_prediction_is_traced_to_its_file_table_and_promotion(platform: Platform, name: str) -> None:
    version = platform.register(FIRST, table_hash="abc")
    log = PromotionLog(platform.settings)
    promote(platform.tracking, log, version, by="a test", reason="It is needed.", figures={})
    platform.score(TO_SCORE, version.version)
    (origin,), influences = trace(platform.settings, LINE, name)
    assert influences == []
    assert origin.scored.batch == TO_SCORE
    assert origin.source is not None
    assert origin.source.key == landing_key(PREDICTION, TO_SCORE)
    assert (origin.bundle.version.version, origin.bundle.table_hash) == (version.version, "abc")
    assert origin.bundle.promotion is not None
    assert origin.bundle.promotion.reason == "It is needed."


@pytest.mark.parametrize("name", [FIRST, "Wafer-3"], ids=["by the batch", "by a wafer"])
def test_a_training_batch_is_traced_to_what_it_influenced(platform: Platform, name: str) -> None:
    platform.accept(TRAINING, FIRST)
    version = platform.register(FIRST)
    platform.score(TO_SCORE, version.version)
    _, (influence,) = trace(platform.settings, LINE, name)
    assert influence.versions == (version,)
    assert [item.batch for item in influence.scored] == [TO_SCORE]


def test_a_name_that_nothing_has_leads_to_nothing(platform: Platform) -> None:
    with pytest.raises(NothingToTraceError, match=r"neither a scored nor .* batch.*quarantine") as error:
        trace(platform.settings, LINE, "Wafer-0")
    assert error.value.code == "nothing_to_trace"


def test_a_file_that_was_not_scored_is_not_named(platform: Platform) -> None:
    platform.score(TO_SCORE, platform.register().version)
    platform.accept(PREDICTION, TO_SCORE, first=200)
    (origin,), _ = trace(platform.settings, LINE, TO_SCORE)
    assert origin.source is None


def test_a_batch_that_nobody_has_scored_yet_says_that_it_waits(platform: Platform) -> None:
    platform.accept(PREDICTION, TO_SCORE)
    with pytest.raises(NothingToTraceError, match="It waits to be scored"):
        trace(platform.settings, LINE, TO_SCORE)


def test_a_batch_that_no_version_was_trained_on_has_influenced_nothing(platform: Platform) -> None:
    platform.accept(TRAINING, FIRST)
    origins, (influence,) = trace(platform.settings, LINE, FIRST)
    assert origins == []
    assert influence.batch.batch == FIRST
    assert (influence.versions, influence.scored) == ((), ())


def test_a_wafer_is_followed_through_every_batch_that_holds_it(platform: Platform) -> None:
    platform.accept(TRAINING, FIRST)
    platform.accept(TRAINING, SECOND)
    version = platform.register(SECOND)
    _, influences = trace(platform.settings, LINE, "Wafer-1")
    assert {item.batch.batch: item.versions for item in influences} == {FIRST: (), SECOND: (version,)}


def test_a_version_that_was_judged_and_never_promoted_has_no_promotion(platform: Platform) -> None:
    version = platform.register()
    log = PromotionLog(platform.settings)
    keep(platform.tracking, log, version, by="a test", reason="It is no better.", figures={})
    platform.score(TO_SCORE, version.version)
    (origin,), _ = trace(platform.settings, LINE, TO_SCORE)
    assert origin.bundle.version.version == version.version
    assert origin.bundle.promotion is None
    assert origin.bundle.table_hash == "unknown"


def test_of_the_batches_that_a_bundle_was_made_of_those_in_the_store_are_told(platform: Platform) -> None:
    platform.accept(TRAINING, SECOND)
    version = platform.register(FIRST, SECOND)
    platform.score(TO_SCORE, version.version)
    (origin,), _ = trace(platform.settings, LINE, "Wafer-100")
    assert [item.batch for item in origin.bundle.batches] == [SECOND]


def test_a_version_that_the_registry_has_lost_is_named(platform: Platform) -> None:
    platform.score(TO_SCORE, 7)
    with pytest.raises(LookupError, match="version 7") as error:
        trace(platform.settings, LINE, TO_SCORE)
    assert error.value.code  # type: ignore[attr-defined]

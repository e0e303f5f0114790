"""The prediction feed on real services: every accepted wafer gets one row, from one bundle, or nothing changes."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any
from uuid import uuid4

import dagster as dg
import pandas as pd
import pytest

from resources.champion import load_bundle
from resources.mlflow import CHAMPION, BundleVersion, LineTracking
from resources.mongo import BatchManifest, BatchStatus, StoredBatch, WaferStore
from resources.predictions import PredictionStore, ScoredBatch
from resources.promotions import PromotionLog
from resources.s3 import S3Store
from schemas.lines import LineFeed
from schemas.loader import load_schema
from tests.feeds import PREDICTION
from tests.landing import land, large_file
from tests.stored import frame_of, predictions_of
from wafer_assets.definitions import build_defs
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.persistence import dump
from wafer_assets.domain.scoring import make_bundle, score
from wafer_assets.domain.simulation import simulate_batches, simulate_table
from wafer_assets.domain.table import frame_hash, sensor_readings
from wafer_assets.domain.training import FaultModel
from wafer_assets.keys import landing_key, prediction_key, predictions_key, refusals_key, report_key
from wafer_assets.operations.backlog import waiting_batches
from wafer_assets.operations.champion import promote, rollback
from wafer_assets.operations.ingestion import ingest_batch
from wafer_assets.settings import Settings

SCHEMA = load_schema("prediction")


@cache
def bundle_bytes(seed: int, contract_version: str = "1.0") -> bytes:
    table = simulate_table(400, seed=1, fault_rate=0.15)
    config = ModelConfig(k=2, folds=2, forest_trees=5, xgboost_trees=10, seed=seed)
    model = FaultModel(config).fit(sensor_readings(table), table["faulty"])
    features = model.preprocessor_.transform(sensor_readings(table))
    return dump(
        make_bundle(
            model,
            table,
            model.clusterer_.predict(features),
            model.clusterer_.coordinates(features)[:, :2],
            contract_version=contract_version,
            optional=SCHEMA.optional_columns,
            card={},
        )
    )


class Feed:
    """The prediction feed of one test, on an ephemeral instance."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance = settings, instance
        self.s3, self.tracking = S3Store(settings), LineTracking(settings, "secom")
        self.log, self.predictions = PromotionLog(settings), PredictionStore(settings)
        self.wafers = WaferStore(settings)

    def register(self, content: bytes) -> BundleVersion:
        with self.tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as run:
            run.log_dataset("t", content_hash="abc", source="s3://lake/t", rows=400, batches=["wafer_1.csv"])
            return self.tracking.register_bundle(
                run, content, sensors=SCHEMA.sensors, optional=SCHEMA.optional_columns, tags={"table_hash": "abc"}
            )

    def promote(self, version: BundleVersion) -> None:
        promote(self.tracking, self.log, version, by="a test", reason="It is needed.", figures={})

    def land(self, files: dict[str, bytes]) -> dict[str, str]:
        return land(self.settings, self.instance, files, PREDICTION)

    def run(self, job: str, tags: dict[str, str], **resources: object) -> dg.ExecuteInProcessResult:
        definition = build_defs(self.settings, **resources).resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def ingested(self, files: dict[str, bytes]) -> dict[str, str]:
        tags = self.land(files)
        assert self.run("secom__ingest_prediction", tags).success
        return tags

    def csv(self, batch: str) -> bytes:
        return self.s3.get(self.s3.lake, prediction_key("secom", batch))

    def waiting(self) -> list[str]:
        return waiting_batches(self.wafers.batches(PREDICTION), self.predictions.scored("secom"))


@pytest.fixture
def feed(platform_settings: Settings) -> Iterator[Feed]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Feed(platform_settings, instance)


@pytest.fixture(scope="module")
def good() -> dict[str, bytes]:
    batches = simulate_batches(3, 20, feed="prediction", schema=SCHEMA, seed=2, fault_rate=0.2, first_wafer=401)
    return {batch.name: batch.content for batch in batches}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)


def test_every_accepted_wafer_gets_one_row_and_its_evidence(feed: Feed, good: dict[str, bytes]) -> None:
    version = feed.register(bundle_bytes(0))
    feed.promote(version)
    result = feed.run("secom__predict", feed.ingested({**good, "wafer_1_1.csv": next(iter(good.values()))}))

    assert result.success
    # A refused batch has an empty result, so that a backfill over it is complete.
    assert set(feed.instance.get_materialized_partitions(predictions_key("secom"))) == {*good, "wafer_1_1.csv"}
    assert set(feed.predictions.scored("secom")) == set(good)
    bundle = load_bundle(feed.tracking, version)
    for batch in good:
        frame = frame_of(feed.wafers, PREDICTION, batch)
        rows = pd.read_csv(io.BytesIO(feed.csv(batch)), float_precision="round_trip")
        expected = score(bundle, frame, version.version)
        pd.testing.assert_frame_equal(rows, expected.rows, check_exact=True)
        assert rows["wafer"].tolist() == frame["wafer"].tolist()
        documents = predictions_of(feed.predictions, batch)
        assert [document["probability"] for document in documents] == rows["probability"].tolist()
        for document in documents:
            listed = sum(found["contribution"] for found in document["evidence"])
            assert document["base"] + listed + document["others"] == pytest.approx(document["margin"], abs=1e-9)
        assert b"<html" in feed.s3.get(feed.s3.lake, report_key("secom", batch))
    assert feed.waiting() == []


def test_the_largest_file_is_scored_and_scored_again(feed: Feed) -> None:
    batch, content = large_file("prediction", 5_000)
    feed.promote(feed.register(bundle_bytes(0)))
    tags = feed.ingested({batch: content})
    for _ in range(2):
        assert feed.run("secom__predict", tags).success
        assert len(predictions_of(feed.predictions, batch)) == 5_000
    assert len(feed.predictions.of_wafer("secom", "Wafer-4711")) == 1
    assert feed.waiting() == []


def test_scoring_again_replaces_and_a_rollback_brings_the_same_bytes_back(feed: Feed, good: dict[str, bytes]) -> None:
    old, new = feed.register(bundle_bytes(0)), feed.register(bundle_bytes(1))
    feed.promote(old)
    tags = feed.ingested(good)
    batch = next(iter(good))
    assert feed.run("secom__predict", tags).success
    before = feed.csv(batch)

    feed.promote(new)
    assert feed.run("secom__predict", tags).success
    assert feed.csv(batch) != before
    assert len(predictions_of(feed.predictions, batch)) == 20
    assert {item.bundle_version for item in feed.predictions.scored("secom").values()} == {new.version}

    rollback(feed.tracking, feed.log, by="a test", reason="It alarms too often.")
    assert feed.run("secom__predict", tags).success
    assert feed.csv(batch) == before


def test_without_a_champion_batches_wait(feed: Feed, good: dict[str, bytes]) -> None:
    tags = feed.ingested(good)
    assert "3 batches wait" in failure(feed.run("secom__predict", tags))
    assert feed.instance.get_materialized_partitions(refusals_key("secom")) == set(good)
    feed.promote(feed.register(bundle_bytes(0)))
    assert feed.run("secom__predict", tags).success
    assert feed.waiting() == []


def test_a_batch_that_is_refused_later_loses_its_predictions(feed: Feed, good: dict[str, bytes]) -> None:
    feed.promote(feed.register(bundle_bytes(0)))
    assert feed.run("secom__predict", feed.ingested(good)).success
    batch = next(iter(good))
    tags = feed.ingested({batch: b"Wafer,Sensor-1\nWafer-1,1\n"})
    assert feed.waiting() == [batch]
    assert feed.run("secom__predict", tags).success
    assert feed.waiting() == []
    assert predictions_of(feed.predictions, batch) == []
    assert feed.s3.list_objects(feed.s3.lake, prediction_key("secom", batch)) == []
    assert len(predictions_of(feed.predictions, list(good)[1])) == 20


class Replaced(WaferStore):
    """Lets a batch be replaced once, after a run has listed it or while it scores what it has read."""

    def __init__(self, settings: Settings, moment: str, replace: Callable[[], object]) -> None:
        super().__init__(settings)
        self.moment, self.pending = moment, [replace]

    def batches(self, feed: LineFeed, status: BatchStatus | None = None) -> list[BatchManifest]:
        manifests = super().batches(feed, status)
        self._replace_at("listed")
        return manifests

    def read(self, feed: LineFeed, batch: str) -> StoredBatch:
        content = super().read(feed, batch)
        self._replace_at("read")
        return content

    def _replace_at(self, moment: str) -> None:
        while self.moment == moment and self.pending:
            self.pending.pop()()


MOMENTS = pytest.mark.parametrize(
    "moment", [pytest.param("listed", id="after it was listed"), pytest.param("read", id="while it is scored")]
)


@MOMENTS
def test_a_batch_replaced_during_the_run_is_recorded_as_the_wafers_that_were_scored(
    feed: Feed, good: dict[str, bytes], moment: str
) -> None:
    version = feed.register(bundle_bytes(0))
    feed.promote(version)
    (batch, content), (_, other), _ = good.items()
    tags = feed.ingested({batch: content})

    def replace() -> None:
        feed.s3.put(feed.s3.landing, landing_key(PREDICTION, batch), other)
        ingest_batch(SCHEMA, batch, feed.s3, feed.wafers)

    result = feed.run("secom__predict", tags, wafers=Replaced(feed.settings, moment, replace))
    assert result.success
    (manifest,) = feed.wafers.batches(PREDICTION)
    frame = frame_of(feed.wafers, PREDICTION, batch)
    assert manifest.sha256 == frame_hash(frame)
    assert feed.predictions.scored("secom")[batch].sha256 == manifest.sha256
    rows = pd.read_csv(io.BytesIO(feed.csv(batch)), float_precision="round_trip")
    expected = score(load_bundle(feed.tracking, version), frame, version.version)
    pd.testing.assert_frame_equal(rows, expected.rows, check_exact=True)
    assert [item["wafer"] for item in predictions_of(feed.predictions, batch)] == frame["wafer"].tolist()
    (event,) = result.asset_materializations_for_node("secom__score_batches")
    assert (event.tags or {})["dagster/data_version"] == f"{version.version}-{manifest.sha256}"
    assert feed.waiting() == []


@MOMENTS
def test_a_batch_replaced_during_the_run_keeps_to_the_contract_of_what_is_scored(
    feed: Feed, good: dict[str, bytes], moment: str
) -> None:
    feed.promote(feed.register(bundle_bytes(0)))
    (batch, content), (_, other), _ = good.items()
    tags = feed.ingested({batch: content})

    def replace() -> None:
        feed.s3.put(feed.s3.landing, landing_key(PREDICTION, batch), other)
        newer = SCHEMA.model_copy(update={"contract_version": "2.0"})
        ingest_batch(newer, batch, feed.s3, feed.wafers)

    replaced = Replaced(feed.settings, moment, replace)
    assert "keeps contract 2.0" in failure(feed.run("secom__predict", tags, wafers=replaced))
    assert feed.predictions.scored("secom") == {}


@MOMENTS
def test_a_batch_refused_during_the_run_gets_no_predictions(feed: Feed, good: dict[str, bytes], moment: str) -> None:
    feed.promote(feed.register(bundle_bytes(0)))
    batch, content = next(iter(good.items()))
    tags = feed.ingested({batch: content})

    def replace() -> None:
        feed.s3.put(feed.s3.landing, landing_key(PREDICTION, batch), b"Wafer,Sensor-1\nWafer-1,1\n")
        ingest_batch(SCHEMA, batch, feed.s3, feed.wafers)

    assert feed.run("secom__predict", tags, wafers=Replaced(feed.settings, moment, replace)).success
    assert feed.predictions.scored("secom") == {}
    assert predictions_of(feed.predictions, batch) == []
    assert feed.waiting() == []


def test_a_batch_whose_predictions_cannot_be_stored_fails_alone(feed: Feed, good: dict[str, bytes]) -> None:
    feed.promote(feed.register(bundle_bytes(0)))
    tags = feed.ingested(good)
    first, *others = good

    class TooLarge(PredictionStore):
        def replace(self, scored: ScoredBatch, wafers: Sequence[dict[str, Any]], *args: Any) -> None:
            blob = b"0" * 17_000_000 if scored.batch == first else b""
            super().replace(scored, [{**document, "blob": blob} for document in wafers], *args)

    message = failure(feed.run("secom__predict", tags, predictions=TooLarge(feed.settings)))
    assert first in message
    assert "too large" in message
    assert set(feed.predictions.scored("secom")) == set(others)
    assert feed.waiting() == [first]
    assert not feed.s3.exists(feed.s3.lake, prediction_key("secom", first))


def test_a_bundle_of_another_contract_is_refused_by_name(feed: Feed, good: dict[str, bytes]) -> None:
    version = feed.register(bundle_bytes(0, "2.0"))
    feed.promote(version)
    message = failure(feed.run("secom__predict", feed.ingested(good)))
    assert f"version {version.version}" in message
    assert next(iter(good)) in message
    assert "2.0" in message
    assert feed.predictions.scored("secom") == {}
    assert feed.instance.get_materialized_partitions(refusals_key("secom")) == set(good)


def test_a_damaged_bundle_fails_the_run_and_nothing_is_written(feed: Feed, good: dict[str, bytes]) -> None:
    version = feed.register(bundle_bytes(0)[:5_000])
    feed.tracking.set_alias(CHAMPION, version)
    message = failure(feed.run("secom__predict", feed.ingested(good)))
    assert f"version {version.version}" in message
    assert "wafer models rollback" in message
    assert feed.s3.list_objects(feed.s3.lake, "secom/prediction/predictions/") == []


def test_a_failed_write_leaves_nothing_behind_and_the_next_run_completes_it(feed: Feed, good: dict[str, bytes]) -> None:
    feed.promote(feed.register(bundle_bytes(0)))
    tags = feed.ingested(good)

    class Full(S3Store):
        def put(self, *_: object) -> None:
            raise ConnectionError("the disk of the lake is full")

    result = feed.run("secom__predict", tags, s3=Full(feed.settings))
    assert not result.success
    assert "the disk of the lake is full" in failure(result)
    assert feed.predictions.scored("secom") == {}
    assert predictions_of(feed.predictions, next(iter(good))) == []

    assert feed.run("secom__predict", tags).success
    assert feed.waiting() == []


def test_a_server_that_is_down_is_named(feed: Feed, good: dict[str, bytes]) -> None:
    tags = feed.ingested(good)
    gone = feed.settings.mlflow.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    away = Feed(feed.settings.model_copy(update={"mlflow": gone}), feed.instance)
    assert "127.0.0.1:9 does not answer" in failure(away.run("secom__predict", tags))


def test_the_evidence_in_the_store_is_plain_json(feed: Feed, good: dict[str, bytes]) -> None:
    feed.promote(feed.register(bundle_bytes(0)))
    assert feed.run("secom__predict", feed.ingested(good)).success
    json.dumps(predictions_of(feed.predictions, next(iter(good))), allow_nan=False)

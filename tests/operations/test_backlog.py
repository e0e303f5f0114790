"""What is left to do, judged by what the stores hold; harm is done to real stores, and the commands make it good."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from resources.mlflow import CHAMPION, OUT_OF_FOLD, BundleVersion, LineTracking
from resources.mongo import WaferStore
from resources.predictions import PredictionStore
from resources.promotions import PromotionLog
from resources.s3 import S3Store, s3_client
from schemas.lines import LineFeed
from schemas.loader import load_schema
from tests.assets.test_predictions import bundle_bytes
from tests.conftest import use
from tests.domain.test_promotion import results
from tests.feeds import LINE, PREDICTION, TRAINING
from tests.landing import land
from tests.operations.test_champion import CutOff
from tests.stored import exchange_bundle
from wafer_assets.cli import main
from wafer_assets.cli.instance import open_instance
from wafer_assets.definitions import build_defs
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import (
    landing_key,
    prediction_key,
    predictions_key,
    quarantine_folder,
    report_key,
    training_key,
    validated_key,
)
from wafer_assets.operations.backlog import ledger_is_behind, stored_outcomes, training_left, unscored_batches
from wafer_assets.operations.champion import keep, promote
from wafer_assets.settings import Settings

BAD = b"Wafer,Sensor-1\nWafer-1,1\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def good_files(feed: LineFeed, count: int) -> dict[str, bytes]:
    batches = simulate_batches(count, 6, feed=feed.kind, schema=load_schema(feed.kind), seed=4, fault_rate=0.3)
    return {batch.name: batch.content for batch in batches}


def drop(settings: Settings, feed: LineFeed, files: dict[str, bytes]) -> None:
    s3 = S3Store(settings)
    for name, content in files.items():
        s3.put(s3.landing, landing_key(feed, name), content)


# --- Ingestion ---


def test_only_what_the_lake_lost_is_ingested_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    use(settings, monkeypatch)
    s3, store = S3Store(settings), WaferStore(settings)
    names = list(good_files(TRAINING, 3))
    drop(settings, TRAINING, {**good_files(TRAINING, 3), "bad.csv": BAD, "worse.csv": BAD})
    s3_client(settings.s3).put_object(Bucket=s3.landing, Key="secom/training/tab\there.csv", Body=BAD)
    run("ingest")
    before = {item.batch: item.stored_at for item in store.batches(TRAINING)}
    assert len(before) == 6
    assert "No file is new or changed" in run("ingest").output  # a name that the lake cannot hold is no loss

    lost = [validated_key(TRAINING, names[1]), f"{quarantine_folder(TRAINING, 'bad.csv')}reasons.json"]
    for key in lost:
        s3.delete(s3.lake, key)
    assert set(before) - set(stored_outcomes(TRAINING, store, s3)) == {names[1], "bad.csv"}
    run("ingest")
    after = {item.batch: item.stored_at for item in store.batches(TRAINING)}
    assert {batch for batch in before if after[batch] != before[batch]} == {names[1], "bad.csv"}
    assert all(s3.exists(s3.lake, key) for key in lost)
    assert "No file is new or changed" in run("ingest").output


class Killed(WaferStore):
    """Lets a run be killed once all batches are stored, before it makes the ledger."""

    def sweep(self) -> None:
        raise SystemExit("killed")


def test_a_ledger_that_a_killed_run_never_wrote_is_written(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    use(settings, monkeypatch)
    with open_instance(settings) as instance:
        tags = land(settings, instance, good_files(TRAINING, 2))
        job = build_defs(settings, wafers=Killed(settings)).resolve_job_def("secom__ingest_training")
        with pytest.raises(SystemExit):
            job.execute_in_process(instance=instance, tags=tags)
        assert ledger_is_behind(instance, TRAINING)
        assert "files received" in run("ingest").output
        assert not ledger_is_behind(instance, TRAINING)
        runs = instance.get_runs_count()
        run("ingest")
        assert instance.get_runs_count() == runs


# --- Scoring ---


@pytest.fixture
def scored(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A platform that has scored three batches and refused one between them."""
    settings = platform_settings
    use(settings, monkeypatch)
    schema, tracking = load_schema("prediction"), LineTracking(settings, "secom")
    with tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as tracked:
        version = tracking.register_bundle(
            tracked, bundle_bytes(0), sensors=schema.sensors, optional=schema.optional_columns, tags={}
        )
    promote(tracking, PromotionLog(settings), version, by="a test", reason="It is needed.", figures={})
    names = sorted(good_files(PREDICTION, 3))
    for name in [*names[:2], "bad.csv", names[2]]:
        drop(settings, PREDICTION, {name: good_files(PREDICTION, 3).get(name, BAD)})
        assert run("ingest", "--feed", "prediction").exit_code == 0
    assert run("score").exit_code == 0
    return settings


def waiting(settings: Settings) -> list[str]:
    with open_instance(settings) as instance:
        found = unscored_batches(instance, LINE, WaferStore(settings), PredictionStore(settings), S3Store(settings))
    return [item.batch for item in found]


def runs_of(settings: Settings) -> int:
    with open_instance(settings) as instance:
        return instance.get_runs_count()


def test_only_predictions_that_are_lost_in_some_store_are_made_again(scored: Settings) -> None:
    names, s3, store = sorted(good_files(PREDICTION, 3)), S3Store(scored), PredictionStore(scored)
    assert waiting(scored) == []
    before = {batch: item.scored_at for batch, item in store.scored("secom").items()}
    s3.delete(s3.lake, prediction_key("secom", names[0]))
    s3.delete(s3.lake, report_key("secom", names[2]))
    assert waiting(scored) == [names[0], names[2]]
    assert run("score").exit_code == 0
    after = {batch: item.scored_at for batch, item in store.scored("secom").items()}
    assert {batch for batch in before if after[batch] != before[batch]} == {names[0], names[2]}

    store._database["scored_batches"].delete_one({"_id": f"secom/{names[1]}"})
    with open_instance(scored) as instance:
        instance.wipe_assets([predictions_key("secom")])
    assert waiting(scored) == names
    runs = runs_of(scored)
    assert run("score").exit_code == 0
    assert waiting(scored) == []
    assert runs_of(scored) == runs + 1  # the refused batch between them splits nothing
    assert "No batch waits" in run("score").output


def test_batches_that_nobody_can_score_are_named_and_the_command_fails(
    platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(platform_settings, monkeypatch)
    drop(platform_settings, PREDICTION, good_files(PREDICTION, 1))
    run("ingest", "--feed", "prediction")
    result = run("score")
    assert result.exit_code == 1
    assert "files to score, accepted" in result.output
    assert f"Accepted but not scored: {next(iter(good_files(PREDICTION, 1)))}" in result.output
    assert "wafer train" in result.output


# --- Training ---


class Trained:
    """A platform whose events say that a version was made of the latest table."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.instance, self.s3 = instance, S3Store(settings)
        self.tracking, self.log = LineTracking(settings, "secom"), PromotionLog(settings)
        self.report("batch_ledger", "l")
        self.report("wafer_table", "t", batch_ledger="l")
        self.s3.put(self.s3.lake, "secom/training/wafer_table/wafer_table.parquet", b"a table")
        self.s3.put(self.s3.lake, "secom/training/model_bundle/model_bundle.skops", b"a version")

    def report(self, name: str, version: str, metadata: dict[str, str] | None = None, **inputs: str) -> None:
        tags = {f"dagster/input_data_version/secom/training/{asset}": given for asset, given in inputs.items()}
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                training_key("secom", name), metadata=metadata or {}, tags={"dagster/data_version": version, **tags}
            )
        )

    def register(self, content: bytes, k: int | None = None) -> BundleVersion:
        with self.tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as tracked:
            tracked.log_bytes(OUT_OF_FOLD, results(2).to_parquet())
            tags = {"config_hash": ModelConfig(k=k).content_hash}
            version = self.tracking.register_bundle(tracked, content, sensors=["Sensor-1"], tags=tags)
        self.report("model_bundle", str(version.version), {"mlflow_run_id": version.run_id}, wafer_table="t")
        return version

    def decide(self, act: Callable[..., object], version: BundleVersion) -> None:
        act(self.tracking, self.log, version, by="a test", reason="It is needed.", figures={})
        self.report("champion", "?")

    @property
    def left(self) -> str | None:
        return training_left(self.instance, LINE, self.tracking, self.log, self.s3)


@pytest.fixture
def trained(platform_settings: Settings) -> Iterator[Trained]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Trained(platform_settings, instance)


def test_training_is_over_once_its_model_is_decided_on(trained: Trained) -> None:
    assert trained.left == "train"
    first = trained.register(bundle_bytes(0))
    assert trained.left == "decide"
    promote(trained.tracking, trained.log, first, by="a test", reason="It is needed.", figures={})
    assert trained.left == "decide"  # Dagster has not been told
    trained.report("champion", "1")
    assert trained.left is None

    trained.decide(keep, trained.register(bundle_bytes(1)))
    assert trained.left is None
    trained.report("batch_ledger", "other")
    assert trained.left == "train"


def test_a_model_of_other_hyperparameters_is_not_decided_on_but_trained_anew(trained: Trained) -> None:
    trained.register(bundle_bytes(0), k=3)
    assert trained.left == "train"


def test_a_switch_that_never_came_about_is_left_to_do(trained: Trained, platform_settings: Settings) -> None:
    version = trained.register(bundle_bytes(0))
    with pytest.raises(ConnectionError):
        promote(
            CutOff(platform_settings, "secom"), trained.log, version, by="a test", reason="It is needed.", figures={}
        )
    trained.report("champion", "?")
    assert trained.tracking.version(CHAMPION) is None
    assert trained.left == "decide"


def test_a_lost_table_model_or_registry_is_made_again(trained: Trained) -> None:
    version = trained.register(bundle_bytes(0))
    trained.decide(promote, version)
    assert trained.left is None

    table = "secom/training/wafer_table/wafer_table.parquet"
    trained.s3.delete(trained.s3.lake, table)
    assert trained.left == "train"
    trained.s3.put(trained.s3.lake, table, b"a table")

    (bundle,) = [item.key for item in trained.s3.list_objects(trained.s3.lake) if item.key.endswith("/bundle.skops")]
    content = trained.s3.get(trained.s3.lake, bundle)
    trained.s3.put(trained.s3.lake, bundle, content[:5_000])
    assert trained.left == "train"
    trained.s3.put(trained.s3.lake, bundle, content)
    assert trained.left is None

    trained.report("model_bundle", str(version.version), {"mlflow_run_id": "of another registry"}, wafer_table="t")
    assert trained.left == "train"


def test_a_champion_that_cannot_be_read_is_decided_on_again(trained: Trained) -> None:
    damaged = trained.register(bundle_bytes(0))
    trained.decide(promote, damaged)
    exchange_bundle(trained.tracking, trained.s3, damaged, bundle_bytes(0)[:5_000])
    trained.decide(keep, trained.register(bundle_bytes(1)))
    assert trained.left == "decide"

"""A line's folder is made whole or not at all, and a line is removed with all that is stored of it and no more."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from resources.mlflow import CHAMPION, LineTracking
from resources.mongo import WaferStore
from resources.releases import Release, ReleaseLog
from resources.s3 import S3Store, StoredObject
from schemas.lines import FEEDS, Feed, Line
from schemas.loader import BatchSchema
from tests.feeds import LINE, TRAINING
from wafer_assets.domain.inference import InferenceError
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import landing_key
from wafer_assets.operations.ingestion import ingest_batch
from wafer_assets.operations.landing import report_raw_batches
from wafer_assets.operations.lines import (
    LineAtWorkError,
    LineStores,
    changed_contract,
    new_line,
    undeclared_lines,
)
from wafer_assets.operations.ranges import known_batches
from wafer_assets.settings import Settings


def stored_object(key: str) -> StoredObject:
    return StoredObject(key, 1, "etag", datetime(2026, 1, 1, tzinfo=UTC))


def test_what_cannot_be_read_leaves_no_folder_and_no_other_line_touched(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    (lines / "other").mkdir(parents=True)
    (batch,) = simulate_batches(1, 30, feed="prediction", seed=1)
    file = tmp_path / batch.name
    file.write_bytes(batch.content)
    with pytest.raises(InferenceError, match="label"):
        new_line(lines, "mine", [file])
    assert [folder.name for folder in lines.iterdir()] == ["other"]


def test_the_feeds_may_have_files_of_one_name(tmp_path: Path) -> None:
    files = []
    for feed in FEEDS:
        (batch,) = simulate_batches(1, 60, feed=feed, seed=3, fault_rate=0.2)
        (tmp_path / feed).mkdir()
        files.append(tmp_path / feed / "wafer_06012020_060700.csv")
        files[-1].write_bytes(batch.content)
    line, inferred = new_line(tmp_path / "lines", "mine", files)
    assert inferred.labelled == (str(files[FEEDS.index("training")]),)
    assert len(line.training.columns) == len(line.prediction.columns) + 1


ETCH = LINE.model_copy(update={"name": "etch", "files": LINE.files.model_copy(update={"landing": "fab/etch"})})


def ingested(settings: Settings, line: Line, kind: Feed = "training") -> str:
    """Let a file of a line land and ingest it; return its name."""
    s3, schema = S3Store(settings), BatchSchema.of(line, kind)
    (batch,) = simulate_batches(1, 4, feed=kind, seed=1)
    s3.put(s3.landing, landing_key(schema.line_feed, batch.name), batch.content)
    ingest_batch(schema, batch.name, s3, WaferStore(settings))
    return batch.name


def released(line: str) -> Release:
    """Return a decision to let a held batch of a line in."""
    return Release(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        line=line,
        feed="training",
        batch="a.csv",
        etag="e",
        by="somebody",
        reason="looked at",
        held_for=(),
    )


def everything(settings: Settings, *without: str) -> dict[str, str]:
    """Return the ETag of every object in the buckets, but for those under some prefixes."""
    s3 = S3Store(settings)
    items = [item for bucket in (s3.landing, s3.lake) for item in s3.list_objects(bucket)]
    return {item.key: item.etag for item in items if not item.key.startswith(without)}


def test_a_removed_line_leaves_nothing_and_takes_nothing_of_another_one(platform_settings: Settings) -> None:
    settings = platform_settings
    wafers, tracking, releases = WaferStore(settings), LineTracking(settings, "etch"), ReleaseLog(settings)
    for line in (LINE, ETCH):
        ingested(settings, line)
    with tracking.run(dg.DagsterRun(job_name="etch__train", run_id=str(uuid4()))) as run:
        version = tracking.register_bundle(run, b"bundle", sensors=["Sensor-1"], tags={})
    with dg.DagsterInstance.ephemeral() as instance:
        for line in (LINE, ETCH):
            report_raw_batches(instance, line.feed("training"), "landing", {"a.csv": stored_object("a.csv")})
        for line in ("secom", "etch"):
            releases.append(released(line))
        stores = LineStores(settings, instance, "etch", [LINE, ETCH])
        stored = stores.look()
        assert (stored.batches, stored.wafers, stored.versions) == (1, 4, 1)
        assert [key.rpartition("/")[0] for key in stored.landed] == ["fab/etch/training"]
        others = everything(settings, *stored.landed, *stored.kept)
        stores.remove(stored)
        assert everything(settings) == others
        assert wafers.lines() == ["secom"]
        assert tracking.versions() == []
        assert releases.history(ETCH.feed("training")) == [], "it lets nothing into a later line of that name"
        assert releases.history(TRAINING) == [released("secom")]
        assert not stores.look()
        assert {key.path[0] for key in instance.all_asset_keys()} == {"secom"}
        assert known_batches(instance, ETCH.feed("training")) == []
        assert known_batches(instance, TRAINING) == ["a.csv"]
    with tracking.run(dg.DagsterRun(job_name="etch__train", run_id=str(uuid4()))) as again:
        assert again.experiment_id != run.experiment_id, "a line of that name begins anew"
    assert version.name == "-".join([settings.mlflow.model_name, "etch"])


def test_a_renamed_line_keeps_its_files_when_the_former_is_removed(platform_settings: Settings) -> None:
    name = ingested(platform_settings, ETCH)
    renamed = ETCH.model_copy(update={"name": "metal"})
    assert undeclared_lines(WaferStore(platform_settings), ["secom", "metal"]) == ["etch"]
    with dg.DagsterInstance.ephemeral() as instance:
        stores = LineStores(platform_settings, instance, "etch", [LINE, renamed])
        assert stores.look().landed == ()
    assert S3Store(platform_settings).exists("landing", f"fab/etch/training/{name}")


def test_a_line_is_not_removed_under_a_run(platform_settings: Settings) -> None:
    ingested(platform_settings, ETCH)
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.DagsterRun(job_name="etch__train", run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        stores = LineStores(platform_settings, instance, "etch", [LINE, ETCH])
        with pytest.raises(LineAtWorkError, match=run.run_id):
            stores.remove(stores.look())
    assert WaferStore(platform_settings).lines() == ["etch"]


def test_a_changed_contract_says_what_becomes_of_what_is_stored(platform_settings: Settings) -> None:
    settings = platform_settings
    wafers, tracking = WaferStore(settings), LineTracking(settings, "secom")
    ingested(settings, LINE)
    s3 = S3Store(settings)
    s3.put(s3.landing, landing_key(TRAINING, "bad.csv"), b"Wafer\n")
    ingest_batch(BatchSchema.of(LINE, "training"), "bad.csv", s3, wafers)
    with tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as run:
        version = tracking.register_bundle(run, b"bundle", sensors=["Sensor-1"], tags={"contract_version": "1.0"})
    tracking.set_alias(CHAMPION, version)
    assert changed_contract(LINE, wafers, tracking) == []
    minor = " ".join(changed_contract(LINE.model_copy(update={"contract": "1.1"}), wafers, tracking))
    assert "1 training batches accepted by contract 1.0 stay as they are; `wafer ingest" in minor
    assert "1 training batches quarantined by contract 1.0 stay there; `wafer quarantine replay" in minor
    assert "goes on predicting" in minor
    major = " ".join(changed_contract(LINE.model_copy(update={"contract": "2.0"}), wafers, tracking))
    assert "scores no batch of contract 2.0" in major

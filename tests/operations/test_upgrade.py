"""What layout 1 stored becomes the shipped line's, and nothing of it is lost."""

from pathlib import Path

import dagster as dg
import pytest

from resources.mlflow import CHAMPION, LineTracking, Tracking
from resources.mongo import MongoStore, WaferStore
from resources.predictions import PredictionStore
from resources.promotions import PromotionLog
from resources.s3 import S3Store
from schemas.loader import load_schema
from tests.feeds import PREDICTION, TRAINING
from tests.stored import frame_of
from wafer_assets.domain.contract import Accepted, validate
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import landing_key, quarantine_folder, report_key
from wafer_assets.operations.ingestion import ingest_batch
from wafer_assets.operations.upgrade import upgrade
from wafer_assets.settings import Settings, load_settings
from wafer_assets.settings.layout import LAYOUT_FILE, UPGRADE_FILE, StateLayoutError, begin_upgrade

BATCH, BAD = "wafer_06012020_060700.csv", "bad.csv"
SCHEMA = load_schema("training")


SCORED_AT = "2026-01-01T00:00:00Z"
REPORT = f"prediction/reports/{Path(BATCH).stem}.html"
SCORED = {
    "batch": BATCH,
    "sha256": "s",
    "wafers": 1,
    "alarms": 1,
    "bundle_version": 1,
    "csv": f"prediction/predictions/{BATCH}",
    "report": REPORT,
    "dagster_run_id": "r",
    "scored_at": SCORED_AT,
}
DECISION = {
    "at": SCORED_AT,
    "action": "promote",
    "version": 1,
    "previous": None,
    "by": "somebody",
    "reason": "the first",
    "figures": {},
    "dagster_run_id": None,
}


class Former(MongoStore):
    """The documents as the former layout kept them."""

    def write(self, model: str) -> None:
        database = self._database
        for document in list(database["batches"].find({"line": "secom"})):
            former = {key: value for key, value in document.items() if key not in {"feed", "warnings"}}
            kind, batch = document["feed"], document["batch"]
            former |= {"_id": f"{kind}/{batch}", "line": kind, "key": f"{kind}/{batch}"}
            database["batches"].delete_one({"_id": document["_id"]})
            database["batches"].insert_one(former)
        database["secom_training_wafers"].rename("training_wafers")
        database["scored_batches"].insert_one({"_id": BATCH, "model": model, **SCORED})
        database["promotions"].insert_one({"_id": 1, "model": model, **DECISION})


@pytest.fixture
def former(platform_settings: Settings) -> Settings:
    """The stores and the folder of layout 1, with an accepted, a refused and a scored batch, and a champion."""
    settings, s3, store = platform_settings, S3Store(platform_settings), WaferStore(platform_settings)
    (batch,) = simulate_batches(1, 5, feed="training", seed=1)
    for name, content in ((BATCH, batch.content), (BAD, b"Wafer\n")):
        s3.put(s3.landing, landing_key(TRAINING, name), content)
        ingest_batch(SCHEMA, name, s3, store)
    for bucket in (s3.landing, s3.lake):
        for item in s3.list_objects(bucket, "secom/"):
            s3.copy(bucket, item.key, bucket, item.key.removeprefix("secom/"))
            s3.delete(bucket, item.key)
    s3.put(s3.lake, REPORT, b"page")
    Former(settings).write(settings.mlflow.model_name)
    tracking = LineTracking(settings, "")
    with tracking.run(dg.DagsterRun(job_name="train", run_id="former")) as run:
        version = tracking.register_bundle(run, b"bundle", sensors=["Sensor-1"], tags={})
    tracking.set_alias(CHAMPION, version)
    (settings.state_dir / "dagster").mkdir(parents=True)
    (settings.state_dir / "dagster" / "history").write_text("of runs")
    (settings.state_dir / LAYOUT_FILE).write_text("1\n")
    return settings


def require_all_there(settings: Settings) -> None:
    s3, store = S3Store(settings), WaferStore(settings)
    assert [(item.batch, item.status) for item in store.batches(TRAINING)] == [
        (BAD, "quarantined"),
        (BATCH, "accepted"),
    ]
    verdict = validate(BATCH, s3.get(s3.landing, landing_key(TRAINING, BATCH)), SCHEMA)
    assert isinstance(verdict, Accepted)
    assert frame_of(store, TRAINING, BATCH).equals(verdict.frame)
    assert s3.exists(s3.lake, f"{quarantine_folder(TRAINING, BAD)}reasons.json")
    scored = PredictionStore(settings).scored_batch("secom", BATCH)
    assert scored is not None
    assert scored.report == report_key("secom", BATCH)
    assert s3.get(s3.lake, scored.report) == b"page"
    tracking = LineTracking(settings, "secom")
    champion = tracking.version(CHAMPION)
    assert champion is not None
    assert scored.model == champion.name
    assert tracking.content_of(champion) == b"bundle"
    assert [record.reason for record in PromotionLog(settings).history(champion.name)] == ["the first"]
    assert (settings.state_dir / "dagster.layout1" / "history").read_text() == "of runs"
    assert not s3.list_objects(s3.landing, "training/")
    assert not store.batches(PREDICTION)


def test_everything_becomes_the_line_s(former: Settings) -> None:
    assert begin_upgrade(former.state_dir)
    said = " ".join(upgrade(former))
    require_all_there(former)
    assert "2 files in the landing bucket" in said
    assert "2 batches in MongoDB" in said
    assert not begin_upgrade(former.state_dir)


def test_an_upgrade_that_was_cut_short_says_so_and_goes_on(former: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert begin_upgrade(former.state_dir)
    steps = upgrade(former)
    for _ in range(3):
        next(steps)
    steps.close()
    monkeypatch.setenv("WAFER_STATE_DIR", str(former.state_dir))
    with pytest.raises(StateLayoutError, match="`wafer services upgrade` goes on with it"):
        load_settings()
    assert begin_upgrade(former.state_dir)
    assert list(upgrade(former))
    require_all_there(former)
    assert not (former.state_dir / UPGRADE_FILE).exists()
    assert Tracking(former).adopt("secom") == 1, "done again, it changes nothing"

"""Releases of held batches are kept for good, for the very file that was looked at."""

from datetime import UTC, datetime

from resources.mongo import WaferStore
from resources.releases import Release, ReleaseLog
from tests.feeds import PREDICTION, TRAINING
from wafer_assets.settings import Settings


def test_releases_are_kept_in_order_and_hold_for_one_file(settings: Settings, mongo: WaferStore) -> None:
    log = ReleaseLog(settings)
    records = [
        Release(
            at=datetime(2026, 1, day, tzinfo=UTC),
            line="secom",
            feed="training",
            batch="wafer_28012020_051011.csv",
            etag=f"etag-{day}",
            by="ada",
            reason="The lab confirms it.",
            held_for=({"code": "fault_rate_implausible", "row": None},),
        )
        for day in (1, 2)
    ]
    for record in records:
        log.append(record)

    assert log.history(TRAINING) == log.history(TRAINING, "wafer_28012020_051011.csv")
    assert [record.model_dump() for record in log.history(TRAINING)] == [record.model_dump() for record in records]
    assert log.history(PREDICTION) == []
    assert mongo.is_released(TRAINING, "wafer_28012020_051011.csv", "etag-2")
    assert not mongo.is_released(TRAINING, "wafer_28012020_051011.csv", "etag-3")
    assert not mongo.is_released(PREDICTION, "wafer_28012020_051011.csv", "etag-2")

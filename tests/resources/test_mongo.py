"""The wafer store: exact values, and what became of every batch."""

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from pymongo import MongoClient

from resources.mongo import BatchFailure, BatchNotFoundError, StoredBatch, WaferStore
from resources.s3 import StoredObject
from schemas.lines import LineFeed
from tests.feeds import PREDICTION, TRAINING, line_like
from tests.stored import frame_of
from wafer_assets.settings import NotConfiguredError, Settings

SENSORS = [f"Sensor-{number}" for number in range(1, 591)]
SOURCE = StoredObject("secom/training/a.csv", 512_000, "etag", datetime(2020, 1, 28, 5, 10, 11, tzinfo=UTC))
REASONS: list[dict[str, str | int | None]] = [
    {"code": "column_missing", "row": 1, "column": "Sensor-7", "found": "", "remedy": "Send it."},
    {
        "code": "wafer_repeated",
        "row": 17,
        "column": None,
        "found": "Wafer-3",
        "remedy": "Number wafers once.",
    },
]


def batch(wafers: int = 12, *, seed: int = 0, faulty: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    readings = rng.normal(scale=1e3, size=(wafers, len(SENSORS)))
    readings[rng.random(readings.shape) < 0.1] = np.nan
    frame = pd.DataFrame(readings, columns=SENSORS)
    # Not in the order of names or numbers: a file's order is its own.
    frame.insert(0, "wafer", [f"Wafer-{number}" for number in rng.permutation(wafers) + 1])
    if faulty:
        frame["faulty"] = (rng.random(wafers) < 0.3).astype(np.int8)
    return frame


@pytest.mark.parametrize("feed", [TRAINING, PREDICTION], ids=str)
def test_a_batch_comes_back_exactly(mongo: WaferStore, feed: LineFeed) -> None:
    frame = batch(100, faulty=feed == TRAINING)
    frame.iloc[0, 1:8] = [-0.0, 5e-324, math.pi, 1.7976931348623157e308, 0.1 + 0.2, 1e22, np.nan]
    frame["Sensor-590"] = np.nan  # a sensor that the line did not have yet
    mongo.replace_batch(feed, "a.csv", frame, SOURCE, sha256="0")
    found = frame_of(mongo, feed, "a.csv")
    pd.testing.assert_frame_equal(found, frame, check_exact=True)
    assert np.signbit(found["Sensor-1"].to_numpy()[0])


def test_what_is_no_sensor_comes_back_beside_the_frame(mongo: WaferStore, settings: Settings) -> None:
    frame = batch(3)
    frame.insert(1, "order", [3.0, 1.0, 0.1 + 0.2])
    context = pd.DataFrame(
        {"Tool": ["ETCH-3", None, "ETCH-4"], "Slot": [1.0, 2.0, np.nan], "Note": [None, None, None]}, dtype=object
    )
    mongo.replace_batch(TRAINING, "a.csv", frame, SOURCE, sha256="0", context=context)
    stored = mongo.read(TRAINING, "a.csv")
    assert stored.frame is not None
    assert stored.context is not None
    pd.testing.assert_frame_equal(stored.frame, frame, check_exact=True)
    found = [{name: value for name, value in row.items() if pd.notna(value)} for _, row in stored.context.iterrows()]
    assert found == [{"Tool": "ETCH-3", "Slot": 1.0}, {"Slot": 2.0}, {"Tool": "ETCH-4"}]
    assert "Note" not in stored.context, "nothing is known of a column that is empty throughout"
    assert settings.mongo.uri is not None
    with MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value()) as client:
        wafers = client[settings.mongo.database]["secom_training_wafers"]
        assert wafers.count_documents({"context.Tool": "ETCH-3"}) == 1
        assert wafers.count_documents({"order": {"$lt": 2}}) == 2


def test_batches_of_one_name_in_two_lines_are_kept_apart(mongo: WaferStore) -> None:
    other = line_like("other").feed("training")
    ours, theirs = batch(4, seed=1), batch(5, seed=2)
    mongo.replace_batch(TRAINING, "a.csv", ours, SOURCE, sha256="1")
    mongo.replace_batch(other, "a.csv", theirs, SOURCE, sha256="2")
    mongo.quarantine_batch(other, "b.csv", REASONS, SOURCE)
    pd.testing.assert_frame_equal(frame_of(mongo, TRAINING, "a.csv"), ours)
    pd.testing.assert_frame_equal(frame_of(mongo, other, "a.csv"), theirs)
    assert [item.batch for item in mongo.batches(TRAINING)] == ["a.csv"]
    assert [item.batch for item in mongo.batches(other)] == ["a.csv", "b.csv"]


def test_a_line_that_is_removed_leaves_nothing_and_takes_nothing_of_another_along(mongo: WaferStore) -> None:
    assert mongo.lines() == []
    other = line_like("other").feed("training")
    for feed in (TRAINING, other):
        mongo.replace_batch(feed, "a.csv", batch(4), SOURCE, sha256="1")
        mongo.note_failure(failure(feed))
    mongo.quarantine_batch(line_like("third").feed("prediction"), "b.csv", REASONS, SOURCE)
    assert mongo.lines() == ["other", "secom", "third"]

    mongo.remove_line("other")
    assert mongo.lines() == ["secom", "third"]
    assert mongo.batches(other) == []
    assert mongo.failures(other) == []
    assert "other_training_wafers" not in mongo._database.list_collection_names()
    assert len(frame_of(mongo, TRAINING, "a.csv")) == 4
    assert [item.batch for item in mongo.failures(TRAINING)] == ["late.csv"]

    # And the line may come back, with the indexes that make it quick.
    mongo.replace_batch(other, "a.csv", batch(4), SOURCE, sha256="1")
    assert len(frame_of(mongo, other, "a.csv")) == 4
    assert {"batch_1", "wafer_1"} <= set(mongo._database["other_training_wafers"].index_information())


def failure(feed: LineFeed) -> BatchFailure:
    return BatchFailure(
        line=feed.line,
        feed=feed.kind,
        batch="late.csv",
        etag="etag",
        code_version="1",
        reason="It is too large.",
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_manifest_says_what_was_stored(mongo: WaferStore) -> None:
    frame = batch()
    manifest = mongo.replace_batch(TRAINING, "a.csv", frame, SOURCE, sha256="abc")
    assert (manifest.status, manifest.wafers, manifest.sha256) == ("accepted", 12, "abc")
    assert manifest.faulty == frame["faulty"].sum()
    assert (manifest.key, manifest.etag, manifest.size) == (SOURCE.key, SOURCE.etag, SOURCE.size)
    [listed] = mongo.batches(TRAINING)
    assert listed.model_dump(exclude={"stored_at"}) == manifest.model_dump(exclude={"stored_at"})
    assert abs((listed.stored_at - manifest.stored_at).total_seconds()) < 0.001


def test_a_quarantined_batch_keeps_its_reasons_and_no_wafers(mongo: WaferStore) -> None:
    mongo.replace_batch(TRAINING, "a.csv", batch(), SOURCE, sha256="0")
    mongo.quarantine_batch(TRAINING, "a.csv", REASONS, SOURCE)
    [manifest] = mongo.batches(TRAINING)
    assert (manifest.status, manifest.wafers, manifest.sha256) == ("quarantined", 0, None)
    assert list(manifest.reasons) == REASONS
    assert mongo.read(TRAINING, "a.csv") == StoredBatch(manifest, None, None)


def test_ingesting_again_replaces_exactly_the_batchs_own_records(mongo: WaferStore) -> None:
    first, other, second = batch(20, seed=1), batch(5, seed=2), batch(7, seed=3)
    mongo.replace_batch(TRAINING, "a.csv", first, SOURCE, sha256="1")
    mongo.replace_batch(TRAINING, "b.csv", other, SOURCE, sha256="2")
    mongo.replace_batch(PREDICTION, "a.csv", batch(4, faulty=False), SOURCE, sha256="3")
    for _ in range(2):
        mongo.replace_batch(TRAINING, "a.csv", second, SOURCE, sha256="4")
    pd.testing.assert_frame_equal(frame_of(mongo, TRAINING, "a.csv"), second)
    pd.testing.assert_frame_equal(frame_of(mongo, TRAINING, "b.csv"), other)
    assert len(frame_of(mongo, PREDICTION, "a.csv")) == 4


def test_batches_are_listed_by_line_and_status(mongo: WaferStore) -> None:
    mongo.replace_batch(TRAINING, "b.csv", batch(), SOURCE, sha256="0")
    mongo.quarantine_batch(TRAINING, "a.csv", REASONS, SOURCE)
    mongo.quarantine_batch(PREDICTION, "c.csv", REASONS, SOURCE)
    assert [item.batch for item in mongo.batches(TRAINING)] == ["a.csv", "b.csv"]
    assert [item.batch for item in mongo.batches(TRAINING, "accepted")] == ["b.csv"]
    assert [item.batch for item in mongo.batches(PREDICTION, "accepted")] == []


def test_all_accepted_batches_are_read_one_by_one(mongo: WaferStore) -> None:
    frames = {f"{number}.csv": batch(seed=number) for number in range(3)}
    for name, frame in frames.items():
        mongo.replace_batch(TRAINING, name, frame, SOURCE, sha256=name)
    mongo.quarantine_batch(TRAINING, "bad.csv", REASONS, SOURCE)
    reading = mongo.read_batches(TRAINING)
    manifest, frame = next(reading)
    assert manifest.sha256 == manifest.batch == "0.csv"
    pd.testing.assert_frame_equal(frame, frames["0.csv"])
    mongo.quarantine_batch(TRAINING, "1.csv", REASONS, SOURCE)
    assert [item.batch for item, _ in reading] == ["2.csv"]


def test_only_wafers_that_a_manifest_names_are_counted_and_found(mongo: WaferStore) -> None:
    mongo.replace_batch(TRAINING, "a.csv", batch(), SOURCE, sha256="1")
    wafers = mongo._database["secom_training_wafers"]
    killed = {"batch": "new.csv", "version": "of a killed process", "wafer": "Wafer-3", "row": 0, "readings": {}}
    wafers.insert_one({"_id": "new.csv:Wafer-3:of a killed process", **killed})
    assert mongo.miscounted(TRAINING, mongo.batches(TRAINING)) == []
    assert mongo.batches_of(TRAINING, "Wafer-3") == ["a.csv"]
    with pytest.raises(BatchNotFoundError, match=r"no accepted batch 'new\.csv'"):
        mongo.read(TRAINING, "new.csv")


def test_a_batch_that_somebody_deleted_wafers_of_is_named(mongo: WaferStore) -> None:
    mongo.replace_batch(TRAINING, "a.csv", batch(), SOURCE, sha256="1")
    mongo.replace_batch(TRAINING, "b.csv", batch(), SOURCE, sha256="2")
    mongo._database["secom_training_wafers"].delete_one({"batch": "a.csv", "wafer": "Wafer-3"})
    assert mongo.miscounted(TRAINING, mongo.batches(TRAINING)) == ["a.csv"]
    assert mongo.batches_of(TRAINING, "Wafer-3") == ["b.csv"]


def test_a_person_can_query_wafers(mongo: WaferStore, settings: Settings) -> None:
    frame = batch()
    frame["Sensor-60"] = [np.nan, *range(1, 12)]
    mongo.replace_batch(TRAINING, "a.csv", frame, SOURCE, sha256="0")
    assert settings.mongo.uri is not None
    with MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value()) as client:
        wafers = client[settings.mongo.database]["secom_training_wafers"]
        assert wafers.count_documents({"readings.Sensor-60": {"$gt": 5}}) == 6
        assert wafers.count_documents({"readings.Sensor-60": {"$exists": False}}) == 1
        assert wafers.count_documents({"wafer": frame["wafer"][0]}) == 1
        assert {"batch_1", "wafer_1"} <= set(wafers.index_information())
        document = wafers.find_one({"batch": "a.csv", "wafer": frame["wafer"][3]})
        assert document is not None
        assert document["row"] == 3
        (manifest,) = mongo.batches(TRAINING)
        assert document["version"] == manifest.version
        assert document["_id"] == f"a.csv:{frame['wafer'][3]}:{manifest.version}"


def test_a_store_without_address_says_what_to_do() -> None:
    with pytest.raises(NotConfiguredError, match="WAFER_MONGO__URI"):
        WaferStore(Settings()).batches(TRAINING)

"""The wafer store: exact values, batches replaced as a whole, never half a batch."""

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from pymongo import MongoClient
from pymongo.errors import BulkWriteError

from resources.batch_documents import PIECE, BatchDocuments, IncompleteBatchError, StoringTooSlowError
from resources.mongo import BatchNotFoundError, WaferStore
from resources.s3 import StoredObject
from tests.conftest import environment_of
from tests.stored import frame_of
from wafer_assets.settings import NotConfiguredError, Settings

SENSORS = [f"Sensor-{number}" for number in range(1, 591)]
SOURCE = StoredObject("training/a.csv", 512_000, "etag", datetime(2020, 1, 28, 5, 10, 11, tzinfo=UTC))
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


@pytest.mark.parametrize("line", ["training", "prediction"])
def test_a_batch_comes_back_exactly(mongo: WaferStore, line: str) -> None:
    frame = batch(100, faulty=line == "training")
    frame.iloc[0, 1:8] = [-0.0, 5e-324, math.pi, 1.7976931348623157e308, 0.1 + 0.2, 1e22, np.nan]
    frame["Sensor-590"] = np.nan  # a sensor that the line did not have yet
    mongo.replace_batch(line, "a.csv", frame, SOURCE, sha256="0")  # type: ignore[arg-type]
    found = frame_of(mongo, line, "a.csv")  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(found, frame, check_exact=True)
    assert np.signbit(found["Sensor-1"].to_numpy()[0])


def test_a_manifest_says_what_was_stored(mongo: WaferStore) -> None:
    frame = batch()
    manifest = mongo.replace_batch("training", "a.csv", frame, SOURCE, sha256="abc")
    assert (manifest.status, manifest.wafers, manifest.sha256) == ("accepted", 12, "abc")
    assert manifest.faulty == frame["faulty"].sum()
    assert (manifest.key, manifest.etag, manifest.size) == (SOURCE.key, SOURCE.etag, SOURCE.size)
    [listed] = mongo.batches("training")
    assert listed.model_dump(exclude={"stored_at"}) == manifest.model_dump(exclude={"stored_at"})
    assert abs((listed.stored_at - manifest.stored_at).total_seconds()) < 0.001


def test_a_quarantined_batch_keeps_its_reasons_and_no_wafers(mongo: WaferStore) -> None:
    mongo.replace_batch("training", "a.csv", batch(), SOURCE, sha256="0")
    mongo.quarantine_batch("training", "a.csv", REASONS, SOURCE)
    [manifest] = mongo.batches("training")
    assert (manifest.status, manifest.wafers, manifest.sha256) == ("quarantined", 0, None)
    assert list(manifest.reasons) == REASONS
    assert mongo.read("training", "a.csv") == (manifest, None)


def test_ingesting_again_replaces_exactly_the_batchs_own_records(mongo: WaferStore) -> None:
    first, other, second = batch(20, seed=1), batch(5, seed=2), batch(7, seed=3)
    mongo.replace_batch("training", "a.csv", first, SOURCE, sha256="1")
    mongo.replace_batch("training", "b.csv", other, SOURCE, sha256="2")
    mongo.replace_batch("prediction", "a.csv", batch(4, faulty=False), SOURCE, sha256="3")
    for _ in range(2):
        mongo.replace_batch("training", "a.csv", second, SOURCE, sha256="4")
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), second)
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "b.csv"), other)
    assert len(frame_of(mongo, "prediction", "a.csv")) == 4


def test_batches_are_listed_by_line_and_status(mongo: WaferStore) -> None:
    mongo.replace_batch("training", "b.csv", batch(), SOURCE, sha256="0")
    mongo.quarantine_batch("training", "a.csv", REASONS, SOURCE)
    mongo.quarantine_batch("prediction", "c.csv", REASONS, SOURCE)
    assert [item.batch for item in mongo.batches("training")] == ["a.csv", "b.csv"]
    assert [item.batch for item in mongo.batches("training", "accepted")] == ["b.csv"]
    assert [item.batch for item in mongo.batches("prediction", "accepted")] == []


def test_all_accepted_batches_are_read_one_by_one(mongo: WaferStore) -> None:
    frames = {f"{number}.csv": batch(seed=number) for number in range(3)}
    for name, frame in frames.items():
        mongo.replace_batch("training", name, frame, SOURCE, sha256=name)
    mongo.quarantine_batch("training", "bad.csv", REASONS, SOURCE)
    reading = mongo.read_batches("training")
    manifest, frame = next(reading)
    assert manifest.sha256 == manifest.batch == "0.csv"
    pd.testing.assert_frame_equal(frame, frames["0.csv"])
    mongo.quarantine_batch("training", "1.csv", REASONS, SOURCE)
    assert [item.batch for item, _ in reading] == ["2.csv"]


def test_a_refused_write_leaves_the_batch_as_it_was(mongo: WaferStore) -> None:
    frame = batch()
    mongo.replace_batch("training", "a.csv", frame, SOURCE, sha256="1")
    twice = pd.concat([batch(3, seed=1), batch(3, seed=1)], ignore_index=True)
    with pytest.raises(BulkWriteError, match="duplicate key"):
        mongo.replace_batch("training", "a.csv", twice, SOURCE, sha256="2")
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), frame)
    assert mongo.batches("training")[0].sha256 == "1"


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_no_reader_sees_half_a_batch(mongo: WaferStore, settings: Settings) -> None:
    # Every version has its own size and its own value everywhere, so that any mixture shows.
    versions = [batch(10 + number) for number in range(8)]
    for number, frame in enumerate(versions):
        frame.loc[:, SENSORS] = float(number)
    mongo.replace_batch("training", "a.csv", versions[0], SOURCE, sha256="0")
    done = threading.Event()

    def write() -> None:
        writer = WaferStore(settings)
        try:
            for _ in range(3):
                for number, frame in enumerate(versions):
                    writer.replace_batch("training", "a.csv", frame, SOURCE, sha256=str(number))
        finally:
            done.set()

    seen = set()
    writing = in_background(write)
    while not done.is_set():
        [(manifest, frame)] = mongo.read_batches("training")
        version = int(manifest.sha256 or "")
        assert len(frame) == manifest.wafers == 10 + version
        assert (frame[SENSORS] == version).all(axis=None)
        seen.add(version)
    writing.join()
    assert len(seen) > 1


def test_two_writers_of_one_batch_leave_one_of_their_versions(mongo: WaferStore, settings: Settings) -> None:
    versions = [batch(10, seed=1), batch(15, seed=2)]

    def write(number: int) -> None:
        for _ in range(5):
            WaferStore(settings).replace_batch("training", "a.csv", versions[number], SOURCE, sha256=str(number))

    for thread in [in_background(lambda number=number: write(number)) for number in range(2)]:  # type: ignore[misc]
        thread.join()
    winner = int(mongo.batches("training")[0].sha256 or "")
    assert stored(mongo) == len(versions[winner])
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), versions[winner])


# --- Batches larger than a transaction, and what is left of storings that did not end ---


def test_a_batch_that_no_transaction_holds_is_stored_replaced_and_read_whole(mongo: WaferStore) -> None:
    large, small = batch(2_000, seed=1), batch(5, seed=2)
    mongo.replace_batch("training", "a.csv", large, SOURCE, sha256="1")
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), large)
    mongo.replace_batch("training", "a.csv", small, SOURCE, sha256="2")
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), small)
    assert stored(mongo) == 5
    mongo.quarantine_batch("training", "a.csv", REASONS, SOURCE)
    assert stored(mongo) == 0


def stored(mongo: WaferStore) -> int:
    """Return how many wafers of the training line there are, whether anybody sees them or not."""
    return mongo._database["training_wafers"].count_documents({})


def age_storings(mongo: WaferStore) -> None:
    """Let all storings look as if they had begun an hour ago."""
    mongo._database["storings"].update_many({}, {"$set": {"begun_at": datetime.now(UTC) - timedelta(hours=1)}})


KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from resources import batch_documents
from resources.mongo import WaferStore
from wafer_assets.settings import Settings

batch_documents.PIECE = 2
def documents():
    for row in range(7):
        yield {"wafer": f"Wafer-{row}", "row": row, "readings": {}}
    os.kill(os.getpid(), signal.SIGKILL)
WaferStore(Settings())._records("training").replace(sys.argv[1], {"wafers": 100}, documents())
"""


def test_what_a_killed_process_stored_is_seen_by_nobody_and_swept_later(mongo: WaferStore, settings: Settings) -> None:
    frame = batch()
    mongo.replace_batch("training", "a.csv", frame, SOURCE, sha256="1")
    for name in ("a.csv", "new.csv"):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_IN_THE_MIDDLE, name], env={**os.environ, **environment_of(settings)}
        )
        assert killed.returncode == -signal.SIGKILL
    assert stored(mongo) == 12 + 2 * 6

    assert [item.batch for item in mongo.batches("training")] == ["a.csv"]
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), frame)
    assert mongo.miscounted("training", mongo.batches("training")) == []
    assert mongo.batches_of("training", "Wafer-3") == ["a.csv"]
    with pytest.raises(BatchNotFoundError, match=r"no accepted batch 'new\.csv'"):
        frame_of(mongo, "training", "new.csv")

    # What is young may be at work: it stays. Whatever is stored next sweeps what is old.
    mongo.sweep()
    assert stored(mongo) == 12 + 2 * 6
    age_storings(mongo)
    mongo.quarantine_batch("prediction", "other.csv", REASONS, SOURCE)
    assert stored(mongo) == 12
    assert mongo._database["storings"].count_documents({}) == 0
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), frame)


def test_a_storing_that_was_swept_while_it_was_at_work_changes_nothing(mongo: WaferStore, settings: Settings) -> None:
    frame = batch()
    mongo.replace_batch("training", "a.csv", frame, SOURCE, sha256="1")

    def slow() -> Iterator[dict[str, object]]:
        for row in range(PIECE + 1):
            if row == PIECE:  # a piece is stored
                age_storings(mongo)
                WaferStore(settings).sweep()
            yield {"wafer": f"Wafer-{row}", "row": row}

    with pytest.raises(StoringTooSlowError, match=r"a\.csv"):
        mongo._records("training").replace("a.csv", {"wafers": PIECE + 1}, slow())
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), frame)
    assert stored(mongo) == 12


def test_a_process_killed_before_it_deleted_the_former_version_is_made_up_for(
    mongo: WaferStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = batch(seed=1), batch(5, seed=2)
    mongo.replace_batch("training", "a.csv", first, SOURCE, sha256="1")
    with monkeypatch.context() as patched:
        patched.setattr(BatchDocuments, "_clean_up", lambda *_: None)
        mongo.replace_batch("training", "a.csv", second, SOURCE, sha256="2")
    assert stored(mongo) == 12 + 5
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), second)
    assert mongo.miscounted("training", mongo.batches("training")) == []
    assert mongo.batches_of("training", "Wafer-12") == []
    age_storings(mongo)
    mongo.sweep()
    assert stored(mongo) == 5
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), second)


def test_records_of_before_there_were_versions_are_read_counted_and_replaced(mongo: WaferStore) -> None:
    frame = batch()
    mongo.replace_batch("training", "a.csv", frame, SOURCE, sha256="1")
    database = mongo._database
    old = [
        {**document, "_id": f"a.csv:{document['wafer']}"}
        for document in database["training_wafers"].find({}, {"version": False})
    ]
    database["training_wafers"].delete_many({})
    database["training_wafers"].insert_many(old)
    database["batches"].update_one({}, {"$unset": {"version": ""}})

    (manifest,) = mongo.batches("training")
    assert manifest.version is None
    assert mongo.miscounted("training", [manifest]) == []
    assert mongo.batches_of("training", "Wafer-3") == ["a.csv"]
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), frame)
    second = batch(20, seed=2)
    mongo.replace_batch("training", "a.csv", second, SOURCE, sha256="2")
    pd.testing.assert_frame_equal(frame_of(mongo, "training", "a.csv"), second)
    assert stored(mongo) == 20


def test_records_that_somebody_deleted_are_missed_and_not_read_over(mongo: WaferStore) -> None:
    mongo.replace_batch("training", "a.csv", batch(), SOURCE, sha256="1")
    mongo._database["training_wafers"].delete_one({"wafer": "Wafer-3"})
    assert mongo.miscounted("training", mongo.batches("training")) == ["a.csv"]
    with pytest.raises(IncompleteBatchError, match=r"holds 11 documents of batch a\.csv.* says 12"):
        frame_of(mongo, "training", "a.csv")


def test_nothing_is_published_that_mongodb_does_not_take(mongo: WaferStore) -> None:
    published: list[str] = []
    twice = pd.concat([batch(3), batch(3)], ignore_index=True)
    with pytest.raises(BulkWriteError):
        mongo.replace_batch("training", "a.csv", twice, SOURCE, sha256="1", before_commit=lambda: published.append("1"))
    assert published == []
    assert stored(mongo) == 0

    def fail() -> None:
        raise ConnectionError("the lake is away")

    with pytest.raises(ConnectionError, match="the lake is away"):
        mongo.replace_batch("training", "a.csv", batch(3), SOURCE, sha256="1", before_commit=fail)
    assert mongo.batches("training") == []
    assert stored(mongo) == 0


def test_a_person_can_query_wafers(mongo: WaferStore, settings: Settings) -> None:
    frame = batch()
    frame["Sensor-60"] = [np.nan, *range(1, 12)]
    mongo.replace_batch("training", "a.csv", frame, SOURCE, sha256="0")
    assert settings.mongo.uri is not None
    with MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value()) as client:
        wafers = client[settings.mongo.database]["training_wafers"]
        assert wafers.count_documents({"readings.Sensor-60": {"$gt": 5}}) == 6
        assert wafers.count_documents({"readings.Sensor-60": {"$exists": False}}) == 1
        assert wafers.count_documents({"wafer": frame["wafer"][0]}) == 1
        assert {"batch_1", "wafer_1"} <= set(wafers.index_information())
        document = wafers.find_one({"batch": "a.csv", "wafer": frame["wafer"][3]})
        assert document is not None
        assert document["row"] == 3
        (manifest,) = mongo.batches("training")
        assert document["version"] == manifest.version
        assert document["_id"] == f"a.csv:{frame['wafer'][3]}:{manifest.version}"


def test_a_store_without_address_says_what_to_do() -> None:
    with pytest.raises(NotConfiguredError, match="WAFER_MONGO__URI"):
        WaferStore(Settings()).batches("training")

"""Documents of batches on a real MongoDB: replaced as a whole, never half seen, and swept after whoever was killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pymongo.errors import BulkWriteError

from resources import batch_documents
from resources.batch_documents import PIECE, BatchDocuments, Document, IncompleteBatchError, StoringTooSlowError
from resources.mongo import WaferStore
from tests.conftest import environment_of
from wafer_assets.settings import Settings

BATCH = "a.csv"


class Documents(BatchDocuments):
    """The documents of one collection, with looks that only tests take at it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(WaferStore(settings)._database, "documents", "manifests")

    def put(self, wafers: int, value: int = 0, batch: str = BATCH) -> str:
        """Replace a batch by so many wafers that all hold a value."""
        return self.replace(batch, manifest(wafers, batch), made(wafers, value))

    def values(self, batch: str = BATCH) -> list[int] | None:
        """Return the values of a batch's wafers, as many as there are wafers; None if there is no such batch."""
        found = self.read(batch, lambda _, document: int(document["value"]))
        return found and found[1]

    @property
    def stored(self) -> int:
        """How many documents there are, whether anybody sees them or not."""
        return self._documents.count_documents({})

    @property
    def unfinished(self) -> int:
        """How many storings are on record."""
        return self._storings.count_documents({})

    def sweep(self) -> None:
        """Delete what killed processes have left."""
        batch_documents.sweep(self._database)

    def age(self) -> None:
        """Let all storings look as if they had begun an hour ago."""
        self._storings.update_many({}, {"$set": {"begun_at": datetime.now(UTC) - timedelta(hours=1)}})

    def forget_versions(self) -> None:
        """Let everything look as if it had been stored before there were versions."""
        self._documents.update_many({}, {"$unset": {"version": ""}})
        self._manifests.update_many({}, {"$unset": {"version": ""}})

    def lose_one(self) -> None:
        """Delete a document behind the store's back."""
        self._documents.delete_one({})


def manifest(wafers: int, batch: str = BATCH) -> Document:
    return {"batch": batch, "wafers": wafers}


def made(wafers: int, value: int = 0) -> Iterator[Document]:
    return ({"wafer": f"Wafer-{number}", "value": value} for number in range(wafers))


@pytest.fixture
def documents(settings: Settings) -> Documents:
    documents = Documents(settings)
    documents.create_indexes()
    return documents


def test_a_batch_is_replaced_as_a_whole_and_no_other_is_touched(documents: Documents) -> None:
    documents.put(3, 1, "b.csv")
    documents.put(12, 2)
    documents.put(5, 3)
    assert documents.values() == [3] * 5
    assert documents.values("b.csv") == [1] * 3
    assert documents.stored == 5 + 3
    assert documents.unfinished == 0


def test_a_batch_that_no_transaction_holds_is_replaced_and_read_like_any_other(documents: Documents) -> None:
    documents.put(4 * PIECE, 1)
    assert documents.values() == [1] * 4 * PIECE
    documents.put(4 * PIECE + 1, 2)
    assert documents.values() == [2] * (4 * PIECE + 1)
    documents.put(5, 3)
    assert documents.values() == [3] * 5
    assert documents.stored == 5


def test_a_batch_may_be_left_without_documents_or_without_a_manifest(documents: Documents) -> None:
    documents.put(5)
    documents.put(0)
    assert documents.values() == []
    assert documents.stored == 0
    documents.put(5)
    documents.replace(BATCH, None, ())
    assert documents.values() is None
    assert documents.stored == 0


def test_a_wafer_is_found_in_every_batch_that_holds_it_now(documents: Documents) -> None:
    documents.put(8, 1, "b.csv")
    documents.put(4, 2)
    documents.put(8, 3, "c.csv")
    documents.put(4, 4, "c.csv")
    assert [(item["batch"], item["value"]) for item in documents.of_wafer("Wafer-3")] == [
        (BATCH, 2),
        ("b.csv", 1),
        ("c.csv", 4),
    ]
    assert [item["batch"] for item in documents.of_wafer("Wafer-6")] == ["b.csv"]


def test_a_refused_write_leaves_the_batch_as_it_was(documents: Documents) -> None:
    documents.put(12, 1)
    published: list[str] = []
    with pytest.raises(BulkWriteError, match="duplicate key"):
        documents.replace(BATCH, manifest(6), [*made(3), *made(3)], lambda _: published.append("too early"))
    assert published == []
    assert documents.values() == [1] * 12
    assert documents.stored == 12


def test_what_cannot_be_published_elsewhere_is_not_stored(documents: Documents) -> None:
    def fail(_: object) -> None:
        raise ConnectionError("the lake is away")

    with pytest.raises(ConnectionError, match="the lake is away"):
        documents.replace(BATCH, manifest(3), made(3), fail)
    assert documents.values() is None
    assert documents.stored == 0


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_no_reader_sees_half_a_batch(documents: Documents, settings: Settings) -> None:
    # Every version has its own size and its own value everywhere, so that any mixture shows.
    documents.put(10, 0)
    done = threading.Event()

    def write() -> None:
        writer = Documents(settings)
        try:
            for _ in range(3):
                for value in range(8):
                    writer.put(10 + value, value)
        finally:
            done.set()

    seen = set()
    writing = in_background(write)
    while not done.is_set():
        values = documents.values()
        assert values
        assert values == [values[0]] * (10 + values[0])
        seen.add(values[0])
    writing.join()
    assert len(seen) > 1


def test_two_writers_of_one_batch_leave_one_of_their_versions(documents: Documents, settings: Settings) -> None:
    def write(value: int) -> None:
        for _ in range(5):
            Documents(settings).put(10 + value, value)

    for thread in [in_background(lambda value=value: write(value)) for value in range(2)]:  # type: ignore[misc]
        thread.join()
    values = documents.values()
    assert values in ([0] * 10, [1] * 11)
    assert documents.stored == len(values)


# --- What is left of storings that did not end ---


KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from resources.batch_documents import PIECE, BatchDocuments
from resources.mongo import WaferStore
from wafer_assets.settings import Settings

def documents():
    for number in range(3 * PIECE + 1):
        yield {"wafer": f"Wafer-{number}"}
    os.kill(os.getpid(), signal.SIGKILL)
store = BatchDocuments(WaferStore(Settings())._database, "documents", "manifests")
store.replace(sys.argv[1], {"batch": sys.argv[1], "wafers": 9_999}, documents())
"""


def test_what_a_killed_process_stored_is_seen_by_nobody_and_swept_later(
    documents: Documents, settings: Settings
) -> None:
    documents.put(12, 1)
    for batch in (BATCH, "new.csv"):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_IN_THE_MIDDLE, batch], env={**os.environ, **environment_of(settings)}
        )
        assert killed.returncode == -signal.SIGKILL
    left = 2 * 3 * PIECE
    assert documents.stored == 12 + left

    assert documents.values() == [1] * 12
    assert documents.values("new.csv") is None
    assert [item["batch"] for item in documents.of_wafer("Wafer-3")] == [BATCH]

    # What is young may be at work: it stays. Whatever is stored next sweeps what is old.
    documents.sweep()
    assert documents.stored == 12 + left
    documents.age()
    documents.put(1, batch="other.csv")
    assert documents.stored == 12 + 1
    assert documents.unfinished == 0
    assert documents.values() == [1] * 12


def test_a_storing_that_was_swept_while_it_was_at_work_changes_nothing(documents: Documents) -> None:
    documents.put(12, 1)

    def slow() -> Iterator[Document]:
        yield from made(PIECE)
        # The first piece is stored once the second one is asked for.
        documents.age()
        documents.sweep()
        yield {"wafer": "Wafer-last"}

    with pytest.raises(StoringTooSlowError, match=r"a\.csv"):
        documents.replace(BATCH, manifest(PIECE + 1), slow())
    assert documents.values() == [1] * 12
    assert documents.stored == 12


def test_a_process_killed_before_it_deleted_the_former_version_is_made_up_for(
    documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents.put(12, 1)
    with monkeypatch.context() as killed:
        killed.setattr(batch_documents, "_clean_up", lambda *_: None)
        documents.put(5, 2)
    assert documents.stored == 12 + 5
    assert documents.values() == [2] * 5
    assert documents.of_wafer("Wafer-11") == []
    documents.age()
    documents.sweep()
    assert documents.stored == 5
    assert documents.values() == [2] * 5


def test_documents_of_before_there_were_versions_are_read_and_replaced(documents: Documents) -> None:
    documents.put(12, 1)
    documents.forget_versions()
    assert documents.values() == [1] * 12
    assert documents.count_of(BATCH, None) == 12
    assert [item["value"] for item in documents.of_wafer("Wafer-3")] == [1]
    documents.put(20, 2)
    assert documents.values() == [2] * 20
    assert documents.stored == 20


def test_documents_that_somebody_deleted_are_not_read_over(documents: Documents) -> None:
    documents.put(12)
    documents.lose_one()
    with pytest.raises(IncompleteBatchError, match=r"documents holds 11 documents of batch a\.csv.* says 12"):
        documents.values()

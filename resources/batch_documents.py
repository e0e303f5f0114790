"""Documents of batches in MongoDB: replaced as a whole, in pieces that every server can take.

A large batch in one transaction is refused by some servers and stalls others. So each storing of a batch is a
*version*: its documents are inserted piece by piece, each with the version's id in the field ``version``, and nobody
sees them until the batch's manifest names that version. The manifest changes in one small transaction, and what it
named before is then deleted.

In between, and for longer where a process was killed, the collection holds documents that no manifest names. One
document per storing, in the collection ``storings``, says which::

    {"_id": "9f86d081884c7d65", "documents": "training_wafers", "batch": "wafer_28012020_051011.csv",
     "unused": "9f86d081884c7d65", "begun_at": ...}

It is written before the first piece, and deleted when nothing is left that it speaks of: the new version until the
manifest names it, from then on the former one. A storing gives up by itself after `GIVE_UP_AFTER`; what is older
than `SWEEP_AFTER` was killed, and whoever stores a batch next, or makes the ledger, deletes what it left.

Manifests and documents of before there were versions have no such field, and are read and replaced like any other.

What the documents say is the business of the stores that keep them: `resources.mongo` and `resources.predictions`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

Document: TypeAlias = dict[str, Any]

PIECE = 500  # documents; 1,000 wafers in one transaction pass the local server, 2,000 do not
GIVE_UP_AFTER = timedelta(minutes=15)
SWEEP_AFTER = timedelta(minutes=30)  # longer than a storing that has not given up can last
_CLEAN_UP_SECONDS = 10  # after that, the next sweep does it

_Result = TypeVar("_Result")


class StoringTooSlowError(RuntimeError):
    """A batch took so long to be stored that its documents may have been swept meanwhile."""

    code = "storing_too_slow"

    def __init__(self, batch: str) -> None:
        super().__init__(
            f"Batch {batch} was not stored within {GIVE_UP_AFTER.total_seconds() / 60:.0f} minutes. What it was "
            "before is still there. See what slows MongoDB down, then do it again."
        )


class IncompleteBatchError(RuntimeError):
    """A manifest says that there are other documents than there are."""

    code = "batch_incomplete"

    def __init__(self, collection: str, batch: str, found: int, expected: int) -> None:
        super().__init__(
            f"MongoDB's collection {collection} holds {found} documents of batch {batch}, and its manifest says "
            f"{expected}. Somebody changed them, or a backup was restored in part: ingest or score the batch again."
        )


class BatchDocuments:
    """The documents of batches in one collection, and in another the manifests that say which of them count.

    A manifest says in `wafers` how many documents its batch has, and in `version` which.

    Parameters
    ----------
    database
    documents, manifests
        Names of the two collections.
    prefix
        What the `_id` of a manifest starts with, before the batch's name.
    """

    def __init__(self, database: "Database[Document]", documents: str, manifests: str, prefix: str = "") -> None:
        self._database = database
        self._documents = database[documents]
        self._manifests = database[manifests]
        self._storings = database["storings"]
        self._prefix = prefix

    def create_indexes(self) -> None:
        """Create the indexes of the documents; creating one again changes nothing."""
        # Not unique: two files may hold the same wafer, and `_id` is unique as it is.
        self._documents.create_index("batch")
        self._documents.create_index("wafer")

    def replace(
        self,
        batch: str,
        manifest: Document | None,
        documents: Iterable[Document],
        before_commit: "Callable[[ClientSession], None]" = lambda _: None,
    ) -> str:
        """Make the batch's documents exactly these and its manifest this one, or none, at once; return the version.

        Parameters
        ----------
        batch
            Name of the batch.
        manifest
            With `batch`, `wafers`, and whatever else is to be known of the batch; None leaves none.
        documents
            A mapping per wafer, with `wafer`; as many as the manifest says.
        before_commit
            Belongs to the same transaction, and is called at its end. If it fails, nothing has changed; if MongoDB
            fails before, it is never called. It may be called again.

        Raises
        ------
        StoringTooSlowError
            What the batch was before is still there.
        """
        sweep(self._database)
        version, started = token_hex(8), time.monotonic()
        self._storings.insert_one(
            {
                "_id": version,
                "documents": self._documents.name,
                "batch": batch,
                "unused": version,
                "begun_at": datetime.now(UTC),
            }
        )
        try:
            for piece in _pieces(documents):
                if time.monotonic() - started > GIVE_UP_AFTER.total_seconds():
                    raise StoringTooSlowError(batch)
                for document in piece:
                    document |= {
                        "_id": f"{batch}:{document['wafer']}:{version}",
                        "batch": batch,
                        "version": version,
                    }
                self._documents.insert_many(piece)
            replaced = in_transaction(
                self._database, lambda session: self._show(version, batch, manifest, before_commit, session)
            )
        except BaseException as error:
            _clean_up(self._database, version)
            if isinstance(error, StoringTooSlowError):  # pieces may have come after the sweep
                self._documents.delete_many({"batch": batch, "version": version})
            raise
        if replaced:
            _clean_up(self._database, version)
        return version

    def read(self, batch: str, kept: Callable[[Document, Document], _Result]) -> tuple[Document, list[_Result]] | None:
        """Return the batch's manifest with just its documents, in any order; None if there is no manifest.

        Parameters
        ----------
        batch
            Name of the batch.
        kept
            Given the manifest and a document, returns what is kept of it, so that a large batch is not held in full.

        Raises
        ------
        IncompleteBatchError
            There are other documents than the manifest says.
        """
        before = None
        while True:
            manifest = self._manifests.find_one({"_id": self._prefix + batch}, {"_id": False})
            if manifest is None:
                return None
            found = self._documents.find(_of(manifest), {"_id": False}) if manifest["wafers"] else ()
            documents = [kept(manifest, document) for document in found]
            if len(documents) == manifest["wafers"]:
                return manifest, documents
            # The batch was replaced while its documents were read, unless the manifest is the same.
            if manifest == before:
                raise IncompleteBatchError(self._documents.name, batch, len(documents), manifest["wafers"])
            before = manifest

    def of_wafer(self, wafer: str) -> list[Document]:
        """Return the documents of a wafer, one per batch that holds it, by batch."""
        found = self._documents.find({"wafer": wafer}, {"_id": False, "batch": True})
        documents = []
        for batch in sorted({document["batch"] for document in found}):
            before = None
            while (manifest := self._manifests.find_one({"_id": self._prefix + batch})) != before:
                before = manifest
                if manifest and (
                    document := self._documents.find_one({"wafer": wafer, **_of(manifest)}, {"_id": False})
                ):
                    documents.append(document)
                    break
        return documents

    def latest_of(self, wafers: Sequence[str], field: str, without: str) -> dict[str, Any]:
        """Return a field of the wafers' documents, of the batch other than `without` that was stored last."""
        wanted = {"_id": False, "wafer": True, "batch": True, "version": True, field: True}
        found = [
            document
            for start in range(0, len(wafers), PIECE)
            for document in self._documents.find({"wafer": {"$in": list(wafers[start : start + PIECE])}}, wanted)
            if document["batch"] != without
        ]
        batches = sorted({document["batch"] for document in found})
        manifests = [self._manifests.find_one({"_id": self._prefix + batch}) for batch in batches]
        order = {
            (manifest["batch"], manifest.get("version")): manifest["stored_at"] for manifest in manifests if manifest
        }
        shown = [document for document in found if (document["batch"], document.get("version")) in order]
        shown.sort(key=lambda document: order[document["batch"], document.get("version")])
        return {document["wafer"]: document[field] for document in shown if field in document}

    def count(self) -> int:
        """Return about how many documents there are, whether a manifest names them or not."""
        return self._documents.estimated_document_count()

    def count_of(self, batch: str, version: str | None) -> int:
        """Return how many documents a version of a batch has."""
        return self._documents.count_documents({"batch": batch, "version": version})

    def _show(
        self,
        version: str,
        batch: str,
        manifest: Document | None,
        before_commit: "Callable[[ClientSession], None]",
        session: "ClientSession",
    ) -> bool:
        """Let the manifest name a version; return whether there are documents of a former one."""
        identifier = {"_id": self._prefix + batch}
        former = self._manifests.find_one(identifier, {"version": True, "wafers": True}, session=session)
        mine = {"_id": version, "discarded": None}
        if former and former["wafers"]:
            unused = {"$set": {"unused": former.get("version")}}
            claimed = self._storings.update_one(mine, unused, session=session).matched_count
        else:
            claimed = self._storings.delete_one(mine, session=session).deleted_count
        if not claimed:
            raise StoringTooSlowError(batch)
        if manifest is None:
            self._manifests.delete_one(identifier, session=session)
        else:
            self._manifests.replace_one(
                identifier, identifier | manifest | {"version": version}, upsert=True, session=session
            )
        before_commit(session)
        return bool(former and former["wafers"])


def sweep(database: "Database[Document]") -> None:
    """Delete what killed processes have left, in any collection."""
    for storing in list(database["storings"].find({"begun_at": {"$lt": datetime.now(UTC) - SWEEP_AFTER}})):
        _clean_up(database, storing["_id"])


def _clean_up(database: "Database[Document]", version: str) -> None:
    from pymongo import timeout
    from pymongo.errors import PyMongoError

    with suppress(PyMongoError), timeout(_CLEAN_UP_SECONDS):
        _discard(database, version)


def _discard(database: "Database[Document]", storing: str) -> None:
    """Delete the documents that a storing says are unused; its own version cannot become visible any more."""
    # Marked first, and `_show` refuses what is marked: whatever clocks say, no manifest names what is deleted here.
    found = database["storings"].find_one_and_update({"_id": storing}, {"$set": {"discarded": True}})
    if found is None:
        return
    database[found["documents"]].delete_many({"batch": found["batch"], "version": found["unused"]})
    database["storings"].delete_one({"_id": storing})


def in_transaction(database: "Database[Document]", work: "Callable[[ClientSession], _Result]") -> _Result:
    """Do work that sees one snapshot and takes effect as a whole; the driver repeats it on a conflict."""
    from pymongo.read_concern import ReadConcern
    from pymongo.write_concern import WriteConcern

    with database.client.start_session() as session:
        return session.with_transaction(
            work, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority", j=True)
        )


def _of(manifest: Document) -> Document:
    """Return what finds the documents of a manifest; documents without the field match a version of None."""
    return {"batch": manifest["batch"], "version": manifest.get("version")}


def _pieces(documents: Iterable[Document]) -> Iterator[list[Document]]:
    rest = iter(documents)
    while piece := list(islice(rest, PIECE)):
        yield piece

"""The wafer store: every accepted wafer, and what became of every batch, in MongoDB; and what all stores share.

A wafer is one document of the collection ``<line>_<feed>_wafers``::

    {"_id": "<batch>:<wafer>:<version>", "batch": "wafer_28012020_051011.csv", "version": "9f86d081884c7d65",
     "wafer": "Wafer-17", "row": 16, "faulty": false, "readings": {"Sensor-1": 3030.93, "Sensor-2": 2564.0, ...},
     "context": {"Tool": "ETCH-3", ...}, "order": 1580187011.0}

``row`` is the wafer's place in its file, from 0; ``faulty`` exists on the training feed only; a missing
reading is left out of ``readings``. ``context`` holds what the line declares to be no sensor, and ``order`` is there
where one of these orders its wafers in time. So ``{"readings.Sensor-60": {"$gt": 5}}`` finds wafers as one expects. An
array or a packed vector of readings would save 15 or 35 ms per batch of 100, and nobody could query them.

What became of a batch is one document of the collection ``batches``: its manifest, with ``<line>/<feed>/<batch>``
as ``_id``. Each ingestion of a batch is a ``version``, and those wafers count whose version the manifest names
(`resources.batch_documents` says how they change as a whole). For a second or two while a batch is ingested, or for
half an hour after a process was killed, there are others: a query of one's own that must not count a wafer twice
joins the two, or asks for ``{"batch": ..., "version": <that of the manifest>}``.

What was predicted of the wafers is in `resources.predictions`, and what was decided on models in
`resources.promotions`.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from resources.batch_documents import PIECE, BatchDocuments, Document, sweep
from resources.s3 import StoredObject
from schemas.lines import FEEDS, Feed, LineFeed
from wafer_assets.settings import NotConfiguredError, Settings

if TYPE_CHECKING:
    import pandas as pd
    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

BatchStatus: TypeAlias = Literal["accepted", "quarantined", "held"]


class BatchNotFoundError(LookupError):
    """The store holds no accepted batch of that name."""

    code = "batch_not_found"


class BatchManifest(BaseModel):
    """What became of one batch file.

    Attributes
    ----------
    key, etag, size, last_modified
        The object in the landing bucket; `size` in bytes.
    sha256
        Hash of the normalised content; None unless accepted.
    wafers, faulty
        Records stored and how many of them are faulty; `faulty` is None on the prediction feed.
    reasons
        Why the batch is in quarantine or held for a person to decide, one mapping each; empty if accepted.
    warnings
        What somebody should look at in an accepted batch, one mapping each.
    stored_at
        When the store took it.
    contract_version
        Version of the contract that the file was checked against.
    version
        Of the batch's records; None if stored before there were versions.
    """

    model_config = ConfigDict(frozen=True)

    line: str
    feed: Feed
    batch: str
    status: BatchStatus
    key: str
    etag: str
    size: int
    last_modified: datetime
    sha256: str | None
    wafers: int
    faulty: int | None
    reasons: tuple[Mapping[str, str | int | None], ...]
    warnings: tuple[Mapping[str, str | int | None], ...] = ()
    stored_at: datetime
    contract_version: str = "1.0"  # manifests written before it was noted
    version: str | None = None


class BatchFailure(BaseModel):
    """Why a batch has no outcome, though its file and all servers were there.

    Attributes
    ----------
    etag
        Of the file that was tried.
    code_version
        Of the ingestion that tried it, contract included.
    """

    model_config = ConfigDict(frozen=True)

    line: str
    feed: Feed
    batch: str
    etag: str
    code_version: str
    reason: str
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class BatchCount:
    """Batches of a feed with one outcome, and the wafers in them."""

    line: str
    feed: str
    status: str
    batches: int
    wafers: int


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as it is stored.

    Attributes
    ----------
    manifest
        What became of it.
    frame
        Batch frame; None if it is in quarantine.
    context
        The columns that are no sensors, for the same rows, those without any value left out; None like the frame.
    """

    manifest: BatchManifest
    frame: "pd.DataFrame | None"
    context: "pd.DataFrame | None"


class MongoStore:
    """A part of the platform's MongoDB database; subclasses say which collections, and read and write them.

    The client is made at the first use. Writes are acknowledged by a majority of the servers and journalled;
    reads see only such writes. Errors of the server and the network are pymongo's, after it has retried for up
    to a minute.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.mongo

    def _create_indexes(self, database: "Database[Document]") -> None:
        """Create the indexes of the store's collections; creating one again changes nothing."""

    @cached_property
    def _client(self) -> "MongoClient[Document]":
        from pymongo import MongoClient

        if self._settings.uri is None:
            raise NotConfiguredError("MongoDB", "WAFER_MONGO__URI")
        return MongoClient(
            self._settings.uri.get_secret_value(),
            appname="wafer",
            tz_aware=True,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            serverSelectionTimeoutMS=10_000,
            timeoutMS=60_000,  # of one call with all its retries
        )

    @cached_property
    def _database(self) -> "Database[Document]":
        database = self._client[self._settings.database]
        self._create_indexes(database)
        return database

    def _append(self, collection: str, document: "Document") -> None:
        """Add a document as the latest of a log, numbered from 1."""
        from pymongo.errors import DuplicateKeyError

        # Numbers rather than times, because clocks differ between machines.
        log = self._database[collection]
        while True:
            latest = log.find_one(sort=[("_id", -1)])
            number = latest["_id"] + 1 if latest else 1
            try:
                log.insert_one({"_id": number, **document})
            except DuplicateKeyError:
                continue
            return


class WaferStore(MongoStore):
    """The wafers and the batch manifests of all lines."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._indexed: set[str] = set()

    def _create_indexes(self, database: "Database[Document]") -> None:
        database["batches"].create_index([("line", 1), ("feed", 1), ("status", 1)])

    def replace_batch(
        self,
        feed: LineFeed,
        batch: str,
        frame: "pd.DataFrame",
        source: StoredObject,
        *,
        sha256: str,
        contract_version: str = "1.0",
        context: "pd.DataFrame | None" = None,
        warnings: Sequence[Mapping[str, str | int | None]] = (),
        before_commit: Callable[[], None] = lambda: None,
    ) -> BatchManifest:
        """Make the batch's records exactly the frame's rows, and its manifest say accepted, at once.

        Parameters
        ----------
        feed, batch
            The feed, and the name of the batch there.
        frame
            Batch frame: `wafer`, maybe `order`, the sensors (float64, NaN is missing) and, on the training feed,
            `faulty`.
        source
            The object in the landing bucket that the frame was read from.
        sha256
            Hash of the normalised content.
        contract_version
            Version of the contract that the file keeps.
        context
            The columns that are no sensors, for the same rows; none by default.
        warnings
            What somebody should look at, in the form of reasons.
        before_commit
            Publishes the same wafers elsewhere, once MongoDB has taken them and nobody sees them yet. If it fails,
            nothing has changed here. It may be called again.

        Returns
        -------
        BatchManifest
            As it was stored.

        Raises
        ------
        StoringTooSlowError
            What the batch was before is still there.
        """
        faulty = int(frame["faulty"].sum()) if "faulty" in frame else None
        manifest = BatchManifest(
            line=feed.line,
            feed=feed.kind,
            batch=batch,
            status="accepted",
            **_described(source),
            sha256=sha256,
            wafers=len(frame),
            faulty=faulty,
            reasons=(),
            warnings=tuple(warnings),
            stored_at=datetime.now(UTC),
            contract_version=contract_version,
        )
        return self._replace(feed, manifest, _documents(frame, context), _sensors(frame), before_commit)

    def quarantine_batch(
        self,
        feed: LineFeed,
        batch: str,
        reasons: Sequence[Mapping[str, str | int | None]],
        source: StoredObject,
        contract_version: str = "1.0",
        status: BatchStatus = "quarantined",
    ) -> BatchManifest:
        """Make the batch's manifest say quarantined or held, and drop the records of an earlier version, at once.

        Raises
        ------
        StoringTooSlowError
            What the batch was before is still there.
        """
        manifest = BatchManifest(
            line=feed.line,
            feed=feed.kind,
            batch=batch,
            status=status,
            **_described(source),
            sha256=None,
            wafers=0,
            faulty=None,
            reasons=tuple(reasons),
            stored_at=datetime.now(UTC),
            contract_version=contract_version,
        )
        return self._replace(feed, manifest, (), [])

    def note_failure(self, failure: BatchFailure) -> None:
        """Note why a batch could not be stored; what it was before stays, and its next outcome deletes the note."""
        identifier = f"{failure.line}/{failure.feed}/{failure.batch}"
        self._failures.replace_one({"_id": identifier}, failure.model_dump(), upsert=True)

    def failures(self, feed: LineFeed) -> list[BatchFailure]:
        """List what was noted, by name of the batch."""
        found = [BatchFailure(**document) for document in self._failures.find(_all_of(feed), {"_id": False})]
        return sorted(found, key=lambda item: item.batch)

    def batches(self, feed: LineFeed, status: BatchStatus | None = None) -> list[BatchManifest]:
        """List the manifests of a feed, or those of one status, by name of the batch."""
        wanted = _all_of(feed) if status is None else {**_all_of(feed), "status": status}
        found = self._manifests.find(wanted, {"_id": False, "sensors": False})
        return sorted((BatchManifest(**document) for document in found), key=lambda item: item.batch)

    def count_batches(self) -> list[BatchCount]:
        """Count the batches of all lines and their wafers, by feed and outcome."""
        key = {"line": "$line", "feed": "$feed", "status": "$status"}
        found = self._manifests.aggregate(
            [{"$group": {"_id": key, "batches": {"$sum": 1}, "wafers": {"$sum": "$wafers"}}}]
        )
        return [BatchCount(**item["_id"], batches=item["batches"], wafers=item["wafers"]) for item in found]

    def count_reasons(self) -> dict[tuple[str, str, str], int]:
        """Count the refused and held batches by line, feed and code of a reason, each batch once for each code."""
        # A file may break one rule in several columns; it counts once.
        wanted = {"status": {"$in": ["quarantined", "held"]}}
        found = self._manifests.find(wanted, {"_id": False, "line": True, "feed": True, "reasons.code": True})
        return Counter(
            (item["line"], item["feed"], code)
            for item in found
            for code in {str(reason["code"]) for reason in item.get("reasons", ())}
        )

    def count_failures(self) -> dict[tuple[str, str], int]:
        """Count what was noted of batches that could not be stored, by line and feed."""
        found = self._failures.find({}, {"_id": False, "line": True, "feed": True})
        return Counter((item["line"], item["feed"]) for item in found)

    def size(self) -> int:
        """Return how many bytes the database takes, indexes included."""
        found = self._database.command("dbStats")
        return int(found.get("storageSize", 0) + found.get("indexSize", 0))

    def miscounted(self, feed: LineFeed, manifests: Sequence[BatchManifest]) -> list[str]:
        """Return the batches among `manifests` whose stored wafers are not as many as their manifest says."""
        records = self._records(feed)
        if records.count() == sum(manifest.wafers for manifest in manifests):
            return []
        # There may be wafers that no manifest names, and counting batch by batch never reads a whole collection.
        return [item.batch for item in manifests if records.count_of(item.batch, item.version) != item.wafers]

    def batches_of(self, feed: LineFeed, wafer: str) -> list[str]:
        """Return the accepted batches that hold a wafer, by name."""
        return [str(document["batch"]) for document in self._records(feed).of_wafer(wafer)]

    def is_released(self, feed: LineFeed, batch: str, etag: str) -> bool:
        """Return whether somebody let in this very file, though it was held: see `resources.releases`."""
        wanted = {"line": feed.line, "feed": feed.kind, "batch": batch, "etag": etag}
        return self._database["releases"].find_one(wanted, {"_id": True}) is not None

    def labels_of(self, feed: LineFeed, wafers: Sequence[str], without: str) -> dict[str, bool]:
        """Return whether wafers are faulty, of those that accepted batches other than `without` hold.

        Where several batches hold a wafer, it is the label of the one that was stored last.
        """
        return self._records(feed).latest_of(wafers, "faulty", without)

    def read(self, feed: LineFeed, batch: str) -> "StoredBatch":
        """Read a batch's manifest with the wafers that belong to it.

        The frame is the one it was stored from: same rows, order, and every bit of a float.

        Raises
        ------
        BatchNotFoundError
            The batch has no outcome.
        IncompleteBatchError
            Records are missing.
        """
        found = self._records(feed).read(batch, _row)
        if found is None:
            raise BatchNotFoundError(f"The feed {feed} has no accepted batch {batch!r}. Ingest it first.")
        document, rows = found
        sensors: list[str] = document.pop("sensors")
        manifest = BatchManifest(**document)
        if manifest.status == "quarantined":
            return StoredBatch(manifest, None, None)
        rows.sort(key=lambda row: row.place)
        return StoredBatch(manifest, _frame(rows, sensors), _context(rows))

    def read_batches(
        self, feed: LineFeed, without: Container[str] = ()
    ) -> Iterator[tuple[BatchManifest, "pd.DataFrame"]]:
        """Read the accepted batches of a feed by name, one at a time, each with the manifest it belongs to.

        A batch that goes to quarantine between the listing and its turn is left out.

        Raises
        ------
        IncompleteBatchError
            Records of a batch are missing.
        """
        for listed in self.batches(feed, "accepted"):
            if listed.batch in without:
                continue
            stored = self.read(feed, listed.batch)
            if stored.frame is not None:
                yield stored.manifest, stored.frame

    def sweep(self) -> None:
        """Delete what processes that were killed while they stored a batch have left."""
        sweep(self._database)

    @property
    def _manifests(self) -> "Collection[Document]":
        return self._database["batches"]

    @property
    def _failures(self) -> "Collection[Document]":
        return self._database["failed_batches"]

    def lines(self) -> list[str]:
        """Return the lines that there are batches of, by name, whether they are declared or not."""
        return sorted(self._manifests.distinct("line"))

    def remove_line(self, line: str) -> None:
        """Delete all wafers and batches of a line, and what is known of the files that could not be stored."""
        for kind in FEEDS:
            documents = f"{line}_{kind}_wafers"
            self._database[documents].drop()  # with its indexes
            self._indexed.discard(documents)
        for collection in (self._manifests, self._failures):
            collection.delete_many({"line": line})

    def _records(self, feed: LineFeed) -> BatchDocuments:
        documents = f"{feed.line}_{feed.kind}_wafers"
        records = BatchDocuments(self._database, documents, "batches", f"{feed}/")
        if documents not in self._indexed:
            records.create_indexes()
            self._indexed.add(documents)
        return records

    def _replace(
        self,
        feed: LineFeed,
        manifest: BatchManifest,
        documents: "Iterable[Document]",
        sensors: list[str],
        before_commit: Callable[[], None] = lambda: None,
    ) -> BatchManifest:
        def last(session: "ClientSession") -> None:
            self._failures.delete_one({"_id": f"{feed}/{manifest.batch}"}, session=session)
            before_commit()

        stored = {**manifest.model_dump(exclude={"version"}), "sensors": sensors}
        version = self._records(feed).replace(manifest.batch, stored, documents, last)
        return manifest.model_copy(update={"version": version})


def _all_of(feed: LineFeed) -> Document:
    return {"line": feed.line, "feed": feed.kind}


def _described(source: StoredObject) -> dict[str, Any]:
    return {
        "key": source.key,
        "etag": source.etag,
        "size": source.size,
        "last_modified": source.last_modified,
    }


def _sensors(frame: "pd.DataFrame") -> list[str]:
    return [column for column in frame.columns if column not in ("wafer", "order", "faulty")]


def _documents(frame: "pd.DataFrame", context: "pd.DataFrame | None") -> "Iterator[Document]":
    """Yield a document per wafer, in the order of the rows."""
    sensors = _sensors(frame)
    labels = frame["faulty"].tolist() if "faulty" in frame else None
    orders = frame["order"].tolist() if "order" in frame else None
    contexts = None if context is None or not len(context.columns) else _contexts(context)
    # Block by block, so that a large batch is not held a second time as objects.
    for start in range(0, len(frame), PIECE):
        block = frame.iloc[start : start + PIECE]
        rows = zip(block["wafer"], block[sensors].to_numpy().tolist(), strict=True)
        for row, (wafer, values) in enumerate(rows, start):
            document: Document = {
                "wafer": wafer,
                "row": row,
                # NaN alone differs from itself.
                "readings": {sensor: value for sensor, value in zip(sensors, values, strict=True) if value == value},
            }
            if labels is not None:
                document["faulty"] = bool(labels[row])
            if orders is not None:
                document["order"] = orders[row]
            if contexts is not None:
                document["context"] = contexts[row]
            yield document


def _contexts(context: "pd.DataFrame") -> list[Document]:
    """Return what is known of each wafer beside its readings; what is missing is left out."""
    names = [str(name) for name in context]
    present = context.notna().to_numpy()
    rows = zip(*(context[name].tolist() for name in names), strict=True)
    return [
        {name: value for name, value, there in zip(names, row, is_there, strict=True) if there}
        for row, is_there in zip(rows, present, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    place: int
    wafer: str
    faulty: bool | None
    order: float | None
    context: Document
    values: "array[float]"


def _row(manifest: Document, document: Document) -> _Row:
    """Return what is kept of a document, its readings in the order of the manifest's sensors."""
    readings, nan = document["readings"], float("nan")
    values = array("d", [readings.get(sensor, nan) for sensor in manifest["sensors"]])
    faulty, order, context = map(document.get, ("faulty", "order", "context"))
    return _Row(document["row"], document["wafer"], faulty, order, context or {}, values)


def _frame(rows: list[_Row], sensors: list[str]) -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    values = np.empty((len(rows), len(sensors)))
    for place, row in enumerate(rows):
        values[place] = row.values
    frame = pd.DataFrame(values, columns=sensors, copy=False)
    frame.insert(0, "wafer", pd.Series([row.wafer for row in rows], dtype=object))
    if rows and rows[0].order is not None:
        frame.insert(1, "order", np.array([row.order for row in rows], dtype=float))
    if rows and rows[0].faulty is not None:
        frame["faulty"] = np.array([row.faulty for row in rows], dtype=np.int8)
    return frame


def _context(rows: list[_Row]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([row.context for row in rows])

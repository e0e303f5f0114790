"""The wafer store: every accepted wafer, and what became of every batch, in MongoDB; and what all stores share.

A wafer is one document of the collection ``<line>_wafers``::

    {"_id": "<batch>:<wafer>", "line": "training", "batch": "wafer_28012020_051011.csv", "wafer": "Wafer-17",
     "row": 16, "faulty": false, "readings": {"Sensor-1": 3030.93, "Sensor-2": 2564.0, ...}}

``row`` is the wafer's place in its file, from 0; ``faulty`` exists on the training line only; a missing
reading is left out of ``readings``. So ``{"readings.Sensor-60": {"$gt": 5}}`` finds wafers as one expects. An
array or a packed vector of readings would save 15 or 35 ms per batch of 100, and nobody could query them.

What became of a batch is one document of the collection ``batches``: its manifest, with ``<line>/<batch>`` as
``_id``. Records and manifest change in one transaction, and are read in one snapshot.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from resources.s3 import StoredObject
from schemas.loader import Line
from wafer_assets.settings import NotConfiguredError, Settings

if TYPE_CHECKING:
    import pandas as pd
    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

    Document: TypeAlias = dict[str, Any]

BatchStatus: TypeAlias = Literal["accepted", "quarantined"]

_Result = TypeVar("_Result")


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
        Hash of the normalised content; None if quarantined.
    wafers, faulty
        Records stored and how many of them are faulty; `faulty` is None on the prediction line.
    reasons
        Why the batch is in quarantine, one mapping each; empty if accepted.
    stored_at
        When the store took it.
    contract_version
        Version of the contract that the file was checked against.
    """

    model_config = ConfigDict(frozen=True)

    line: Line
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
    stored_at: datetime
    contract_version: str = "1.0"  # manifests written before it was noted


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

    def _transaction(self, work: "Callable[[ClientSession], _Result]") -> _Result:
        """Do work that sees one snapshot and takes effect as a whole; the driver repeats it on a conflict."""
        from pymongo.read_concern import ReadConcern
        from pymongo.write_concern import WriteConcern

        with self._client.start_session() as session:
            return session.with_transaction(
                work, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority", j=True)
            )


class WaferStore(MongoStore):
    """The wafers and the batch manifests."""

    def _create_indexes(self, database: "Database[Document]") -> None:
        database["batches"].create_index([("line", 1), ("status", 1)])
        for line in ("training", "prediction"):
            # Not unique: two files may hold the same wafer, and `_id` is unique as it is.
            database[f"{line}_wafers"].create_index("batch")
            database[f"{line}_wafers"].create_index("wafer")

    def replace_batch(
        self,
        line: Line,
        batch: str,
        frame: "pd.DataFrame",
        source: StoredObject,
        *,
        sha256: str,
        contract_version: str = "1.0",
    ) -> BatchManifest:
        """Make the batch's records exactly the frame's rows, and its manifest say accepted, at once.

        Parameters
        ----------
        frame
            Batch frame: `wafer`, the sensors (float64, NaN is missing) and, on the training line, `faulty`.
        source
            The object in the landing bucket that the frame was read from.
        sha256
            Hash of the normalised content.
        contract_version
            Version of the contract that the file keeps.
        """
        faulty = int(frame["faulty"].sum()) if "faulty" in frame else None
        manifest = BatchManifest(
            line=line,
            batch=batch,
            status="accepted",
            **_described(source),
            sha256=sha256,
            wafers=len(frame),
            faulty=faulty,
            reasons=(),
            stored_at=datetime.now(UTC),
            contract_version=contract_version,
        )
        self._replace(manifest, _documents(line, batch, frame), _sensors(frame))
        return manifest

    def quarantine_batch(
        self,
        line: Line,
        batch: str,
        reasons: Sequence[Mapping[str, str | int | None]],
        source: StoredObject,
    ) -> BatchManifest:
        """Make the batch's manifest say quarantined, and drop the records of an earlier version, at once."""
        manifest = BatchManifest(
            line=line,
            batch=batch,
            status="quarantined",
            **_described(source),
            sha256=None,
            wafers=0,
            faulty=None,
            reasons=tuple(reasons),
            stored_at=datetime.now(UTC),
        )
        self._replace(manifest, [], [])
        return manifest

    def batches(self, line: Line, status: BatchStatus | None = None) -> list[BatchManifest]:
        """List the manifests of a line, or those of one status, by name of the batch."""
        wanted = {"line": line} if status is None else {"line": line, "status": status}
        found = self._manifests.find(wanted, {"_id": False, "sensors": False})
        return sorted((BatchManifest(**document) for document in found), key=lambda item: item.batch)

    def etags(self, line: Line) -> dict[str, str]:
        """Return the ETag of the landed file behind each batch's outcome, by batch."""
        found = self._manifests.find({"line": line}, {"_id": False, "batch": True, "etag": True})
        return {document["batch"]: document["etag"] for document in found}

    def miscounted(self, line: Line, manifests: Sequence[BatchManifest]) -> list[str]:
        """Return the batches among `manifests` whose stored wafers are not as many as their manifest says."""
        stored = self._wafers(line)
        if stored.estimated_document_count() == sum(manifest.wafers for manifest in manifests):
            return []
        # An estimate may be off after a crash, and counting batch by batch never reads a whole collection.
        return [item.batch for item in manifests if stored.count_documents({"batch": item.batch}) != item.wafers]

    def batches_of(self, line: Line, wafer: str) -> list[str]:
        """Return the accepted batches that hold a wafer, by name."""
        found = self._wafers(line).find({"wafer": wafer}, {"batch": True, "_id": False})
        return sorted(str(document["batch"]) for document in found)

    def read_batch(self, line: Line, batch: str) -> "pd.DataFrame":
        """Read an accepted batch as the frame it was stored from: same rows, order, and every bit of a float.

        Raises
        ------
        BatchNotFoundError
            The batch was never accepted, or is not any more.
        """
        _, frame = self._read(line, batch)
        return frame

    def read_batches(self, line: Line, without: Container[str] = ()) -> Iterator[tuple[BatchManifest, "pd.DataFrame"]]:
        """Read the accepted batches of a line by name, one at a time, each with the manifest it belongs to.

        Each pair is one snapshot. A batch that leaves the store between the listing and its turn is left out.
        """
        for manifest in self.batches(line, "accepted"):
            if manifest.batch in without:
                continue
            try:
                yield self._read(line, manifest.batch)
            except BatchNotFoundError:
                continue

    @property
    def _manifests(self) -> "Collection[Document]":
        return self._database["batches"]

    def _wafers(self, line: Line) -> "Collection[Document]":
        return self._database[f"{line}_wafers"]

    def _replace(self, manifest: BatchManifest, documents: "list[Document]", sensors: list[str]) -> None:
        wafers = self._wafers(manifest.line)
        identifier = _manifest_id(manifest.line, manifest.batch)
        stored = {"_id": identifier, **manifest.model_dump(), "sensors": sensors}

        def change(session: "ClientSession") -> None:
            wafers.delete_many({"batch": manifest.batch}, session=session)
            if documents:
                wafers.insert_many(documents, session=session)
            self._manifests.replace_one({"_id": identifier}, stored, upsert=True, session=session)

        self._transaction(change)

    def _read(self, line: Line, batch: str) -> "tuple[BatchManifest, pd.DataFrame]":
        wafers = self._wafers(line)
        accepted = {"_id": _manifest_id(line, batch), "status": "accepted"}

        def look(session: "ClientSession") -> "tuple[Document | None, list[Document]]":
            found = self._manifests.find_one(accepted, {"_id": False}, session=session)
            return found, list(wafers.find({"batch": batch}, session=session)) if found else []

        found, documents = self._transaction(look)
        if found is None:
            raise BatchNotFoundError(f"The {line} line has no accepted batch {batch!r}. Ingest it first.")
        sensors: list[str] = found.pop("sensors")
        return BatchManifest(**found), _frame(documents, sensors)


def _manifest_id(line: Line, batch: str) -> str:
    return f"{line}/{batch}"


def _described(source: StoredObject) -> dict[str, Any]:
    return {
        "key": source.key,
        "etag": source.etag,
        "size": source.size,
        "last_modified": source.last_modified,
    }


def _sensors(frame: "pd.DataFrame") -> list[str]:
    return [column for column in frame.columns if column not in ("wafer", "faulty")]


def _documents(line: Line, batch: str, frame: "pd.DataFrame") -> "list[Document]":
    sensors = _sensors(frame)
    documents: list[Document] = [
        {
            "_id": f"{batch}:{wafer}",
            "line": line,
            "batch": batch,
            "wafer": wafer,
            "row": row,
            # NaN alone differs from itself.
            "readings": {sensor: value for sensor, value in zip(sensors, values, strict=True) if value == value},
        }
        for row, (wafer, values) in enumerate(zip(frame["wafer"], frame[sensors].to_numpy().tolist(), strict=True))
    ]
    if "faulty" in frame:
        for document, faulty in zip(documents, frame["faulty"], strict=True):
            document["faulty"] = bool(faulty)
    return documents


def _frame(documents: "list[Document]", sensors: list[str]) -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    documents = sorted(documents, key=lambda document: document["row"])
    nan = float("nan")
    values = [[document["readings"].get(sensor, nan) for sensor in sensors] for document in documents]
    frame = pd.DataFrame(np.array(values, dtype=float).reshape(len(documents), len(sensors)), columns=sensors)
    frame.insert(0, "wafer", pd.Series([document["wafer"] for document in documents], dtype=object))
    if documents and "faulty" in documents[0]:
        frame["faulty"] = np.array([document["faulty"] for document in documents], dtype=np.int8)
    return frame

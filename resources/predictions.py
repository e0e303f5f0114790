"""The predictions: what a bundle said of every wafer, and which bundle scored which batch, in MongoDB.

A wafer's prediction is one document of the collection ``<line>_predictions``::

    {"_id": "<batch>:<wafer>:<version>", "batch": "wafer_28012020_051011.csv", "version": "9f86d081884c7d65",
     "wafer": "Wafer-17", "row": 16, "probability": 0.12, "faulty": true, "cluster": 1, "decided_by": "cluster",
     "bundle_version": 3, "margin": -1.99, "base": -1.83, "others": 0.1,
     "evidence": [{"sensor": "Sensor-60", "contribution": 0.23, "value": 22.5, "median": 2.5, ...}, ...]}

What scored a batch is one document of ``scored_batches``, with ``<line>/<batch>`` as ``_id``. Those predictions count
whose ``version`` it names; for what others there may be, see `resources.batch_documents`.

How a wafer is scored is in `wafer_assets.domain.scoring`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from resources.batch_documents import BatchDocuments
from resources.mongo import MongoStore
from wafer_assets.settings import Settings

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession


class ScoredBatch(BaseModel):
    """Which bundle scored a batch, and where the result is.

    Attributes
    ----------
    sha256
        Hash of the wafers that were scored, as in the batch's manifest.
    wafers, alarms
        How many wafers, and how many of them raise an alarm.
    model, bundle_version
        The registered model that scored them.
    csv, report
        Keys in the lake bucket.
    """

    model_config = ConfigDict(frozen=True)

    line: str
    batch: str
    sha256: str
    wafers: int
    alarms: int
    model: str
    bundle_version: int
    csv: str
    report: str
    dagster_run_id: str
    scored_at: datetime

    @property
    def data_version(self) -> str:
        """What the predictions follow from: the bundle and the wafers."""
        return f"{self.bundle_version}-{self.sha256}"


class BatchReplacedError(RuntimeError):
    """A batch was replaced since its wafers were read."""

    code = "batch_replaced"

    def __init__(self, batch: str) -> None:
        super().__init__(f"Batch {batch} was replaced while it was scored. Score it again.")


class PredictionStore(MongoStore):
    """The predictions of all scored batches, of all lines."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._indexed: set[str] = set()

    def replace(
        self, scored: ScoredBatch, wafers: Sequence[Mapping[str, Any]], before_commit: Callable[[], None]
    ) -> None:
        """Make the batch's predictions exactly these, at once.

        Parameters
        ----------
        scored
            What scored the batch, and where the result is.
        wafers
            A mapping per wafer, with `wafer` and what was predicted, in the order of the batch.
        before_commit
            Publishes the same predictions elsewhere, once they are in MongoDB where nobody sees them yet. If it
            fails, nothing has changed here; if MongoDB fails before, it is never called. It may be called again.
            Between its call and the commit, a moment later, the elsewhere is ahead; if MongoDB fails just then, until
            the batch is scored again.

        Raises
        ------
        BatchReplacedError
            The batch does not hold the wafers any more that were scored; nothing has changed.
        StoringTooSlowError
            What the batch's predictions were before is still there.
        """

        def publish(session: "ClientSession") -> None:
            self._require_content(scored.line, scored.batch, scored.sha256, session)
            before_commit()

        documents = ({"row": row, **wafer} for row, wafer in enumerate(wafers))
        self._predictions(scored.line).replace(scored.batch, scored.model_dump(), documents, publish)

    def withdraw(self, line: str, batch: str) -> None:
        """Forget all predictions of a batch in quarantine, at once.

        Raises
        ------
        BatchReplacedError
            It is not in quarantine any more; nothing has changed.
        """
        self._predictions(line).replace(
            batch, None, (), lambda session: self._require_content(line, batch, None, session)
        )

    def scored(self, line: str) -> dict[str, ScoredBatch]:
        """Return what scored each batch of a line, by batch."""
        found = self._database["scored_batches"].find({"line": line}, {"_id": False})
        return {document["batch"]: ScoredBatch(**document) for document in found}

    def scored_batch(self, line: str, batch: str) -> ScoredBatch | None:
        """Return what scored a batch; None if nothing did."""
        document = self._database["scored_batches"].find_one({"_id": f"{line}/{batch}"}, {"_id": False})
        return ScoredBatch(**document) if document else None

    def of_wafer(self, line: str, wafer: str) -> list[dict[str, Any]]:
        """Return all predictions of a wafer of a line, one per batch that holds it, by batch."""
        return self._predictions(line).of_wafer(wafer)

    def remove_line(self, line: str) -> None:
        """Delete all predictions of a line."""
        self._database[f"{line}_predictions"].drop()  # with its indexes
        self._indexed.discard(line)
        self._database["scored_batches"].delete_many({"line": line})

    def _predictions(self, line: str) -> BatchDocuments:
        predictions = BatchDocuments(self._database, f"{line}_predictions", "scored_batches", f"{line}/")
        if line not in self._indexed:
            predictions.create_indexes()
            self._indexed.add(line)
        return predictions

    def _require_content(self, line: str, batch: str, sha256: str | None, session: "ClientSession") -> None:
        manifest = self._database["batches"].find_one(
            {"_id": f"{line}/prediction/{batch}"}, {"sha256": True}, session=session
        )
        if manifest is None or manifest["sha256"] != sha256:
            raise BatchReplacedError(batch)

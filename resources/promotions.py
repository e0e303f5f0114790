"""The promotion log: which model version became champion when, by whom and why, in MongoDB.

A decision is one document of the collection ``promotions``, numbered from 1 in the order of the decisions; the
number is its ``_id``. It is only ever added to, so it tells the whole history of what predicted when.

The decisions themselves are made in `wafer_assets.operations.champion`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from resources.mongo import MongoStore

PromotionAction: TypeAlias = Literal["promote", "keep", "rollback"]


class Promotion(BaseModel):
    """One decision on who predicts.

    Attributes
    ----------
    at
        When, UTC.
    action
        "promote" made `version` the champion, "rollback" made it champion again, "keep" judged it and left the
        champion in place.
    model, version
        The registered model, and the version that was decided on.
    previous
        Number of the champion before the decision; None where there was none.
    by
        Who decided: a Dagster run or a person.
    reason
        Why, in words.
    figures
        What the decision rests on, as plain JSON values; empty where a person decided without.
    dagster_run_id
        None where no run decided.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    action: PromotionAction
    model: str
    version: int
    previous: int | None
    by: str
    reason: str
    figures: Mapping[str, Any]
    dagster_run_id: str | None


class PromotionLog(MongoStore):
    """The decisions, to be added to and read."""

    def append(self, record: Promotion) -> None:
        """Add a decision as the latest."""
        self._append("promotions", record.model_dump())

    def remove_line(self, model: str) -> None:
        """Delete all decisions on the model of a line that is removed as a whole."""
        self._database["promotions"].delete_many({"model": model})

    def history(self, model: str) -> list[Promotion]:
        """Return all decisions on a registered model, oldest first."""
        found = self._database["promotions"].find({"model": model}, {"_id": False}, sort=[("_id", 1)])
        return [Promotion(**document) for document in found]

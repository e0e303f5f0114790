"""The release log: which held batches were let in, by whom and why, in MongoDB.

A release is one document of the collection ``releases``, numbered from 1; the number is its ``_id``. It is only ever
added to. It holds for the very file that somebody looked at: another one of the same name is judged anew.
"""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from resources.mongo import MongoStore
from schemas.lines import Feed, LineFeed


class Release(BaseModel):
    """One decision to let a held batch in.

    Attributes
    ----------
    at
        When, UTC.
    line, feed, batch, etag
        The file that was released.
    by
        Who decided.
    reason
        Why, in words.
    held_for
        The reasons why it had been held, one mapping each.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    line: str
    feed: Feed
    batch: str
    etag: str
    by: str
    reason: str
    held_for: tuple[Mapping[str, str | int | None], ...]


class ReleaseLog(MongoStore):
    """The releases, to be added to and read."""

    def append(self, record: Release) -> None:
        """Add a release as the latest."""
        self._append("releases", record.model_dump())

    def history(self, feed: LineFeed, batch: str | None = None) -> list[Release]:
        """Return all releases of a feed, or those of one batch, oldest first."""
        wanted = {"line": feed.line, "feed": feed.kind} | ({} if batch is None else {"batch": batch})
        found = self._database["releases"].find(wanted, {"_id": False})
        return sorted((Release(**document) for document in found), key=lambda release: release.at)

"""Errors of the stores: whose fault they are, what they say, and when to try again at once.

Errors of our own are beside what raises them.
"""

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_Value = TypeVar("_Value")

READ_TRIES = 3  # of what is replaced while it is read

# What MongoDB says of a document alone: a bad value, a failed validation, too much for a transaction, too large, a
# duplicate key. What else it refuses, such as for a full disk, a quota or a missing right, it refuses everybody.
_DOCUMENT_CODES = {2, 121, 388, 10334, 11000}
_LENGTH = 500  # characters of a message


def is_outage(error: BaseException) -> bool:
    """Return whether trying again later, or for another batch, depends on a server rather than on this batch.

    That is so for the network, for time-outs, for all that S3 refuses and for what MongoDB refuses whoever asks. It
    is not for a document that MongoDB does not take, and for an error of our own.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError

    from resources.batch_documents import StoringTooSlowError
    from wafer_assets.settings import NotConfiguredError

    if isinstance(error, BulkWriteError) and (refused := (error.details or {}).get("writeErrors")):
        return refused[0].get("code") not in _DOCUMENT_CODES
    if isinstance(error, PyMongoError):
        of_document = isinstance(error, OperationFailure) and error.code in _DOCUMENT_CODES
        return not (of_document or isinstance(error, DocumentTooLarge))
    return isinstance(
        error, BotoCoreError | ClientError | StoringTooSlowError | NotConfiguredError | OSError | MemoryError
    )


def in_short(error: Exception) -> str:
    """Say what went wrong on one line, without the documents that MongoDB repeats in full."""
    from pymongo.errors import BulkWriteError

    said = str(error)
    if isinstance(error, BulkWriteError) and error.details and (refused := error.details.get("writeErrors")):
        said = str(refused[0].get("errmsg", said))
    return f"{type(error).__name__}: {' '.join(said.split())[:_LENGTH]}"


def state_problem(error: BaseException, state_dir: Path) -> str | None:
    """Say cause and remedy, on a line, where an error is one of the disk or of the databases in the state folder.

    The error may be wrapped in others, such as those of SQLAlchemy, which repeat a statement with its parameters. A
    damaged database is named by what it is, for SQLite does not say which file it was reading.
    """
    seen: BaseException | None = error
    while seen is not None:
        said = str(seen).lower()
        if isinstance(seen, sqlite3.DatabaseError):
            if "disk is full" in said:
                return _DISK_FULL
            if "readonly" in said or "unable to open" in said:
                return f"a database in it: {said}. Make its files writable for this user, or set WAFER_STATE_DIR."
            if "not a database" in said or "malformed" in said:
                return (
                    f"a database of Dagster's history in its folder `dagster` is damaged ({said}). Put it back from a "
                    "backup, or move `dagster` away: files, wafers, predictions and models stay, and `wafer ingest` "
                    "tells the new history of them."
                )
        if isinstance(seen, OSError) and seen.errno == errno.ENOSPC:
            return _DISK_FULL
        refused = isinstance(seen, OSError) and seen.errno in (errno.EACCES, errno.EROFS, errno.EPERM)
        if isinstance(seen, OSError) and refused and Path(str(seen.filename)).is_relative_to(state_dir):
            return f"{seen.filename}: {seen.strerror}. Make it writable for this user, or set WAFER_STATE_DIR."
        seen = seen.__cause__ or seen.__context__
    return None


_DISK_FULL = "its disk is full. Make room and do the same again; nothing that was acknowledged is lost."


def unless_replaced(attempt: Callable[[], _Value], replaced: type[Exception]) -> _Value:
    """Return what the attempt returns; where what it read was replaced meanwhile, try again with the newer content.

    Raises
    ------
    Exception
        Of the type `replaced`: it was replaced each time.
    """
    for _ in range(READ_TRIES - 1):
        try:
            return attempt()
        except replaced:
            continue  # its newer content is there already
    return attempt()

"""Whose fault an error is: of one batch, which then fails alone, or of a server, which all wait for."""

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    ExecutionTimeout,
    OperationFailure,
    WriteError,
    WTimeoutError,
)

from resources.store_errors import is_outage


def bulk(code: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"code": code, "errmsg": "no"}]})


@pytest.mark.parametrize(
    "error", [bulk(11000), bulk(121), WriteError("no", 2), DocumentTooLarge("no"), ValueError("no")]
)
def test_what_concerns_a_document_is_its_batchs_own_fault(error: Exception) -> None:
    assert not is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("gone"),
        ExecutionTimeout("slow"),
        WTimeoutError("slow"),
        bulk(14031),  # the disk is full
        OperationFailure("over the quota", 8000),
        OperationFailure("not allowed", 13),
        OperationFailure("shutting down", 11600),
        OSError("the disk is full"),
        MemoryError(),
    ],
)
def test_what_concerns_everybody_is_an_outage(error: Exception) -> None:
    assert is_outage(error)

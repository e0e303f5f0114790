"""Errors of the stores: whose fault they are, and what they say."""

# Not authorised, authentication failed, out of disk space: the server answers, and so it does everybody.
_SERVER_CODES = {13, 18, 14031}
_LENGTH = 500  # characters of a message
_TRANSIENT_LABELS = ("RetryableWriteError", "TransientTransactionError", "UnknownTransactionCommitResult")


def is_outage(error: BaseException) -> bool:
    """Return whether trying again later, or for another batch, depends on a server rather than on this batch.

    That is so for the network, for time-outs, for all that S3 refuses and for what MongoDB refuses whoever asks. It
    is not for a document that MongoDB does not take, and for an error of our own.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError

    from resources.batch_documents import StoringTooSlowError
    from wafer_assets.settings import NotConfiguredError

    if isinstance(error, PyMongoError):
        return (
            isinstance(error, ConnectionFailure | ConfigurationError)
            or error.timeout
            or (isinstance(error, OperationFailure) and error.code in _SERVER_CODES)
            or any(map(error.has_error_label, _TRANSIENT_LABELS))
        )
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

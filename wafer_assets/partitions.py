"""Dynamic partitions: one key per batch file, registered when the file is first seen."""

import re
from urllib.parse import unquote

import dagster as dg

from schemas.loader import Feed

BATCHES: dict[Feed, dg.DynamicPartitionsDefinition] = {
    "training": dg.DynamicPartitionsDefinition(name="training_batches"),
    "prediction": dg.DynamicPartitionsDefinition(name="prediction_batches"),
}

# Dagster refuses some of these in a partition key, and the others would change the meaning of a path.
_UNSAFE = re.compile(r"\.\.|[\x00-\x1f\x7f/\\%]")


def batch_key(name: str) -> str:
    """Return the partition key of a file name: the name itself, unsafe characters percent-encoded."""
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)


def batch_name(key: str) -> str:
    """Return the file name of a partition key."""
    return unquote(key)

"""Dynamic partitions: one key per batch file of a feed, registered when the file is first seen."""

import re
from functools import cache
from urllib.parse import unquote

import dagster as dg

from schemas.lines import LineFeed

# Dagster refuses some of these in a partition key, and the others would change the meaning of a path.
_UNSAFE = re.compile(r"\.\.|[\x00-\x1f\x7f/\\%]")


def partitions_name(feed: LineFeed) -> str:
    """Return the name under which Dagster keeps the batches of a feed."""
    return f"{feed.line}_{feed.kind}_batches"


@cache
def batches_of(feed: LineFeed) -> dg.DynamicPartitionsDefinition:
    """Return the batches of a feed as partitions."""
    return dg.DynamicPartitionsDefinition(name=partitions_name(feed))


def batch_key(name: str) -> str:
    """Return the partition key of a file name: the name itself, unsafe characters percent-encoded."""
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)


def batch_name(key: str) -> str:
    """Return the file name of a partition key."""
    return unquote(key)

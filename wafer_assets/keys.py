"""Names of things: the keys of assets, and of objects in the landing and the lake bucket; all of them carry the line.

Whatever is found again by its name has its name from here. What a name holds is told where it is written.
"""

import re

import dagster as dg

from schemas.lines import IDENTIFIER, LineFeed

DATA_VERSION = "dagster/data_version"
"""Tag of a materialization that says which version of the data it made."""


def name_of(line: str, what: str) -> str:
    """Return the name of a line's job, step, sensor, resource or pool, where names have no slashes."""
    return f"{line}__{what}"


def feed_key(feed: LineFeed, asset: str) -> dg.AssetKey:
    """Return the key of an asset of a feed."""
    return dg.AssetKey([feed.line, feed.kind, asset])


def training_key(line: str, asset: str) -> dg.AssetKey:
    """Return the key of an asset of a line's training feed."""
    return dg.AssetKey([line, "training", asset])


def predictions_key(line: str) -> dg.AssetKey:
    """Return the key of a line's predictions."""
    return dg.AssetKey([line, "prediction", "predictions"])


def refusals_key(line: str) -> dg.AssetKey:
    """Return the key of what the champion of a line could not score."""
    return dg.AssetKey([line, "prediction", "unscored_batches"])


def landing_folder(feed: LineFeed) -> str:
    """Return the prefix of a feed's files in the landing bucket."""
    return f"{feed.landing}/{feed.kind}/"


def landing_key(feed: LineFeed, name: str) -> str:
    """Return the key of a file in the landing bucket."""
    return f"{landing_folder(feed)}{name}"


def lake_folder(feed: LineFeed, asset: str) -> str:
    """Return the prefix in the lake bucket of an asset that keeps objects per batch or version."""
    return f"{feed}/{asset}/"


def validated_key(feed: LineFeed, batch: str) -> str:
    """Return the key of an accepted batch in the lake bucket."""
    return f"{lake_folder(feed, 'validated_batches')}{batch}"


def quarantine_folder(feed: LineFeed, batch: str) -> str:
    """Return the prefix in the lake bucket that holds a refused file and its `reasons.json`."""
    return f"{lake_folder(feed, 'quarantined_batches')}{batch}/"


def value_key(asset: dg.AssetKey, extension: str, partition: str | None = None) -> str:
    """Return the key in the lake bucket of an asset's latest value."""
    return "/".join([*asset.path, f"{partition or asset.path[-1]}.{extension}"])


def training_folder(training: str) -> str:
    """Return the prefix in the lake bucket of what the steps of a training hand on."""
    return f"runs/{training}/"


def predictions_folder(line: str) -> str:
    """Return the prefix in the lake bucket of a line's predictions."""
    return f"{line}/prediction/predictions/"


def prediction_key(line: str, batch: str) -> str:
    """Return the key in the lake bucket of a batch's predictions."""
    return f"{predictions_folder(line)}{batch}"


def reports_folder(line: str) -> str:
    """Return the prefix in the lake bucket of the reports on a line's batches."""
    return f"{line}/prediction/reports/"


def report_key(line: str, batch: str) -> str:
    """Return the key in the lake bucket of a batch's report."""
    return f"{reports_folder(line)}{batch.removesuffix('.csv')}.html"


def model_card_key(line: str, version: int) -> str:
    """Return the key in the lake bucket of the page that describes a version of the model."""
    return f"{line}/training/model_bundle/cards/{version}.html"


_PAGE = re.compile(f"{IDENTIFIER}/(prediction/reports|training/model_bundle/cards)/.+")


def is_page(key: str) -> bool:
    """Return whether a key in the lake bucket is that of a page that people open."""
    return _PAGE.fullmatch(key) is not None

"""Names of things in the stores: the keys of assets, and of objects in the landing and the lake bucket.

Whatever is found again by its name has its name from here. What a name holds is told where it is written.
"""

import dagster as dg

from schemas.loader import Feed


def feed_key(feed: Feed, asset: str) -> dg.AssetKey:
    """Return the key of an asset of a feed."""
    return dg.AssetKey([feed, asset])


def training_key(asset: str) -> dg.AssetKey:
    """Return the key of an asset of the training feed."""
    return feed_key("training", asset)


DATA_VERSION = "dagster/data_version"
"""Tag of a materialization that says which version of the data it made."""

PREDICTIONS = feed_key("prediction", "predictions")
REFUSALS = feed_key("prediction", "unscored_batches")


def landing_key(feed: Feed, name: str) -> str:
    """Return the key of a file in the landing bucket."""
    return f"{feed}/{name}"


def lake_folder(feed: Feed, asset: str) -> str:
    """Return the prefix in the lake bucket of an asset that keeps objects per batch or version."""
    return f"{feed}/{asset}/"


def validated_key(feed: Feed, batch: str) -> str:
    """Return the key of an accepted batch in the lake bucket."""
    return f"{lake_folder(feed, 'validated_batches')}{batch}"


def quarantine_folder(feed: Feed, batch: str) -> str:
    """Return the prefix in the lake bucket that holds a refused file and its `reasons.json`."""
    return f"{lake_folder(feed, 'quarantined_batches')}{batch}/"


def value_key(asset: dg.AssetKey, extension: str, partition: str | None = None) -> str:
    """Return the key in the lake bucket of an asset's latest value."""
    return "/".join([*asset.path, f"{partition or asset.path[-1]}.{extension}"])


def training_folder(training: str) -> str:
    """Return the prefix in the lake bucket of what the steps of a training hand on."""
    return f"runs/{training}/"


def prediction_key(batch: str) -> str:
    """Return the key in the lake bucket of a batch's predictions."""
    return f"{lake_folder('prediction', 'predictions')}{batch}"


def report_key(batch: str) -> str:
    """Return the key in the lake bucket of a batch's report."""
    return f"{REPORTS}{batch.removesuffix('.csv')}.html"


def model_card_key(version: int) -> str:
    """Return the key in the lake bucket of the page that describes a version of the model."""
    return f"{MODEL_CARDS}{version}.html"


REPORTS = lake_folder("prediction", "reports")
MODEL_CARDS = lake_folder("training", "model_bundle/cards")
PAGES = (REPORTS, MODEL_CARDS)
"""Prefixes in the lake bucket of the pages that people open."""

"""What the definitions of all stages share."""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from wafer_assets.domain.clustering import Clusterer, Elbow
    from wafer_assets.domain.preprocessing import Preprocessor
    from wafer_assets.domain.training import GroupModels
else:
    # Dagster resolves annotations when definitions load, and the learners are seconds to import.
    Clusterer = Elbow = Preprocessor = GroupModels = Any

__all__ = ["Clusterer", "Elbow", "GroupModels", "Preprocessor"]

OWNERS = ["team:wafer-platform"]

STORE_RETRIES = dg.RetryPolicy(max_retries=2, delay=20, backoff=dg.Backoff.EXPONENTIAL)
"""For steps that only read and write stores: a server that restarts is back before the last try."""


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return the metadata of an asset's latest materialization; empty if it has none."""
    event = instance.get_latest_materialization_event(key)
    return event.asset_materialization.metadata if event and event.asset_materialization else {}


def training_metadata(
    instance: dg.DagsterInstance, key: dg.AssetKey, training: str
) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return the metadata of what a training materialized of an asset, or of the latest where it did not.

    Another run may have materialized the asset since; what lies more than a hundred materializations back is not
    looked for.
    """
    cursor = None
    for _ in range(100 if training else 0):
        found = instance.fetch_materializations(key, limit=1, cursor=cursor)
        for record in found.records:
            materialization = record.asset_materialization
            if materialization and (made_by := materialization.metadata.get("training")) and made_by.value == training:
                return materialization.metadata
        if not found.has_more:
            break
        cursor = found.cursor
    return latest_metadata(instance, key)


def training_key(name: str) -> dg.AssetKey:
    """Return the key of an asset of the training line."""
    return dg.AssetKey(["training", name])


def training_input(name: str) -> dg.AssetIn:
    """Return the input that is loaded from an asset of the training line."""
    return dg.AssetIn(training_key(name))


def image(png: bytes) -> dg.MarkdownMetadataValue:
    """Return a plot as metadata that the UI draws."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")

"""What the definitions of all stages share."""

import base64
from typing import TYPE_CHECKING, Any

import dagster as dg

from wafer_assets.keys import training_key

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


def training_input(name: str) -> dg.AssetIn:
    """Return the input that is loaded from an asset of the training feed."""
    return dg.AssetIn(training_key(name))


def image(png: bytes) -> dg.MarkdownMetadataValue:
    """Return a plot as metadata that the UI draws."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")

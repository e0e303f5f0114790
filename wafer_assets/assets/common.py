"""What the definitions of all stages share."""

import base64
import re
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.model_config import model_resource
from schemas.lines import Line
from wafer_assets.keys import training_key

if TYPE_CHECKING:
    from wafer_assets.domain.clustering import Clusterer, Elbow
    from wafer_assets.domain.config import ModelConfig
    from wafer_assets.domain.preprocessing import Preprocessor
    from wafer_assets.domain.training import GroupModels
else:
    # Dagster resolves annotations when definitions load, and the learners are seconds to import.
    Clusterer = Elbow = Preprocessor = GroupModels = Any

__all__ = ["Clusterer", "Elbow", "GroupModels", "Preprocessor"]

_OWNER = re.compile(r"team:[A-Za-z0-9_-]+|[^\s@]+@[^\s@]+\.[^\s@]+")


def owners(line: Line) -> list[str]:
    """Return who is asked about a line's assets, in Dagster's form; nobody where the line names them in another."""
    return [line.owner] if _OWNER.fullmatch(line.owner) else []


STORE_RETRIES = dg.RetryPolicy(max_retries=2, delay=20, backoff=dg.Backoff.EXPONENTIAL)
"""For steps that only read and write stores: a server that restarts is back before the last try."""


def training_input(line: Line, name: str) -> dg.AssetIn:
    """Return the input that is loaded from an asset of a line's training feed."""
    return dg.AssetIn(training_key(line.name, name))


def group(line: Line, stage: str) -> str:
    """Return the name of the group of a line's assets of a stage."""
    return f"{line.name}_{stage}"


def with_hyperparameters(line: Line, *resources: str) -> set[str]:
    """Return the names of the resources of a step that uses a line's hyperparameters, which are one of them.

    They are a resource by line, so no parameter of a function can have its name; and Dagster takes the names of all
    resources from parameters, or of none.
    """
    return {model_resource(line.name), *resources}


def hyperparameters(context: dg.OpExecutionContext | dg.AssetExecutionContext, line: Line) -> "ModelConfig":
    """Return the hyperparameters of a line that are in effect in a run, whose step requires `model_resource`."""
    config: ModelConfig = getattr(context.resources, model_resource(line.name)).values
    return config


def image(png: bytes) -> dg.MarkdownMetadataValue:
    """Return a plot as metadata that the UI draws."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")

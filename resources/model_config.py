"""Run config that several steps share: set once per run as a resource, the same for all of them.

What the hyperparameters mean, and their defaults, is in `wafer_assets.domain.config`.
"""

from copy import copy
from typing import Any

import dagster as dg
from pydantic import Field, create_model

from wafer_assets.domain.config import ModelConfig
from wafer_assets.keys import name_of

# Five repeats cost half as much again and narrow no interval: these come from the number of faults.
REPEATS = 3


def model_resource(line: str) -> str:
    """Return the name of the resource that holds a line's hyperparameters in a run."""
    return name_of(line, "model")


class FaultModelConfig(ModelConfig, dg.ConfigurableResource["FaultModelConfig"]):
    """Hyperparameters of the fault model of a line."""

    @property
    def values(self) -> ModelConfig:
        """The bare hyperparameters, as the domain takes and stores them."""
        return ModelConfig.model_validate(self.model_dump())

    @classmethod
    def of(cls, defaults: ModelConfig) -> "FaultModelConfig":
        """Return the resource whose values, where run config does not say otherwise, are those of a line."""
        fields: dict[str, Any] = {}
        for name in ModelConfig.model_fields:
            # A default, not a value: of a resource's values, run config that sets one drops the others.
            field = copy(cls.model_fields[name])
            field.default = getattr(defaults, name)
            fields[name] = (field.annotation, field)
        made: type[FaultModelConfig] = create_model(cls.__name__, __base__=cls, **fields)
        return made()


class EvaluationConfig(dg.ConfigurableResource["EvaluationConfig"]):
    """How thoroughly a model is evaluated."""

    repeats: int = Field(default=REPEATS, ge=1, description="Repeats of the stratified k-fold protocol.")
    folds: int = Field(default=10, ge=2, description="Folds of each repeat.")
    n_jobs: int = Field(default=2, ge=1, description="Processes that fit folds side by side.")


class PromotionConfig(dg.ConfigurableResource["PromotionConfig"]):
    """When a challenger becomes champion."""

    clearly_better: bool = Field(
        default=False,
        description="Ask for a log loss below the champion's with the whole 95% interval of the difference.",
    )

"""Run config that several steps share: set once per run as a resource, the same for all of them.

What the hyperparameters mean, and their defaults, is in `wafer_assets.domain.config`.
"""

import dagster as dg
from pydantic import Field

from wafer_assets.domain.config import ModelConfig

# Five repeats cost half as much again and narrow no interval: these come from the number of faults.
REPEATS = 3


class FaultModelConfig(ModelConfig, dg.ConfigurableResource["FaultModelConfig"]):
    """Hyperparameters of the fault model; the defaults are measured on the real line."""

    @property
    def values(self) -> ModelConfig:
        """The bare hyperparameters, as the domain takes and stores them."""
        return ModelConfig.model_validate(self.model_dump())


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

"""Hyperparameters of the fault model; apart from it, because run config needs them without the learners.

Belongs here: what may be chosen, with bounds, units and defaults. What is done with it is `training`.
"""

import hashlib

from pydantic import BaseModel, ConfigDict, Field


class ModelConfig(BaseModel):
    """What a fault model is made of; defaults are measured on the real line (5 x 10-fold).

    Every field says in its description what it does; values out of bounds and unknown names are refused with
    pydantic's ``ValidationError``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(
        0, ge=0, le=2**31 - 1, description="Seed of everything random: same table, same seed, same model."
    )
    max_missing: float = Field(
        0.5, gt=0, lt=1, description="Sensors with a larger share of missing readings are dropped."
    )
    min_missing: float = Field(
        0.01, gt=0, lt=0.5, description="Sensors get a missing-reading indicator from this share on."
    )
    clip: float = Field(5.0, gt=0, description="Readings are winsorised at this many standard deviations.")
    n_components: int = Field(10, ge=1, description="Principal components that clusters are found on.")
    k: int | None = Field(None, ge=1, description="Number of clusters; empty lets the elbow choose.")
    k_max: int = Field(10, ge=3, description="Largest number of clusters that the elbow tries.")
    knee_sensitivity: float = Field(3.0, gt=0, description="How pronounced the elbow's bend must be (Kneedle's S).")
    k_fallback: int = Field(2, ge=1, description="Number of clusters when the elbow finds no bend.")
    folds: int = Field(
        4,
        ge=2,
        description="Cross-fitting folds: each member is this many learners, or fewer where a fold would hold "
        "fewer than two faulty wafers.",
    )
    n_sensors: int = Field(40, ge=1, description="Features that each learner keeps, the strongest by F-test.")
    shrinkage: float = Field(
        60.0,
        ge=0,
        description="A cluster's models weigh faults / (faults + shrinkage) against the global ones.",
    )
    xgboost_trees: int = Field(60, ge=1, description="Boosting rounds per XGBoost learner.")
    # Deeper trees would multiply what an exact explanation of them costs (see `explanation`), for no gain.
    xgboost_depth: int = Field(5, ge=1, le=10, description="Depth of XGBoost's trees.")
    xgboost_learning_rate: float = Field(0.08, gt=0, le=1, description="Shrinkage of each boosting round.")
    xgboost_l2: float = Field(5.0, ge=0, description="L2 penalty on XGBoost's leaf weights.")
    forest_trees: int = Field(20, ge=1, description="Trees per Random Forest learner.")
    forest_depth: int = Field(8, ge=1, le=10, description="Depth of the Random Forest's trees.")
    forest_leaf: int = Field(3, ge=1, description="Fewest wafers in a leaf of the Random Forest.")
    forest_draws: int = Field(
        2000, ge=2, description="Most wafers drawn per tree; faulty and passed ones are drawn equally often."
    )
    capacity: float = Field(
        0.33, gt=0, lt=1, description="Inspection capacity: the share of wafers that may raise an alarm."
    )
    cost_ratio: float | None = Field(
        None, gt=0, description="Cost of a missed fault in re-inspections; replaces the capacity when set."
    )

    @property
    def content_hash(self) -> str:
        """The SHA-256 of all hyperparameters, 64 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def policy(self) -> str:
        """The alarm policy in words."""
        if self.cost_ratio is not None:
            return f"a missed fault costs as much as {self.cost_ratio:g} re-inspections"
        return f"inspect the riskiest {self.capacity:.0%} of the wafers"

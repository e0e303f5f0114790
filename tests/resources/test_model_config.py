"""Run config that steps share: refused where it is wrong, and handed to the domain as its own hyperparameters."""

from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from resources.model_config import EvaluationConfig, FaultModelConfig, PromotionConfig
from wafer_assets.domain.config import ModelConfig

RESOURCES = {"model": FaultModelConfig(), "evaluation": EvaluationConfig(), "promotion": PromotionConfig()}


def given(**config: dict[str, Any]) -> tuple[FaultModelConfig, EvaluationConfig, PromotionConfig]:
    """Return what a step gets of a run config."""
    seen = []

    @dg.op
    def step(model: FaultModelConfig, evaluation: EvaluationConfig, promotion: PromotionConfig) -> None:
        seen.append((model, evaluation, promotion))

    @dg.job(resource_defs=RESOURCES)
    def job() -> None:
        step()

    run_config = {"resources": {name: {"config": values} for name, values in config.items()}}
    job.execute_in_process(run_config=run_config)
    return seen[0]


def test_without_run_config_the_defaults_of_the_domain_count() -> None:
    model, evaluation, promotion = given()
    assert model.values == ModelConfig()
    assert (evaluation.repeats, evaluation.folds) == (3, 10)
    assert not promotion.clearly_better


def test_what_a_run_sets_reaches_the_steps() -> None:
    model, evaluation, promotion = given(
        model={"k": 3, "seed": 7}, evaluation={"repeats": 1}, promotion={"clearly_better": True}
    )
    assert model.values == ModelConfig(k=3, seed=7)
    assert evaluation.repeats == 1
    assert promotion.clearly_better


def test_the_hyperparameters_of_a_run_have_the_hash_of_those_of_the_domain() -> None:
    values = FaultModelConfig(k=3).values
    assert type(values) is ModelConfig
    assert values.content_hash == ModelConfig(k=3).content_hash


@pytest.mark.parametrize(
    ("resource", "name", "value"),
    [("model", "folds", 1), ("evaluation", "repeats", 0), ("evaluation", "folds", 1), ("evaluation", "n_jobs", 0)],
)
def test_what_is_out_of_bounds_fails_the_run_before_its_first_step(resource: str, name: str, value: int) -> None:
    with pytest.raises(dg.DagsterResourceFunctionError) as refusal:
        given(**{resource: {name: value}})
    assert isinstance(refusal.value.__cause__, ValidationError)
    assert refusal.value.__cause__.errors()[0]["loc"] == (name,)


@pytest.mark.parametrize(
    ("resource", "name", "value"), [("model", "trees", 60), ("promotion", "clearly_better", "yes")]
)
def test_what_is_unknown_or_of_another_type_makes_no_run(resource: str, name: str, value: object) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=name):
        given(**{resource: {name: value}})

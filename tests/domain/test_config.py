"""Hyperparameters are checked where they are given, and two sets of them are told apart by their hash."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wafer_assets.domain.config import ModelConfig

DEFAULTS = ModelConfig()
VALUES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "max_missing": st.floats(0, 1, exclude_min=True, exclude_max=True),
        "k": st.none() | st.integers(1, 50),
        "folds": st.integers(2, 20),
        "shrinkage": st.floats(0, 1e6),
        "capacity": st.floats(0, 1, exclude_min=True, exclude_max=True),
        "cost_ratio": st.none() | st.floats(1e-3, 1e6),
    },
)


@given(VALUES)
def test_hyperparameters_survive_being_written_down(values: dict[str, Any]) -> None:
    config = ModelConfig(**values)

    again = ModelConfig.model_validate_json(config.model_dump_json())

    assert again == config
    assert again.content_hash == config.content_hash


@given(VALUES, VALUES)
def test_the_hash_is_the_same_for_the_same_hyperparameters_only(one: dict[str, Any], other: dict[str, Any]) -> None:
    left, right = ModelConfig(**one), ModelConfig(**other)

    assert (left.content_hash == right.content_hash) == (left.model_dump_json() == right.model_dump_json())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**31),
        ("max_missing", 1.0),
        ("min_missing", 0.0),
        ("k", 0),
        ("k_max", 2),
        ("folds", 1),
        ("xgboost_depth", 11),
        ("forest_draws", 1),
        ("capacity", 1.0),
        ("cost_ratio", 0.0),
        ("capacity", float("nan")),
        ("trees", 60),
    ],
)
def test_what_is_out_of_bounds_or_unknown_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValidationError) as refusal:
        ModelConfig(**{name: value})

    assert refusal.value.errors()[0]["loc"] == (name,)


def test_hyperparameters_do_not_change_after_a_model_was_made_of_them() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DEFAULTS.seed = 1  # type: ignore[misc]


def test_every_hyperparameter_says_what_it_does() -> None:
    assert all(field.description for field in ModelConfig.model_fields.values())


def test_the_policy_is_the_capacity_unless_a_cost_ratio_replaces_it() -> None:
    assert DEFAULTS.policy == "inspect the riskiest 33% of the wafers"
    assert ModelConfig(cost_ratio=12.5).policy == "a missed fault costs as much as 12.5 re-inspections"


def test_hyperparameters_are_there_without_the_learners() -> None:
    code = "import sys, wafer_assets.domain.config; sys.exit(bool({'sklearn', 'xgboost', 'pandas'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""`wafer train`: the hyperparameters that it takes, and where it starts nothing."""

import json

import pytest

from tests.conftest import use
from tests.shell import call
from wafer_assets.cli.training import train
from wafer_assets.domain.config import ModelConfig
from wafer_assets.settings import Settings


def parsed(*overrides: str) -> object:
    arguments = [f"--set={override}" for override in overrides]
    return train.make_context("train", arguments).params["model"]


def test_hyperparameters_are_numbers_or_null_by_name() -> None:
    assert parsed() == {}
    assert parsed("capacity=0.2", "k=null", "folds=3", "seed=1e3") == {
        "capacity": 0.2,
        "k": None,
        "folds": 3,
        "seed": 1_000,
    }
    assert parsed("k=3", "k=3") == {"k": 3}
    every = ModelConfig().model_dump()
    assert parsed(*(f"{name}={json.dumps(value)}" for name, value in every.items())) == every


def test_where_runs_are_pods_the_command_line_starts_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    use(settings, monkeypatch)
    monkeypatch.setenv("WAFER_ENVIRONMENT", "production")
    monkeypatch.setenv("WAFER_EXECUTOR", "kubernetes")
    refused = call("train")
    assert refused.exit_code == 1
    assert "Start secom__train in the Dagster UI" in refused.output


def test_without_services_it_says_so_and_names_no_step_that_was_left_out() -> None:
    refused = call("train")
    assert refused.exit_code == 1
    assert "wafer services up" in refused.output
    assert "Dependencies for step" not in refused.output

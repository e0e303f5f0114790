"""Lines side by side in one platform: they share code and services, and nothing else."""

from typing import Any

import dagster as dg
import pytest

from schemas.lines import FEEDS, Line
from tests.feeds import LINE, line_like, line_with
from wafer_assets.definitions import build_defs
from wafer_assets.domain.config import ModelConfig
from wafer_assets.settings import RetrainingSettings, Settings

ETCH = line_like("etch")
SETTINGS = Settings(retraining=RetrainingSettings(schedule="0 3 * * 1"))
OF_THE_PLATFORM = {
    "forget_handed_on",
    "notify_run_failure",
    "notify_lost_lines",
    "default_automation_condition_sensor",  # Dagster's own, of conditions that no sensor evaluates
    *(f"close_mlflow_run_on_{end}" for end in ("success", "failure", "canceled")),
}


def names_of(*lines: Line) -> dict[str, set[str]]:
    """Return the names of all that there is on a platform with these lines, by kind."""
    repository = build_defs(SETTINGS, lines).get_repository_def()
    graph = repository.asset_graph
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    steps = [node for job in jobs for node in job.all_node_defs]
    partitions = {graph.get(key).partitions_def for key in graph.get_all_asset_keys()} - {None}
    return {
        "assets": {key.to_user_string() for key in graph.get_all_asset_keys()},
        "checks": {f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys},
        "groups": {str(graph.get(key).group_name) for key in graph.get_all_asset_keys()},
        "jobs": {job.name for job in jobs},
        "steps": {step.name for step in steps},
        "pools": {step.pool for step in steps if isinstance(step, dg.OpDefinition) and step.pool},
        "sensors": {sensor.name for sensor in repository.sensor_defs} - OF_THE_PLATFORM,
        "schedules": {schedule.name for schedule in repository.schedule_defs},
        "partitions": {str(found.name) for found in partitions if isinstance(found, dg.DynamicPartitionsDefinition)},
    }


def test_two_lines_have_all_that_each_has_alone_and_nothing_in_common() -> None:
    first, second, both = names_of(LINE), names_of(ETCH), names_of(LINE, ETCH)
    for kind, names in both.items():
        assert first[kind], kind
        assert {name.replace("secom", "etch", 1) for name in first[kind]} == second[kind], kind
        assert not first[kind] & second[kind], kind
        assert names == first[kind] | second[kind], kind


def test_the_graph_of_a_line_leads_to_no_other_one() -> None:
    graph = build_defs(SETTINGS, [LINE, ETCH]).get_repository_def().asset_graph
    for key in graph.get_all_asset_keys():
        assert {parent.path[0] for parent in graph.get(key).parent_keys} <= {key.path[0]}


@pytest.mark.parametrize("line", [LINE, ETCH], ids=str)
def test_a_job_makes_assets_of_its_own_line_alone(line: Line) -> None:
    defs = build_defs(SETTINGS, [LINE, ETCH])
    jobs = {"train": {"training"}, "train_end_to_end": {"training"}, "predict": {"prediction"}}
    jobs |= {f"ingest_{kind}": {kind} for kind in FEEDS}
    for job, kinds in jobs.items():
        keys = defs.resolve_job_def(f"{line.name}__{job}").asset_layer.executable_asset_keys
        assert {key.path[0] for key in keys} == {line.name}, job
        assert {key.path[1] for key in keys} == kinds, job


def test_without_a_line_there_is_a_platform_that_waits_for_one() -> None:
    assert not any(names_of().values())


# --- Hyperparameters ---


def in_effect(line: Line, **given: Any) -> ModelConfig:
    """Return the hyperparameters that a step of a line gets of a run with these in its config."""
    name = f"{line.name}__model"
    seen: list[ModelConfig] = []

    @dg.asset(required_resource_keys={name})
    def step(context: dg.AssetExecutionContext) -> None:
        seen.append(getattr(context.resources, name).values)

    resources = build_defs(SETTINGS, [LINE, ETCH, line]).resources or {}
    config = {"resources": {name: {"config": given}}} if given else {}
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([step], resources={name: resources[name]}, run_config=config, instance=instance)
    return seen[0]


OWN = line_with(k=3, n_sensors=7, cost_ratio=25.0)


def test_a_run_has_the_hyperparameters_that_its_line_declares() -> None:
    assert in_effect(OWN) == OWN.hyperparameters == ModelConfig(k=3, n_sensors=7, cost_ratio=25.0)
    assert in_effect(ETCH) == ETCH.hyperparameters != OWN.hyperparameters


def test_what_a_run_sets_leaves_the_others_as_the_line_declares_them() -> None:
    assert in_effect(OWN, k=5) == ModelConfig(k=5, n_sensors=7, cost_ratio=25.0)
    assert in_effect(OWN, cost_ratio=4.0, seed=9) == ModelConfig(k=3, n_sensors=7, cost_ratio=4.0, seed=9)

"""What the pods of a training's steps ask for."""

import dagster as dg
import pytest
from kubernetes.client import V1ResourceRequirements

from jobs.pod_sizes import SMALL, STEPS, PodSize
from jobs.training import TRAIN_END_TO_END
from wafer_assets.definitions import build_defs
from wafer_assets.keys import name_of
from wafer_assets.settings import Settings


def ops_of(graph: dg.GraphDefinition) -> set[str]:
    found: set[str] = set()
    for node in graph.nodes:
        inner = node.definition
        found |= ops_of(inner) if isinstance(inner, dg.GraphDefinition) else {node.name}
    return found


def test_every_size_belongs_to_a_step_and_every_step_that_computes_has_one() -> None:
    steps = ops_of(
        build_defs(Settings(executor="kubernetes")).resolve_job_def(name_of("secom", TRAIN_END_TO_END)).graph
    )
    sized = {name_of("secom", step) for step in STEPS}
    assert sized <= steps
    # What is left only counts or names things.
    assert steps - sized == {
        "secom__wafer_groups",
        "secom__training__batch_ledger_all_accounted_for",
        "secom__training__wafer_table_both_outcomes",
    }


@pytest.mark.parametrize("name", STEPS)
def test_a_step_reserves_the_memory_it_may_use(name: str) -> None:
    resources = V1ResourceRequirements(**STEPS[name].k8s_config["container_config"]["resources"])
    assert resources.requests["memory"] == resources.limits["memory"] == f"{STEPS[name].memory_mib}Mi"
    assert "cpu" not in resources.limits


def test_a_pod_asks_for_parts_of_a_cpu_and_whole_mebibytes() -> None:
    asked = PodSize(cpu=0.25, memory_mib=512).k8s_config["container_config"]["resources"]
    assert asked["requests"] == {"cpu": "250m", "memory": "512Mi"}


def test_no_step_that_computes_gets_less_than_one_that_does_not() -> None:
    assert min(size.memory_mib for size in STEPS.values()) >= SMALL.memory_mib
    assert min(size.cpu for size in STEPS.values()) >= SMALL.cpu

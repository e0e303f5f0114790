"""Where the steps of a training run, and what their pods get."""

import dagster as dg
import pytest
from kubernetes.client import V1ResourceRequirements

from jobs.pod_sizes import STEPS
from jobs.training import TRAIN_END_TO_END, training_jobs
from wafer_assets.definitions import build_defs
from wafer_assets.settings import Settings


@pytest.fixture
def on_kubernetes() -> dg.Definitions:
    return build_defs(Settings(executor="kubernetes"))


def test_a_laptop_runs_all_steps_in_one_process() -> None:
    defs = build_defs(Settings())
    executors = {job.name: defs.resolve_job_def(job.name).executor_def for job in training_jobs("in_process")}
    assert set(executors.values()) == {dg.in_process_executor}


def test_on_kubernetes_training_gets_a_pod_per_step_and_ingestion_and_scoring_do_not(
    on_kubernetes: dg.Definitions,
) -> None:
    executors = {
        name: on_kubernetes.resolve_job_def(name).executor_def.name
        for name in ("train", "train_end_to_end", "ingest_training", "ingest_prediction", "predict")
    }
    assert executors == {
        "train": "step_pods",
        "train_end_to_end": "step_pods",
        "ingest_training": "in_process",
        "ingest_prediction": "in_process",
        "predict": "in_process",
    }


def ops_of(graph: dg.GraphDefinition) -> set[str]:
    found: set[str] = set()
    for node in graph.nodes:
        inner = node.definition
        found |= ops_of(inner) if isinstance(inner, dg.GraphDefinition) else {node.name}
    return found


def test_every_size_belongs_to_a_step_and_every_step_that_computes_has_one(on_kubernetes: dg.Definitions) -> None:
    steps = ops_of(on_kubernetes.resolve_job_def(TRAIN_END_TO_END).graph)
    assert set(STEPS) <= steps
    # What is left only counts or names things.
    assert steps - set(STEPS) == {
        "wafer_groups",
        "training__batch_ledger_all_accounted_for",
        "training__wafer_table_both_outcomes",
    }


@pytest.mark.parametrize("name", STEPS)
def test_a_step_reserves_the_memory_it_may_use(name: str) -> None:
    resources = V1ResourceRequirements(**STEPS[name].k8s_config["container_config"]["resources"])
    assert resources.requests["memory"] == resources.limits["memory"] == f"{STEPS[name].memory_mib}Mi"
    assert "cpu" not in resources.limits


def test_one_run_may_give_a_step_more_memory(on_kubernetes: dg.Definitions) -> None:
    job = on_kubernetes.resolve_job_def("train")
    given = {"execution": {"config": {"memory_mib": {"fit_group": 9000}}}}
    steps = dg.validate_run_config(job, given)["execution"]["step_pods"]["per_step_k8s_config"]
    limits = {name: step["container_config"]["resources"]["limits"]["memory"] for name, step in steps.items()}
    assert limits == {name: f"{size.memory_mib}Mi" for name, size in STEPS.items()} | {"fit_group": "9000Mi"}


def test_a_step_that_does_not_exist_gets_no_memory(on_kubernetes: dg.Definitions) -> None:
    job = on_kubernetes.resolve_job_def("train")
    with pytest.raises(dg.DagsterInvalidConfigError, match="fit_groups"):
        dg.validate_run_config(job, {"execution": {"config": {"memory_mib": {"fit_groups": 9000}}}})

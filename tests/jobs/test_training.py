"""What the jobs of the training feed make, and where their steps run."""

import dagster as dg
import pytest

from jobs.pod_sizes import STEPS
from jobs.training import training_jobs
from resources.trainings import training_pool
from tests.feeds import LINE
from wafer_assets.definitions import build_defs
from wafer_assets.settings import Settings


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs(Settings())


def assets_of(defs: dg.Definitions, job: str) -> set[str]:
    """Return the assets of the training feed that a job makes."""
    keys = defs.resolve_job_def(job).asset_layer.executable_asset_keys
    assert {tuple(key.path[:2]) for key in keys} == {("secom", "training")}
    return {key.path[2] for key in keys}


@pytest.fixture(scope="module")
def on_kubernetes() -> dg.Definitions:
    return build_defs(Settings(executor="kubernetes"))


def test_a_laptop_runs_all_steps_in_one_process(defs: dg.Definitions) -> None:
    executors = {job.name: defs.resolve_job_def(job.name).executor_def for job in training_jobs(LINE, "in_process")}
    assert set(executors.values()) == {dg.in_process_executor}


def test_on_kubernetes_training_gets_a_pod_per_step_and_ingestion_and_scoring_do_not(
    on_kubernetes: dg.Definitions,
) -> None:
    executors = {
        name: on_kubernetes.resolve_job_def(name).executor_def.name
        for name in (
            "secom__train",
            "secom__train_end_to_end",
            "secom__ingest_training",
            "secom__ingest_prediction",
            "secom__predict",
        )
    }
    assert executors == {
        "secom__train": "step_pods",
        "secom__train_end_to_end": "step_pods",
        "secom__ingest_training": "in_process",
        "secom__ingest_prediction": "in_process",
        "secom__predict": "in_process",
    }


def test_one_run_may_give_a_step_more_memory(on_kubernetes: dg.Definitions) -> None:
    job = on_kubernetes.resolve_job_def("secom__train")
    given = {"execution": {"config": {"memory_mib": {"fit_group": 9000}}}}
    steps = dg.validate_run_config(job, given)["execution"]["step_pods"]["per_step_k8s_config"]
    limits = {name: step["container_config"]["resources"]["limits"]["memory"] for name, step in steps.items()}
    sizes = {f"secom__{step}": f"{size.memory_mib}Mi" for step, size in STEPS.items()}
    assert limits == sizes | {"secom__fit_group": "9000Mi"}


def test_a_step_that_does_not_exist_gets_no_memory(on_kubernetes: dg.Definitions) -> None:
    job = on_kubernetes.resolve_job_def("secom__train")
    with pytest.raises(dg.DagsterInvalidConfigError, match="fit_groups"):
        dg.validate_run_config(job, {"execution": {"config": {"memory_mib": {"fit_groups": 9000}}}})


def test_all_steps_of_the_modelling_line_are_in_its_pool(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def("secom__train")
    outside = {
        node.name
        for node in job.all_node_defs
        if isinstance(node, dg.OpDefinition) and node.pool != training_pool("secom")
    }
    # The table follows the ledger also while a training goes on.
    assert outside == {"secom__training__wafer_table", "secom__training__wafer_table_both_outcomes"}


def test_a_training_makes_the_modelling_line_and_from_end_to_end_its_records_too(defs: dg.Definitions) -> None:
    modelling = assets_of(defs, "secom__train")
    assert {"wafer_table", "evaluation", "model_bundle", "champion"} <= modelling
    ingestion = assets_of(defs, "secom__ingest_training")
    assert ingestion == {"validated_batches", "wafer_records", "batch_ledger"}
    assert not modelling & ingestion
    assert assets_of(defs, "secom__train_end_to_end") == modelling | ingestion


def test_what_ingests_takes_a_range_of_batch_files_and_a_training_takes_none(defs: dg.Definitions) -> None:
    partitions = {
        name: defs.resolve_job_def(name).partitions_def
        for name in ("secom__ingest_training", "secom__train_end_to_end")
    }
    for found in partitions.values():
        assert isinstance(found, dg.DynamicPartitionsDefinition)
        assert found.name == "secom_training_batches"
    assert defs.resolve_job_def("secom__train").partitions_def is None


def test_checks_run_with_the_assets_they_judge(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def("secom__train")
    checks = {key.name for key in job.asset_layer.asset_graph.asset_check_keys}
    assert checks == {"both_outcomes", "few_superseded", "better_than_chance", "plausible"}

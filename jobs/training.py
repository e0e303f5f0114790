"""The training feed's jobs."""

from dataclasses import replace
from typing import Any, Literal

import dagster as dg

from jobs.pod_sizes import SMALL, STEPS
from resources.adapters.dagster import UnresolvedAssetJobDefinition
from wafer_assets.partitions import BATCHES

INGESTION = dg.AssetSelection.key_prefixes(["training"]) & dg.AssetSelection.groups("ingestion")
MODELLING = dg.AssetSelection.key_prefixes(["training"]) - INGESTION

INGESTED = dg.AssetSelection.assets(
    *([feed, asset] for feed in BATCHES for asset in ("validated_batches", "wafer_records"))
)
"""What is ingested of every batch, of both feeds."""
FOLLOWING = dg.AssetSelection.assets(*([feed, "batch_ledger"] for feed in BATCHES), ["training", "wafer_table"])
"""What sums up all batches."""

TRAIN = "train"
TRAIN_END_TO_END = "train_end_to_end"


def training_jobs(executor: Literal["in_process", "kubernetes"]) -> list[UnresolvedAssetJobDefinition]:
    """Build the jobs; `executor` runs the steps of those that train."""
    steps = _step_pods() if executor == "kubernetes" else dg.in_process_executor
    return [
        dg.define_asset_job(
            "ingest_training",
            selection=INGESTION,
            partitions_def=BATCHES["training"],
            # One step over many small files: a process or a pod of its own would only add seconds.
            executor_def=dg.in_process_executor,
            description="Check batch files against the contract; store the good ones, quarantine the others.",
        ),
        dg.define_asset_job(
            TRAIN,
            selection=MODELLING,
            executor_def=steps,
            description="Train, evaluate and register a fault model on all accepted labelled wafers.",
        ),
        dg.define_asset_job(
            TRAIN_END_TO_END,
            selection=INGESTION | MODELLING,
            partitions_def=BATCHES["training"],
            executor_def=steps,
            description="Ingest a range of batch files, then train on all wafers accepted so far.",
        ),
    ]


def _step_pods() -> dg.ExecutorDefinition:
    # Kubernetes' client takes most of a second to import, which a laptop need not wait for.
    from resources.step_pods import step_pods

    def configure(config: dict[str, dict[str, int]]) -> dict[str, Any]:
        memory = config["memory_mib"]
        return {
            "step_k8s_config": SMALL.k8s_config,
            "per_step_k8s_config": {
                name: replace(size, memory_mib=memory[name]).k8s_config for name, size in STEPS.items()
            },
            # The pods of a run go with it, however it ends.
            "enable_owner_references": True,
        }

    sizes = {name: dg.Field(int, default_value=size.memory_mib) for name, size in STEPS.items()}
    return step_pods.configured(
        configure,
        config_schema={"memory_mib": dg.Field(sizes, description="Memory of the steps' pods in this run, in MiB.")},
        name="step_pods",
    )

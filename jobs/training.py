"""The jobs of a line's training feed."""

from dataclasses import replace
from typing import Any, Literal

import dagster as dg

from jobs.pod_sizes import SMALL, STEPS
from resources.adapters.dagster import UnresolvedAssetJobDefinition
from schemas.lines import FEEDS, Line
from wafer_assets.keys import feed_key, name_of, training_key
from wafer_assets.partitions import batches_of

INGEST_TRAINING = "ingest_training"
TRAIN = "train"
TRAIN_END_TO_END = "train_end_to_end"


def ingested(line: Line) -> dg.AssetSelection:
    """Return what is ingested of every batch of a line, of both feeds."""
    assets = ("validated_batches", "wafer_records")
    return dg.AssetSelection.assets(*(feed_key(line.feed(kind), asset) for kind in FEEDS for asset in assets))


def following(line: Line) -> dg.AssetSelection:
    """Return what sums up all batches of a line."""
    ledgers = (feed_key(line.feed(kind), "batch_ledger") for kind in FEEDS)
    return dg.AssetSelection.assets(*ledgers, training_key(line.name, "wafer_table"))


def training_jobs(line: Line, executor: Literal["in_process", "kubernetes"]) -> list[UnresolvedAssetJobDefinition]:
    """Build the jobs of a line; `executor` runs the steps of those that train."""
    trained = dg.AssetSelection.key_prefixes([line.name, "training"])
    ingestion = trained & dg.AssetSelection.groups(f"{line.name}_ingestion")
    batches = batches_of(line.feed("training"))
    steps = _step_pods(line.name) if executor == "kubernetes" else dg.in_process_executor
    return [
        dg.define_asset_job(
            name_of(line.name, INGEST_TRAINING),
            selection=ingestion,
            partitions_def=batches,
            # One step over many small files: a process or a pod of its own would only add seconds.
            executor_def=dg.in_process_executor,
            description="Check batch files against the contract; store the good ones, quarantine the others.",
        ),
        dg.define_asset_job(
            name_of(line.name, TRAIN),
            selection=trained - ingestion,
            executor_def=steps,
            description="Train, evaluate and register a fault model on all accepted labelled wafers.",
        ),
        dg.define_asset_job(
            name_of(line.name, TRAIN_END_TO_END),
            selection=trained,
            partitions_def=batches,
            executor_def=steps,
            description="Ingest a range of batch files, then train on all wafers accepted so far.",
        ),
    ]


def _step_pods(line: str) -> dg.ExecutorDefinition:
    # Kubernetes' client takes most of a second to import, which a laptop need not wait for.
    from resources.step_pods import step_pods

    def configure(config: dict[str, dict[str, int]]) -> dict[str, Any]:
        memory = config["memory_mib"]
        return {
            "step_k8s_config": SMALL.k8s_config,
            "per_step_k8s_config": {
                name_of(line, step): replace(size, memory_mib=memory[step]).k8s_config for step, size in STEPS.items()
            },
            # The pods of a run go with it, however it ends.
            "enable_owner_references": True,
        }

    sizes = {step: dg.Field(int, default_value=size.memory_mib) for step, size in STEPS.items()}
    return step_pods.configured(
        configure,
        config_schema={"memory_mib": dg.Field(sizes, description="Memory of the steps' pods in this run, in MiB.")},
        name="step_pods",
    )

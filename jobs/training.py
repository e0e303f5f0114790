"""The training line's jobs."""

import dagster as dg

from wafer_assets.partitions import BATCHES

INGESTION = dg.AssetSelection.key_prefixes(["training"]) & dg.AssetSelection.groups("ingestion")
MODELLING = dg.AssetSelection.key_prefixes(["training"]) - INGESTION

INGESTED = dg.AssetSelection.assets(
    *([line, asset] for line in BATCHES for asset in ("validated_batches", "wafer_records"))
)
"""What is ingested of every batch, on both lines."""
FOLLOWING = dg.AssetSelection.assets(*([line, "batch_ledger"] for line in BATCHES), ["training", "wafer_table"])
"""What sums up all batches."""

# Ingestion is one step over many small files: a process of its own per step would only add seconds.
ingest_training = dg.define_asset_job(
    "ingest_training",
    selection=INGESTION,
    partitions_def=BATCHES["training"],
    executor_def=dg.in_process_executor,
    description="Check batch files against the contract; store the good ones, quarantine the others.",
)
train = dg.define_asset_job(
    "train",
    selection=MODELLING,
    executor_def=dg.in_process_executor,
    description="Train, evaluate and register a fault model on all accepted labelled wafers.",
)
train_end_to_end = dg.define_asset_job(
    "train_end_to_end",
    selection=INGESTION | MODELLING,
    partitions_def=BATCHES["training"],
    executor_def=dg.in_process_executor,
    description="Ingest a range of batch files, then train on all wafers accepted so far.",
)

TRAINING_JOBS = [ingest_training, train, train_end_to_end]

"""What is left to do: judged by what the stores hold now, not only by what Dagster was once told.

Whatever keeps a part of the platform's state can be lost or restored by itself, and a run can be killed between any
two writes. So work counts as done where its last step was told to Dagster and all that it made is still there.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import dagster as dg

from resources.adapters.dagster import latest_tag_by_partition
from resources.champion import load_bundle
from resources.io_managers import ObjectIOManager
from resources.mlflow import CHAMPION, BundleNotFoundError, BundleUnusableError, BundleVersion, LineTracking
from resources.mongo import BatchManifest, WaferStore
from resources.predictions import PredictionStore, ScoredBatch
from resources.promotions import PromotionLog
from resources.s3 import InvalidKeyError, S3Store, require_plain_key
from resources.wafer_table import table_key
from schemas.lines import Line, LineFeed
from wafer_assets.keys import (
    DATA_VERSION,
    feed_key,
    lake_folder,
    prediction_key,
    predictions_folder,
    predictions_key,
    quarantine_folder,
    report_key,
    reports_folder,
    training_key,
    validated_key,
    value_key,
)

TrainingStep: TypeAlias = Literal["train", "decide"]
"""All of a training, or the decision on its model alone."""


def stored_outcomes(feed: LineFeed, wafers: WaferStore, s3: S3Store) -> dict[str, str]:
    """Return the ETag of the landed file behind each batch's outcome, by batch, where the lake holds its part too."""
    manifests = wafers.batches(feed)
    # Listed after the manifests were read, for objects are written before them.
    kept = _keys(s3, *(lake_folder(feed, asset) for asset in ("validated_batches", "quarantined_batches")))
    return {item.batch: item.etag for item in manifests if _outcome_keys(feed, item) <= kept}


def _outcome_keys(feed: LineFeed, manifest: BatchManifest) -> set[str]:
    """Return the keys in the lake bucket that belong to a batch's outcome."""
    if manifest.status == "accepted":
        return {validated_key(feed, manifest.batch)}
    try:
        require_plain_key(manifest.key)
    except InvalidKeyError:
        return set()  # it cannot be addressed, and stays where it landed
    folder = quarantine_folder(feed, manifest.batch)
    return {f"{folder}{manifest.batch}", f"{folder}reasons.json"}


def waiting_batches(known: Iterable[BatchManifest], scored: Mapping[str, ScoredBatch]) -> list[str]:
    """Return the batches whose predictions are not those of their present content, which has none if refused."""
    return [
        item.batch for item in known if (scored[item.batch].sha256 if item.batch in scored else None) != item.sha256
    ]


def ledger_is_behind(instance: dg.DagsterInstance, feed: LineFeed) -> bool:
    """Return whether a batch was ingested after the ledger was written."""
    ledger, records = (
        instance.fetch_materializations(feed_key(feed, name), limit=1).records
        for name in ("batch_ledger", "wafer_records")
    )
    return bool(records) and not (ledger and ledger[0].storage_id > records[0].storage_id)


def unscored_batches(
    instance: dg.DagsterInstance, line: Line, wafers: WaferStore, predictions: PredictionStore, s3: S3Store
) -> list[BatchManifest]:
    """Return the batches of a line whose predictions are not those of their present content, or not in every store."""
    known, scored = wafers.batches(line.feed("prediction")), predictions.scored(line.name)
    kept = _keys(s3, predictions_folder(line.name), reports_folder(line.name))
    versions = latest_tag_by_partition(instance, predictions_key(line.name), DATA_VERSION)
    whole = {
        batch
        for batch, item in scored.items()
        if {item.csv, item.report} <= kept and versions.get(batch) == item.data_version
    }
    waiting = set(waiting_batches(known, scored))
    return [
        item
        for item in known
        if item.batch in waiting
        or (
            item.batch not in whole
            if item.sha256
            else {prediction_key(line.name, item.batch), report_key(line.name, item.batch)} & kept
        )
    ]


def training_left(
    instance: dg.DagsterInstance, line: Line, tracking: LineTracking, promotions: PromotionLog, s3: S3Store
) -> TrainingStep | None:
    """Return what a line's accepted wafers lack until they have their model and the decision on it, if anything."""
    ledger, table, bundle, champion = (
        _latest(instance, line.name, name) for name in ("batch_ledger", "wafer_table", "model_bundle", "champion")
    )
    if not (ledger and table and bundle):
        return "train"
    if not (
        _made_from(table, line.name, "batch_ledger", ledger) and _made_from(bundle, line.name, "wafer_table", table)
    ):
        return "train"
    version = _registered(tracking, bundle)
    values = (
        table_key(line.name),
        value_key(training_key(line.name, "model_bundle"), ObjectIOManager.extension),
    )
    if version is None or not _is_usable(tracking, version) or not all(s3.exists(s3.lake, key) for key in values):
        return "train"
    if champion is None or champion.storage_id < bundle.storage_id or not _is_decided(tracking, promotions, version):
        # The decision is part of its training, and takes no version of other hyperparameters.
        return "decide" if version.tags.get("config_hash") == line.hyperparameters.content_hash else "train"
    return None


def _latest(instance: dg.DagsterInstance, line: str, name: str) -> dg.EventLogRecord | None:
    records = instance.fetch_materializations(training_key(line, name), limit=1).records
    return records[0] if records else None


def _tags(record: dg.EventLogRecord) -> dict[str, str]:
    event = record.asset_materialization
    return dict(event.tags or {}) if event else {}


def _made_from(below: dg.EventLogRecord, line: str, name: str, above: dg.EventLogRecord) -> bool:
    return _tags(below).get(f"dagster/input_data_version/{line}/training/{name}") == _tags(above).get(DATA_VERSION, "")


def _registered(tracking: LineTracking, bundle: dg.EventLogRecord) -> BundleVersion | None:
    """Return the version that the event tells of; None where the registry has none or, made anew, another one."""
    try:
        version = tracking.get_version(int(_tags(bundle)[DATA_VERSION]))
    except BundleNotFoundError:
        return None
    event = bundle.asset_materialization
    run_id = event.metadata["mlflow_run_id"].value if event else None
    return version if version.run_id == run_id else None


def _is_usable(tracking: LineTracking, version: BundleVersion) -> bool:
    try:
        load_bundle(tracking, version)
    except BundleUnusableError:
        return False
    return True


def _is_decided(tracking: LineTracking, promotions: PromotionLog, version: BundleVersion) -> bool:
    """Return whether the version predicts, or gave way to a champion that can."""
    champion = tracking.version(CHAMPION)
    if champion is not None and champion.version == version.version:
        return True
    history = promotions.history(version.name)
    switches = [record for record in history if record.action != "keep"]
    if switches and switches[-1].version == version.version:
        return False  # the record came first, and the switch never did
    judged = any(record.version == version.version for record in history)
    return judged and (champion is None or _is_usable(tracking, champion))


def _keys(s3: S3Store, *prefixes: str) -> set[str]:
    return {item.key for prefix in prefixes for item in s3.list_objects(s3.lake, prefix)}

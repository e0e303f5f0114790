"""Facts from the metadata of the assets: those of the latest files, training and predictions, in one summary."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from wafer_assets.domain.foreign_text import unescaped
from wafer_assets.keys import predictions_key, training_key

Summary = dict[str, Any]

LISTED = 20
"""Scored batches that a summary lists at most."""

_EVENTS = 5 * LISTED  # that are looked at for them: of a batch that was scored again, only the latest counts


def read_summary(instance: dg.DagsterInstance, line: str) -> Summary:
    """Return the latest facts of a line; of the training feed, those of the training that registered the latest bundle.

    What has not been materialized yet is left out.
    """
    ledger, bundle, champion = (
        _metadata(instance, training_key(line, asset)) for asset in ("batch_ledger", "model_bundle", "champion")
    )

    def trained(asset: str) -> dict[str, Any]:
        # Another training, or an update of the table, may have begun since.
        return _plain_values(training_metadata(instance, training_key(line, asset), bundle.get("training", "")))

    table, elbow, labels = trained("wafer_table"), trained("elbow"), trained("cluster_labels")
    models, quality = trained("cluster_models"), trained("evaluation")
    summary: Summary = {"line": line}
    if ledger:
        summary["files"] = {
            name: ledger[name] for name in ("received", "accepted", "quarantined", "quarantined_by_reason")
        } | {"held": ledger.get("held", 0)}
        summary["wafers"] = {"stored": ledger["wafers"], "faulty": ledger["faulty_wafers"]}
    if table:
        summary["table"] = {
            "wafers": table["dagster/row_count"],
            "faulty": table["faulty_wafers"],
            "superseded_rows": table["superseded_rows"],
            "content_hash": table["content_hash"],
        }
    if elbow and labels:
        summary["clusters"] = {
            "elbow_k": elbow["k"],
            "elbow_is_knee": elbow["is_knee"],
            "sizes": labels["clusters"],
        }
    if models:
        summary["members"] = models["members"]
        summary["global_only"] = models["global_only"]
    if quality:
        summary["quality"] = quality["figures"]
    if bundle:
        summary["registered"] = {
            name: bundle[name] for name in ("model", "version", "alias", "alarm_threshold", "policy", "mlflow_run_id")
        }
    if champion:  # what predicts now, whoever decided
        summary["champion"] = {
            "version": champion.get("champion_version"),
            "decision": champion["decision"],
            "reasons": [unescaped(line.removeprefix("- ")) for line in champion["reasons"].splitlines()],
        }
    if scored := _metadata(instance, dg.AssetKey([line, "prediction", "batch_ledger"])):
        summary["files_to_score"] = {
            name: scored[name] for name in ("received", "accepted", "quarantined", "quarantined_by_reason")
        } | {"held": scored.get("held", 0)}
        summary["predictions"] = _predictions(instance, line)
    return summary


def _predictions(instance: dg.DagsterInstance, line: str) -> list[dict[str, Any]]:
    """Return the latest facts of the batches that were scored last, by batch: one query, however many there are."""
    records = instance.fetch_materializations(predictions_key(line), limit=_EVENTS).records
    latest: dict[str, dict[str, Any]] = {}
    for event in (record.asset_materialization for record in records):
        if event is not None and event.partition is not None and event.partition not in latest:
            latest[event.partition] = {name: _plain(value) for name, value in event.metadata.items()}
    # A refused batch has no alarms.
    scored = [(batch, facts) for batch, facts in latest.items() if "alarms" in facts][:LISTED]
    return [
        {
            "batch": batch,
            "wafers": facts["dagster/partition_row_count"],
            "alarms": facts["alarms"],
            "highest_probability": facts["highest_probability"],
            "bundle_version": facts["bundle_version"],
        }
        for batch, facts in sorted(scored)
    ]


def _metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Any]:
    return _plain_values(latest_metadata(instance, key))


def _plain_values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in metadata.items()}


def _plain(value: dg.MetadataValue[Any]) -> Any:
    if isinstance(value, dg.TableMetadataValue):
        return [dict(record.data) for record in value.records]
    return value.value


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return the metadata of an asset's latest materialization; empty if it has none."""
    event = instance.get_latest_materialization_event(key)
    return event.asset_materialization.metadata if event and event.asset_materialization else {}


def training_metadata(
    instance: dg.DagsterInstance, key: dg.AssetKey, training: str
) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return the metadata of what a training materialized of an asset, or of the latest where it did not.

    Another run may have materialized the asset since; what lies more than a hundred materializations back is not
    looked for.
    """
    cursor = None
    for _ in range(100 if training else 0):
        page = instance.fetch_materializations(key, limit=1, cursor=cursor)
        for record in page.records:
            materialization = record.asset_materialization
            if materialization and (made_by := materialization.metadata.get("training")) and made_by.value == training:
                return materialization.metadata
        if not page.has_more:
            break
        cursor = page.cursor
    return latest_metadata(instance, key)

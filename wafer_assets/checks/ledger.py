"""What became of batches, over all of them. What the contract says of one is in `contract`."""

import dagster as dg

from resources.mongo import WaferStore
from schemas.lines import LineFeed
from wafer_assets.keys import feed_key
from wafer_assets.operations.landing import reported_files
from wafer_assets.partitions import partitions_name


def all_accounted_for(feed: LineFeed) -> dg.AssetChecksDefinition:
    """Build the check that a feed lost no batch and no wafer."""

    @dg.asset_check(
        asset=feed_key(feed, "batch_ledger"),
        name="all_accounted_for",
        description="Every known batch has an outcome for its latest file, and MongoDB holds exactly the wafers of "
        "the accepted ones.",
    )
    def check(context: dg.AssetCheckExecutionContext, wafers: dg.ResourceParam[WaferStore]) -> dg.AssetCheckResult:
        manifests = wafers.batches(feed)
        outcomes = {manifest.batch: manifest.etag for manifest in manifests}
        landed = {batch: file.etag for batch, file in reported_files(context.instance, feed).items()}
        known = landed.keys() | context.instance.get_dynamic_partitions(partitions_name(feed))
        failed = {failure.batch: failure.reason for failure in wafers.failures(feed)}
        without = {batch for batch in known if outcomes.get(batch) != landed.get(batch, outcomes.get(batch, ""))}
        waiting = sorted(without - failed.keys())
        miscounted = wafers.miscounted(feed, manifests)
        return dg.AssetCheckResult(
            passed=not (waiting or failed or miscounted),
            # Batches that wait may just have landed; the others are for people to see to.
            severity=dg.AssetCheckSeverity.ERROR if failed or miscounted else dg.AssetCheckSeverity.WARN,
            metadata={
                "received": len(known),
                "with_outcome": len(manifests),
                "waiting": dg.MetadataValue.json(waiting[:100]),
                "failed": dg.MetadataValue.json(dict(sorted(failed.items())[:100])),
                "miscounted": dg.MetadataValue.json(miscounted[:100]),
            },
            description=f"{len(waiting)} batches wait for their outcome; {len(failed)} cannot be stored, for the "
            f"reasons in the metadata; {len(miscounted)} have more or fewer wafers in MongoDB than they should: "
            "materialize their records again.",
        )

    return check

"""Gates on the training feed: what must hold before a later step may rely on an earlier one."""

import dagster as dg

from resources.mongo import WaferStore
from resources.trainings import training_id
from schemas.loader import Feed
from wafer_assets.keys import training_key
from wafer_assets.operations.facts import training_metadata
from wafer_assets.operations.landing import reported_files
from wafer_assets.partitions import BATCHES


def all_accounted_for(feed: Feed) -> dg.AssetChecksDefinition:
    """Build the check that a feed lost no batch and no wafer."""

    @dg.asset_check(
        asset=dg.AssetKey([feed, "batch_ledger"]),
        name="all_accounted_for",
        description="Every known batch has an outcome for its latest file, and MongoDB holds exactly the wafers of "
        "the accepted ones.",
    )
    def check(context: dg.AssetCheckExecutionContext, wafers: dg.ResourceParam[WaferStore]) -> dg.AssetCheckResult:
        manifests = wafers.batches(feed)
        outcomes = {manifest.batch: manifest.etag for manifest in manifests}
        landed = {batch: file.etag for batch, file in reported_files(context.instance, feed).items()}
        known = landed.keys() | context.instance.get_dynamic_partitions(str(BATCHES[feed].name))
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


@dg.asset_check(
    asset=training_key("wafer_table"),
    description="The table holds faulty and passed wafers; without both there is nothing to learn.",
    blocking=True,
)
def both_outcomes(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Refuse a table of one kind of wafer only; its metadata says enough, so it is not read again.

    Raises
    ------
    dagster.Failure
        There is no table.
    """
    facts = training_metadata(context.instance, training_key("wafer_table"), training_id(context.run))
    if not facts:
        raise dg.Failure("There is no table. Materialize training/wafer_table first.", allow_retries=False)
    faults = int(str(facts["faulty_wafers"].value))
    passed = int(str(facts["dagster/row_count"].value)) - faults
    return dg.AssetCheckResult(
        passed=faults > 0 and passed > 0,
        metadata={"faulty_wafers": faults, "passed_wafers": passed},
        description=f"{faults} faulty and {passed} passed wafers; training needs both.",
    )


LEAK_AUC = 0.80
"""On the real line no honest model comes near this AUC: a higher one is a leak until proven otherwise."""

QUALITY_CHECK_SPECS = [
    dg.AssetCheckSpec(
        "better_than_chance",
        asset=training_key("evaluation"),
        description="The interval of the cross-validated AUC lies above one half.",
    ),
    dg.AssetCheckSpec(
        "plausible",
        asset=training_key("evaluation"),
        description=f"The cross-validated AUC is below {LEAK_AUC:.2f}; on real wafers more means a leak. "
        "Simulated faults are easier to find.",
    ),
]


def quality_check_results(auc: float, low: float) -> list[dg.AssetCheckResult]:
    """Judge the cross-validated AUC by its value and the lower end of its interval."""
    outcomes = {"better_than_chance": low > 0.5, "plausible": auc < LEAK_AUC}
    return [
        dg.AssetCheckResult(
            check_name=name,
            asset_key=training_key("evaluation"),
            passed=passed,
            # Promotion decides what a model may do; these tell people to look.
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"auc": auc, "auc_low": low},
        )
        for name, passed in outcomes.items()
    ]


CHECKS = [all_accounted_for("training"), all_accounted_for("prediction"), both_outcomes]

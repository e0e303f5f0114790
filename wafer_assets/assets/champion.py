"""The champion: the version that predicts, replaced only by a better one."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import dagster as dg

from resources.mlflow import CHAMPION, BundleVersion, Tracking
from resources.model_config import FaultModelConfig, PromotionConfig
from resources.promotions import PromotionLog
from resources.trainings import POOL, MixedTrainingsError, Provenance, training_id
from wafer_assets.assets.common import OWNERS, image, training_input
from wafer_assets.keys import training_key
from wafer_assets.operations.champion import compare, keep, promote, require_champion, rolled_back


@dg.asset(
    key=training_key("champion"),
    ins={"registered": training_input("model_bundle")},
    deps=[training_key("evaluation")],
    description="The version with the alias `champion`. The one just registered takes its place if it predicts the "
    "same out-of-fold wafers better: log loss first, AUC and average precision may veto.",
    group_name="models",
    owners=OWNERS,
    kinds={"mlflow", "mongodb"},
    code_version="1",
    pool=POOL,
)
def champion(
    context: dg.AssetExecutionContext,
    registered: dict[str, Any],
    model: FaultModelConfig,
    promotion: PromotionConfig,
    promotions: dg.ResourceParam[PromotionLog],
    tracking: dg.ResourceParam[Tracking],
) -> dg.MaterializeResult[None]:
    """Compare the version that this training registered with the champion, and promote the one or keep the other.

    Materialized alone, it judges the version registered last, and the run must have the hyperparameters of that one:
    `resources.trainings.require_fit` is the rule.
    """
    from wafer_assets.domain import plots

    training = training_id(context.run)
    challenger, current = _version(tracking, registered), tracking.version(CHAMPION)
    if current is not None and current.version == challenger.version:
        context.log.info(f"version {challenger.version} is the champion already; nothing to decide")
        return dg.MaterializeResult(
            metadata={
                "decision": "unchanged",
                "reasons": dg.MetadataValue.md(f"- Version {challenger.version} is the champion already."),
                "champion_version": challenger.version,
                "challenger_version": challenger.version,
                "training": training,
            },
            data_version=dg.DataVersion(str(challenger.version)),
        )

    decision = compare(tracking, challenger, current, seed=model.seed, clearly_better=promotion.clearly_better)
    if back := rolled_back(promotions.history(challenger.name), challenger.version):
        # What a person took away, no rule gives back.
        reason = (
            f"Version {challenger.version} was rolled back by {back.by}: {back.reason} "
            "Make it champion again with `wafer models promote`, or train a new one."
        )
        decision = replace(decision, promote=False, reasons=(reason, *decision.reasons))
    plot = plots.promotion({gate.name: gate.estimate for gate in decision.gates})
    versions = {"challenger": challenger.version, "champion": current.version if current else None}
    with tracking.run(context.run) as run:
        run.log_dict("promotion.json", versions | decision.as_dict())
        run.log_bytes("plots/promotion.png", plot)
    require_champion(tracking, challenger, current)
    act = promote if decision.promote else keep
    record = act(
        tracking,
        promotions,
        challenger,
        by=f"Dagster run {context.run_id}",
        reason=" ".join(decision.reasons),
        figures=decision.as_dict(),
        dagster_run_id=context.run_id,
    )
    now = challenger.version if decision.promote else record.previous
    return dg.MaterializeResult(
        metadata={
            "decision": record.action,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
            "gates": dg.MetadataValue.md(
                "\n".join(
                    [
                        "| condition | passed | difference [95% interval] |",
                        "|---|---|---|",
                        *(
                            f"| {gate.meaning} | {'yes' if gate.passed else 'no'} | {gate.figure} |"
                            for gate in decision.gates
                        ),
                    ]
                )
            ),
            "figures": dg.MetadataValue.json(decision.as_dict()),
            "challenger_version": challenger.version,
            "training": training,
            **({} if now is None else {"champion_version": now}),
            "compared_wafers": decision.wafers,
            "compared_faults": decision.faults,
            "mlflow_run_id": run.run_id,
            "plot": image(plot),
        },
        data_version=dg.DataVersion("none" if now is None else str(now)),
    )


def _version(tracking: Tracking, registered: Mapping[str, Any]) -> BundleVersion:
    """Return the version that a training registered, which must still be the one of that number."""
    version = tracking.get_version(registered["version"])
    for field in fields(Provenance):
        said, found = registered[field.name], version.tags.get(field.name)
        if said != found:
            raise MixedTrainingsError(
                f"version {version.version} of {version.name} is not the one that training/model_bundle registered: "
                f"its {field.name} is {found}, not {said}."
            )
    return version

"""The champion: the version that predicts, replaced only by a better one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.mlflow import CHAMPION, BundleVersion, LineTracking
from resources.model_config import PromotionConfig
from resources.promotions import PromotionLog
from resources.trainings import training_id, training_pool
from schemas.lines import Line
from wafer_assets.assets.common import group, hyperparameters, image, owners, training_input, with_hyperparameters
from wafer_assets.domain.foreign_text import markdown
from wafer_assets.keys import training_key
from wafer_assets.operations.champion import judge, keep, promote, registered_version, require_champion

if TYPE_CHECKING:
    from wafer_assets.domain.promotion import Decision


def champion_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that decides who predicts on a line."""

    @dg.asset(
        key=training_key(line.name, "champion"),
        ins={"registered": training_input(line, "model_bundle")},
        deps=[training_key(line.name, "evaluation")],
        description="The version with the alias `champion`. The one just registered takes its place if it predicts "
        "the same out-of-fold wafers better: log loss first, AUC and average precision may veto.",
        kinds={"mlflow", "mongodb"},
        code_version="1",
        group_name=group(line, "models"),
        owners=owners(line),
        pool=training_pool(line.name),
        required_resource_keys=with_hyperparameters(line, "promotion", "promotions", "tracking"),
    )
    def champion(context: dg.AssetExecutionContext, registered: dict[str, Any]) -> dg.MaterializeResult[None]:
        """Compare the version that this training registered with the champion, and promote the one or keep the other.

        Materialized alone, it judges the version registered last, and the run must have the hyperparameters of that
        one: `resources.trainings.require_fit` is the rule.
        """
        from wafer_assets.domain import plots

        registry: LineTracking = context.resources.tracking.of(line.name)
        promotions: PromotionLog = context.resources.promotions
        promotion: PromotionConfig = context.resources.promotion
        seed = hyperparameters(context, line).seed
        challenger, current = registered_version(registry, registered), registry.version(CHAMPION)
        if current is not None and current.version == challenger.version:
            context.log.info(f"version {challenger.version} is the champion already; nothing to decide")
            return _result(
                context.run, "unchanged", [f"Version {challenger.version} is the champion already."], current
            )

        decision = judge(registry, promotions, challenger, current, seed=seed, clearly_better=promotion.clearly_better)
        plot = plots.promotion({gate.name: gate.estimate for gate in decision.gates}, decision.basis)
        versions = {"challenger": challenger.version, "champion": current.version if current else None}
        with registry.run(context.run) as run:
            run.log_dict("promotion.json", versions | decision.as_dict())
            run.log_bytes("plots/promotion.png", plot)
        require_champion(registry, challenger, current)
        act = promote if decision.promote else keep
        record = act(
            registry,
            promotions,
            challenger,
            by=f"Dagster run {context.run_id}",
            reason=" ".join(decision.reasons),
            figures=decision.as_dict(),
            dagster_run_id=context.run_id,
        )
        return _result(
            context.run,
            record.action,
            decision.reasons,
            challenger if decision.promote else current,
            challenger_version=challenger.version,
            **_evidence(decision),
            mlflow_run_id=run.run_id,
            plot=image(plot),
        )

    return champion


def _result(
    run: dg.DagsterRun, decision: str, reasons: Sequence[str], champion: BundleVersion | None, **evidence: Any
) -> dg.MaterializeResult[None]:
    """Tell who predicts from now on, and why; the version that was judged is that one, unless the evidence names it."""
    number = champion.version if champion else None
    return dg.MaterializeResult(
        metadata={
            "decision": decision,
            "reasons": dg.MetadataValue.md("\n".join(f"- {markdown(reason)}" for reason in reasons)),
            **({} if number is None else {"champion_version": number, "challenger_version": number}),
            "training": training_id(run),
            **evidence,
        },
        data_version=dg.DataVersion("none" if number is None else str(number)),
    )


def _evidence(decision: "Decision") -> dict[str, Any]:
    rows = (f"| {gate.meaning} | {'yes' if gate.passed else 'no'} | {gate.figure} |" for gate in decision.gates)
    return {
        "gates": dg.MetadataValue.md(
            "\n".join(["| condition | passed | difference [95% interval] |", "|---|---|---|", *rows])
        ),
        "figures": dg.MetadataValue.json(decision.as_dict()),
        "compared_wafers": decision.wafers,
        "compared_faults": decision.faults,
    }

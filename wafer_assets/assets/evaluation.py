"""Honest quality of the whole model: everything is fitted anew inside every fold."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd

from resources.mlflow import Tracking
from resources.trainings import training_pool
from schemas.lines import Line
from wafer_assets.assets.common import group, hyperparameters, image, owners, training_input, with_hyperparameters
from wafer_assets.checks.models import quality_check_results, quality_check_specs
from wafer_assets.keys import name_of, training_key

if TYPE_CHECKING:
    from wafer_assets.domain.evaluation import Evaluation


def evaluation_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that judges a line's model."""

    @dg.asset(
        key=training_key(line.name, "evaluation"),
        ins={"table": training_input(line, "wafer_table")},
        # The models first: a table that cannot be learned from fails there, before the long part.
        deps=[training_key(line.name, "cluster_models")],
        description="Out-of-fold predictions of the whole model under three protocols, repeated k-fold, time split "
        "and rolling refit, and the metrics with 95% intervals that follow from them.",
        kinds={"scikitlearn", "parquet"},
        code_version="1",
        io_manager_key=name_of(line.name, "frames"),
        check_specs=quality_check_specs(line.name),
        group_name=group(line, "models"),
        owners=owners(line),
        pool=training_pool(line.name),
        required_resource_keys=with_hyperparameters(line, "evaluation", "tracking"),
    )
    def evaluation(
        context: dg.AssetExecutionContext, table: pd.DataFrame
    ) -> Iterator[dg.MaterializeResult[pd.DataFrame]]:
        """Fit and test the model on every fold."""
        from wafer_assets.domain.evaluation import evaluate
        from wafer_assets.domain.training import FaultModel

        config, asked = hyperparameters(context, line), context.resources.evaluation
        tracking: Tracking = context.resources.tracking

        def report(done: int, total: int) -> None:
            # Every message is a write to the event log.
            if done % 5 == 0 or done == total:
                context.log.info(f"{done} of {total} fits")

        result = evaluate(
            table,
            FaultModel(config),
            repeats=asked.repeats,
            folds=asked.folds,
            seed=config.seed,
            n_jobs=asked.n_jobs,
            progress=report,
        )
        drawn = _draw(result)
        with tracking.of(line.name).run(context.run) as run:
            run.log_metrics(_logged(result))
            run.log_dict("evaluation.json", result.as_dict())
            for name, plot in drawn.items():
                run.log_bytes(f"plots/{name}.png", plot)
        auc = result.metrics["repeated_k_fold"]["auc"]
        yield dg.MaterializeResult(
            value=result.out_of_fold,
            check_results=quality_check_results(line.name, auc.value, auc.low),
            metadata={
                "quality": _quality(result),
                "figures": dg.MetadataValue.json(result.as_dict()),
                **_headline(result),
                **{f"plot_{name}": image(plot) for name, plot in drawn.items()},
            },
        )

    return evaluation


def _draw(result: "Evaluation") -> dict[str, bytes]:
    """Return the plots (PNG), by name."""
    from wafer_assets.domain import plots

    return {
        "metrics": plots.metrics(result),
        "roc": plots.roc(result),
        "precision_recall": plots.precision_recall(result),
        "calibration": plots.calibration(result),
        "probabilities": plots.probabilities(result),
        "over_time": plots.over_time(result),
    }


def _logged(result: "Evaluation") -> dict[str, float]:
    """Return every figure that is defined, with the ends of its interval, by MLflow's name of it."""
    return {
        f"{row.protocol}.{row.metric}{suffix}": getattr(row, column)
        for row in result.as_frame().dropna(subset=["value"]).itertuples()
        for suffix, column in (("", "value"), (".low", "low"), (".high", "high"))
        if getattr(row, column) == getattr(row, column)
    }


def _headline(result: "Evaluation") -> dict[str, float]:
    """Return the figures that the UI draws over time."""
    return {
        f"{protocol}_{name}": estimates[name].value
        for protocol, estimates in result.metrics.items()
        for name in ("auc", "average_precision")
        if estimates[name].value == estimates[name].value
    }


def _quality(result: "Evaluation") -> dg.MarkdownMetadataValue:
    from wafer_assets.domain.evaluation import METRICS

    rows = (
        f"| {METRICS[name].title} | " + " | ".join(str(estimates[name]) for estimates in result.metrics.values()) + " |"
        for name in METRICS
    )
    columns = (f"{protocol} ({result.tested(protocol)})" for protocol in result.metrics)
    head = ["| metric | " + " | ".join(columns) + " |", "|---" * (len(result.metrics) + 1) + "|"]
    basis = f"{'Unproven: ' if result.unproven else ''}{result.basis}."
    return dg.MetadataValue.md("\n".join([basis, "", *head, *rows]))

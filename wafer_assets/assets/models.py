"""Models per cluster: a step, on Kubernetes a pod, for each cluster found, and one for all wafers."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from resources.mlflow import Tracking
from resources.trainings import training_pool
from schemas.lines import Line
from wafer_assets.assets.common import (
    GroupModels,
    group,
    hyperparameters,
    image,
    owners,
    training_input,
    with_hyperparameters,
)
from wafer_assets.keys import name_of, training_key

ALL_WAFERS = "all"


def cluster_models_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that holds a line's models."""
    groups, fit, collect = _groups_op(line), _fit_op(line), _collect_op(line)

    @dg.graph_asset(
        key=training_key(line.name, "cluster_models"),
        ins={"features": training_input(line, "features"), "labels": training_input(line, "cluster_labels")},
        description="XGBoost and Random Forest per cluster and for all wafers, cross-fitted, with out-of-fold "
        "scores. A cluster with too few faults gets none of its own: the global ones speak for it.",
        kinds={"xgboost", "scikitlearn"},
        code_version="1",
        group_name=group(line, "models"),
        owners=owners(line),
    )
    def cluster_models(features, labels):  # type: ignore[no-untyped-def]
        """Fan out over the groups of wafers and collect their models."""
        fitted = groups(labels).map(lambda cluster: fit(cluster, features, labels))
        return collect(fitted.collect(), labels)

    return cluster_models


def _groups_op(line: Line) -> dg.OpDefinition:
    @dg.op(
        name=name_of(line.name, "wafer_groups"),
        out=dg.DynamicOut(io_manager_key=name_of(line.name, "objects")),
        description="Name the groups of wafers that get models.",
        pool=training_pool(line.name),
    )
    def wafer_groups(labels: pd.DataFrame) -> Iterator[dg.DynamicOutput[int | None]]:
        """Yield None for all wafers together, then each cluster's number."""
        yield dg.DynamicOutput(None, mapping_key=ALL_WAFERS)
        for cluster in sorted(labels["cluster"].unique()):
            yield dg.DynamicOutput(int(cluster), mapping_key=f"cluster_{cluster}")

    return wafer_groups


def _fit_op(line: Line) -> dg.OpDefinition:
    @dg.op(
        name=name_of(line.name, "fit_group"),
        out=dg.Out(io_manager_key=name_of(line.name, "objects")),
        description="Fit XGBoost and Random Forest on one group of wafers.",
        pool=training_pool(line.name),
        required_resource_keys=with_hyperparameters(line, "tracking"),
    )
    def fit_group(
        context: dg.OpExecutionContext,
        cluster: int | None,
        features: pd.DataFrame,
        labels: pd.DataFrame,
    ) -> GroupModels:
        """Fit the members of one group and log each as a nested run."""
        from wafer_assets.domain.training import fit_cluster, fit_members, member_scores

        tracking: Tracking = context.resources.tracking
        config, faulty = hyperparameters(context, line), labels["faulty"].to_numpy(dtype=int)
        clusters = labels["cluster"].to_numpy()
        if cluster is None:
            group = fit_members(features, faulty, config)
            own = faulty
        else:
            group = fit_cluster(features, faulty, clusters, cluster, config)
            own = faulty[clusters == cluster]
        size = {"wafers": group.n_wafers, "faulty_wafers": group.n_faults}
        with tracking.of(line.name).run(context.run) as run:
            for score in member_scores(group, own):
                with run.nested(f"{_title(cluster)} {score.member}") as nested:
                    nested.log_params({"cluster": _title(cluster), "member": score.member})
                    nested.log_metrics(
                        {
                            **size,
                            "weight": group.weight,
                            "auc": score.auc,
                            "average_precision": score.average_precision,
                            "log_loss": score.log_loss,
                        }
                    )
        context.log.info(f"{_title(cluster)}: {group.n_faults} of {group.n_wafers} wafers are faulty")
        return group

    return fit_group


def _collect_op(line: Line) -> dg.OpDefinition:
    @dg.op(
        name=name_of(line.name, "collect_groups"),
        out=dg.Out(io_manager_key=name_of(line.name, "objects")),
        description="Collect the models of all groups.",
        pool=training_pool(line.name),
    )
    def collect_groups(
        context: dg.OpExecutionContext,
        groups: list[GroupModels],
        labels: pd.DataFrame,
        tracking: dg.ResourceParam[Tracking],
    ) -> dg.Output[list[GroupModels]]:
        """Return the groups, all wafers first, with the scores of their members."""
        # Steps end in any order.
        groups = sorted(groups, key=lambda group: -1 if group.cluster is None else group.cluster)
        metadata, plot = _scored(groups, labels)
        with tracking.of(line.name).run(context.run) as run:
            run.log_bytes("plots/member_scores.png", plot)
        return dg.Output(groups, metadata={**metadata, "plot": image(plot)})

    return collect_groups


def _scored(groups: list[GroupModels], labels: pd.DataFrame) -> tuple[dict[str, dg.MetadataValue[Any]], bytes]:
    """Return the scores of all members as metadata, and their plot (PNG)."""
    from wafer_assets.domain import plots
    from wafer_assets.domain.evaluation import Estimate
    from wafer_assets.domain.training import member_scores

    faulty, clusters = labels["faulty"].to_numpy(dtype=int), labels["cluster"].to_numpy()
    scores = {
        _title(group.cluster): (
            group,
            member_scores(group, faulty if group.cluster is None else faulty[clusters == group.cluster]),
        )
        for group in groups
    }
    plot = plots.member_scores(
        {
            f"{title}\n{group.n_faults} of {group.n_wafers} faulty": {
                score.member: Estimate(score.auc) for score in members
            }
            for title, (group, members) in scores.items()
            if members
        }
    )
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "members": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "group": title,
                        "wafers": group.n_wafers,
                        "faulty_wafers": group.n_faults,
                        "weight": round(group.weight, 3),
                        "member": score.member,
                        "auc": round(score.auc, 3),
                        "average_precision": round(score.average_precision, 3),
                        "log_loss": round(score.log_loss, 4),
                    }
                )
                for title, (group, members) in scores.items()
                for score in members
            ]
        ),
        "global_only": dg.MetadataValue.json([title for title, (_, members) in scores.items() if not members]),
    }
    return metadata, plot


def _title(cluster: int | None) -> str:
    return "all wafers" if cluster is None else f"cluster {cluster}"

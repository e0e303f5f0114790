"""Models per cluster: a step, on Kubernetes a pod, for each cluster found, and one for all wafers."""

from collections.abc import Iterator

import dagster as dg
import pandas as pd

from resources.mlflow import Tracking
from resources.model_config import FaultModelConfig
from resources.trainings import POOL
from wafer_assets.assets.common import OWNERS, GroupModels, image, training_input
from wafer_assets.keys import training_key

ALL_WAFERS = "all"


@dg.op(out=dg.DynamicOut(io_manager_key="objects"), description="Name the groups of wafers that get models.", pool=POOL)
def wafer_groups(labels: pd.DataFrame) -> Iterator[dg.DynamicOutput[int | None]]:
    """Yield None for all wafers together, then each cluster's number."""
    yield dg.DynamicOutput(None, mapping_key=ALL_WAFERS)
    for cluster in sorted(labels["cluster"].unique()):
        yield dg.DynamicOutput(int(cluster), mapping_key=f"cluster_{cluster}")


@dg.op(
    out=dg.Out(io_manager_key="objects"), description="Fit XGBoost and Random Forest on one group of wafers.", pool=POOL
)
def fit_group(
    context: dg.OpExecutionContext,
    cluster: int | None,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    model: FaultModelConfig,
    tracking: dg.ResourceParam[Tracking],
) -> GroupModels:
    """Fit the members of one group and log each as a nested run."""
    from wafer_assets.domain.training import fit_cluster, fit_members, member_scores

    config, faulty = model.values, labels["faulty"].to_numpy(dtype=int)
    clusters = labels["cluster"].to_numpy()
    if cluster is None:
        group = fit_members(features, faulty, config)
        own = faulty
    else:
        group = fit_cluster(features, faulty, clusters, cluster, config)
        own = faulty[clusters == cluster]
    size = {"wafers": group.n_wafers, "faulty_wafers": group.n_faults}
    with tracking.run(context.run) as run:
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


@dg.op(out=dg.Out(io_manager_key="objects"), description="Collect the models of all groups.", pool=POOL)
def collect_groups(
    context: dg.OpExecutionContext,
    groups: list[GroupModels],
    labels: pd.DataFrame,
    tracking: dg.ResourceParam[Tracking],
) -> dg.Output[list[GroupModels]]:
    """Return the groups, all wafers first, with the scores of their members."""
    from wafer_assets.domain import plots
    from wafer_assets.domain.evaluation import Estimate
    from wafer_assets.domain.training import member_scores

    # Steps end in any order.
    groups = sorted(groups, key=lambda group: -1 if group.cluster is None else group.cluster)
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
    with tracking.run(context.run) as run:
        run.log_bytes("plots/member_scores.png", plot)
    return dg.Output(
        groups,
        metadata={
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
            "plot": image(plot),
        },
    )


@dg.graph_asset(
    key=training_key("cluster_models"),
    ins={
        "features": training_input("features"),
        "labels": training_input("cluster_labels"),
    },
    description="XGBoost and Random Forest per cluster and for all wafers, cross-fitted, with out-of-fold "
    "scores. A cluster with too few faults gets none of its own: the global ones speak for it.",
    group_name="models",
    owners=OWNERS,
    kinds={"xgboost", "scikitlearn"},
    code_version="1",
)
def cluster_models(features, labels):  # type: ignore[no-untyped-def]
    """Fan out over the groups of wafers and collect their models."""
    fitted = wafer_groups(labels).map(lambda cluster: fit_group(cluster, features, labels))
    return collect_groups(fitted.collect(), labels)


def _title(cluster: int | None) -> str:
    return "all wafers" if cluster is None else f"cluster {cluster}"

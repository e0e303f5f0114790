"""Clusters: how many, and which wafer belongs to which."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from resources.mlflow import Tracking
from resources.model_config import FaultModelConfig
from resources.trainings import POOL
from wafer_assets.assets.common import OWNERS, Elbow, image, training_input
from wafer_assets.keys import training_key


@dg.asset(
    key=training_key("elbow"),
    ins={"features": training_input("features")},
    description="Inertia of KMeans per number of clusters, and the number chosen where the curve bends.",
    group_name="clustering",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version="1",
    pool=POOL,
    io_manager_key="objects",
)
def elbow(
    context: dg.AssetExecutionContext,
    features: pd.DataFrame,
    model: FaultModelConfig,
    tracking: dg.ResourceParam[Tracking],
) -> dg.Output[Elbow]:
    """Choose the number of clusters."""
    from wafer_assets.domain import plots
    from wafer_assets.domain.training import find_elbow

    curve = find_elbow(features, model.values)
    plot = plots.elbow(curve.ks, curve.inertias, curve.k, is_knee=curve.is_knee)
    with tracking.run(context.run) as run:
        run.log_bytes("plots/elbow.png", plot)
    return dg.Output(
        curve,
        metadata={
            "k": curve.k,
            "is_knee": curve.is_knee,
            "inertia": dg.MetadataValue.json(dict(zip(map(str, curve.ks), curve.inertias, strict=True))),
            "plot": image(plot),
        },
    )


@dg.multi_asset(
    name="cluster_wafers",
    ins={
        "table": training_input("wafer_table"),
        "features": training_input("features"),
        "elbow": training_input("elbow"),
    },
    outs={
        "clusterer": dg.AssetOut(
            key=training_key("clusterer"),
            description="The fitted clusterer: principal components of the scaled sensors, then KMeans.",
            group_name="clustering",
            owners=OWNERS,
            kinds={"scikitlearn"},
            code_version="1",
            io_manager_key="objects",
        ),
        "labels": dg.AssetOut(
            key=training_key("cluster_labels"),
            description="Each training wafer's outcome, cluster and place on the first two principal components.",
            group_name="clustering",
            owners=OWNERS,
            kinds={"pandas", "parquet"},
            code_version="1",
            io_manager_key="frames",
        ),
    },
    pool=POOL,
)
def cluster_wafers(
    context: dg.AssetExecutionContext,
    table: pd.DataFrame,
    features: pd.DataFrame,
    elbow: Elbow,
    model: FaultModelConfig,
    tracking: dg.ResourceParam[Tracking],
) -> Iterator[dg.Output[Any]]:
    """Fit the clusterer and label the training wafers."""
    from wafer_assets.domain import plots
    from wafer_assets.domain.clustering import plane
    from wafer_assets.domain.training import fit_clusterer

    config = model.values
    clusterer = fit_clusterer(features, config.k or elbow.k, config)
    yield dg.Output(
        clusterer,
        "clusterer",
        metadata={
            "k": len(clusterer.centers_),
            "chosen_by": "config" if config.k else "elbow",
            "explained_variance": clusterer.explained_,
        },
    )
    clusters, coordinates = clusterer.predict(features), plane(clusterer.coordinates(features))
    labels = pd.DataFrame(
        {
            "wafer": table["wafer"],
            "faulty": table["faulty"],
            "cluster": clusters,
            "pc1": coordinates[:, 0],
            "pc2": coordinates[:, 1],
        }
    )
    sizes = table["faulty"].groupby(clusters).agg(["size", "sum"])
    plot = plots.clusters(coordinates.astype("float64"), clusters, table["faulty"].to_numpy())
    with tracking.run(context.run) as run:
        run.log_bytes("plots/clusters.png", plot)
        run.log_params({"clusters": len(clusterer.centers_)})
    yield dg.Output(
        labels,
        "labels",
        metadata={
            "clusters": dg.MetadataValue.table(
                [
                    dg.TableRecord({"cluster": int(cluster), "wafers": int(wafers), "faulty_wafers": int(faults)})
                    for cluster, wafers, faults in sizes.itertuples()
                ]
            ),
            "map": image(plot),
        },
    )

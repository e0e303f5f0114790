"""Clusters: how many, and which wafer belongs to which."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from resources.mlflow import Tracking
from resources.trainings import training_pool
from schemas.lines import Line
from wafer_assets.assets.common import (
    Elbow,
    group,
    hyperparameters,
    image,
    owners,
    training_input,
    with_hyperparameters,
)
from wafer_assets.keys import name_of, training_key


def elbow_asset(line: Line) -> dg.AssetsDefinition:
    """Build the asset that says how many clusters a line has."""

    @dg.asset(
        key=training_key(line.name, "elbow"),
        ins={"features": training_input(line, "features")},
        description="Inertia of KMeans per number of clusters, and the number chosen where the curve bends.",
        kinds={"scikitlearn"},
        code_version="1",
        io_manager_key=name_of(line.name, "objects"),
        group_name=group(line, "clustering"),
        owners=owners(line),
        pool=training_pool(line.name),
        required_resource_keys=with_hyperparameters(line, "tracking"),
    )
    def elbow(context: dg.AssetExecutionContext, features: pd.DataFrame) -> dg.Output[Elbow]:
        """Choose the number of clusters."""
        from wafer_assets.domain import plots
        from wafer_assets.domain.training import find_elbow

        tracking: Tracking = context.resources.tracking
        curve = find_elbow(features, hyperparameters(context, line))
        plot = plots.elbow(curve.ks, curve.inertias, curve.k, is_knee=curve.is_knee)
        with tracking.of(line.name).run(context.run) as run:
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

    return elbow


def clusters_asset(line: Line) -> dg.AssetsDefinition:
    """Build the step that finds a line's clusters and labels its wafers."""

    @dg.multi_asset(
        name=name_of(line.name, "cluster_wafers"),
        ins={name: training_input(line, asset) for name, asset in _INPUTS.items()},
        outs=_outs(line),
        pool=training_pool(line.name),
        required_resource_keys=with_hyperparameters(line, "tracking"),
    )
    def cluster_wafers(
        context: dg.AssetExecutionContext,
        table: pd.DataFrame,
        features: pd.DataFrame,
        elbow: Elbow,
    ) -> Iterator[dg.Output[Any]]:
        """Fit the clusterer and label the training wafers."""
        from wafer_assets.domain.training import fit_clusterer

        tracking: Tracking = context.resources.tracking
        config = hyperparameters(context, line)
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
        labels, plot = _labelled(table, features, clusterer)
        with tracking.of(line.name).run(context.run) as run:
            run.log_bytes("plots/clusters.png", plot)
            run.log_params({"clusters": len(clusterer.centers_)})
        yield dg.Output(labels, "labels", metadata={"clusters": _sizes(labels), "map": image(plot)})

    return cluster_wafers


_INPUTS = {"table": "wafer_table", "features": "features", "elbow": "elbow"}


def _outs(line: Line) -> dict[str, dg.AssetOut]:
    return {
        "clusterer": dg.AssetOut(
            key=training_key(line.name, "clusterer"),
            description="The fitted clusterer: principal components of the scaled sensors, then KMeans.",
            kinds={"scikitlearn"},
            code_version="1",
            io_manager_key=name_of(line.name, "objects"),
            group_name=group(line, "clustering"),
            owners=owners(line),
        ),
        "labels": dg.AssetOut(
            key=training_key(line.name, "cluster_labels"),
            description="Each training wafer's outcome, cluster and place on the first two principal components.",
            kinds={"pandas", "parquet"},
            code_version="1",
            io_manager_key=name_of(line.name, "frames"),
            group_name=group(line, "clustering"),
            owners=owners(line),
        ),
    }


def _labelled(table: pd.DataFrame, features: pd.DataFrame, clusterer: Any) -> tuple[pd.DataFrame, bytes]:
    """Return each wafer's outcome, cluster and place, and the map (PNG) of them."""
    from wafer_assets.domain import plots
    from wafer_assets.domain.clustering import plane

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
    return labels, plots.clusters(coordinates.astype("float64"), clusters, table["faulty"].to_numpy())


def _sizes(labels: pd.DataFrame) -> dg.TableMetadataValue:
    sizes = labels["faulty"].groupby(labels["cluster"].to_numpy()).agg(["size", "sum"])
    return dg.MetadataValue.table(
        [
            dg.TableRecord({"cluster": int(cluster), "wafers": int(wafers), "faulty_wafers": int(faults)})
            for cluster, wafers, faults in sizes.itertuples()
        ]
    )

"""Clusters: how many there are, who chose that, and where every training wafer belongs."""

from collections.abc import Mapping
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from tests.assets.conftest import MODEL, Made, Modelling, require_picture
from wafer_assets.domain.clustering import Clusterer, Elbow

CLUSTERING = ("preprocessor", "features", "elbow", "clusterer", "cluster_labels")


def test_the_elbow_shows_the_curve_it_was_read_from(trained: Made) -> None:
    found, facts = trained.value("elbow"), trained.metadata("elbow")
    assert isinstance(found, Elbow)
    assert found.ks == tuple(range(1, MODEL["k_max"] + 1))
    assert list(found.inertias) == sorted(found.inertias, reverse=True)
    assert facts["inertia"] == dict(zip(map(str, found.ks), found.inertias, strict=True))
    assert (facts["k"], facts["is_knee"]) == (found.k, found.is_knee)
    require_picture(facts["plot"])
    assert "plots/elbow.png" in trained.artifacts


def test_a_curve_without_a_bend_gives_the_fallback(modelling: Modelling) -> None:
    made = modelling.materialize(*CLUSTERING[:3], model={"k_fallback": 3, "knee_sensitivity": 1_000.0})
    facts = made.metadata("elbow")
    assert (facts["k"], facts["is_knee"]) == (3, False)


def test_the_clusterer_has_the_clusters_that_the_elbow_found(trained: Made) -> None:
    fitted, facts = trained.value("clusterer"), trained.metadata("clusterer")
    assert isinstance(fitted, Clusterer)
    assert len(fitted.centers_) == facts["k"] == trained.metadata("elbow")["k"]
    assert facts["chosen_by"] == "elbow"
    assert facts["explained_variance"] == fitted.explained_
    assert 0 < fitted.explained_ < 1


def test_a_number_of_clusters_in_the_run_config_overrules_the_elbow(modelling: Modelling) -> None:
    made = modelling.materialize(*CLUSTERING, model={"k": 4})
    facts = made.metadata("clusterer")
    assert (facts["k"], facts["chosen_by"]) == (4, "config")
    assert made.value("cluster_labels")["cluster"].nunique() == 4


def test_every_training_wafer_has_its_outcome_cluster_and_place(trained: Made, simulated: pd.DataFrame) -> None:
    labels, features, clusterer = (trained.value(name) for name in ("cluster_labels", "features", "clusterer"))
    assert list(labels) == ["wafer", "faulty", "cluster", "pc1", "pc2"]
    pd.testing.assert_frame_equal(labels[["wafer", "faulty"]], simulated[["wafer", "faulty"]])
    np.testing.assert_array_equal(labels["cluster"], clusterer.predict(features))
    np.testing.assert_array_equal(labels[["pc1", "pc2"]], clusterer.coordinates(features)[:, :2])
    assert trained.metadata("cluster_labels")["dagster/row_count"] == len(simulated)


def test_clusters_are_counted_and_drawn_the_largest_first(trained: Made, simulated: pd.DataFrame) -> None:
    rows = trained.records("cluster_labels", "clusters")
    assert [row["cluster"] for row in rows] == list(range(trained.metadata("clusterer")["k"]))
    sizes = [row["wafers"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == len(simulated)
    assert sum(row["faulty_wafers"] for row in rows) == simulated["faulty"].sum()
    require_picture(trained.metadata("cluster_labels")["map"])
    assert "plots/clusters.png" in trained.artifacts


@pytest.mark.parametrize(
    "model",
    [
        {"n_components": 1},
        {"k": 1},
    ],
)
def test_one_component_or_one_cluster_is_enough(modelling: Modelling, model: Mapping[str, Any]) -> None:
    made = modelling.materialize(*CLUSTERING, model=model)
    assert made.run.success
    assert (made.value("cluster_labels")["pc2"] == 0).all() == ("n_components" in model)
    require_picture(made.metadata("cluster_labels")["map"])


def test_made_again_from_the_same_features_they_are_the_same(modelling: Modelling, trained: Made) -> None:
    again = modelling.materialize("elbow", "clusterer", "cluster_labels")
    assert again.value("elbow") == trained.value("elbow")
    assert joblib.hash(again.value("clusterer")) == joblib.hash(trained.value("clusterer"))
    pd.testing.assert_frame_equal(again.value("cluster_labels"), trained.value("cluster_labels"), check_exact=True)


def test_clusterer_and_labels_are_one_step_and_have_one_data_version(trained: Made) -> None:
    assert "secom__cluster_wafers" in trained.steps
    assert trained.data_version("clusterer") == trained.data_version("cluster_labels")
    for source in ("features", "elbow", "wafer_table"):
        assert trained.data_version(source, as_input_of="cluster_labels") == trained.data_version(source)


def test_an_elbow_of_another_training_than_the_features_is_not_clustered_by(modelling: Modelling) -> None:
    assert modelling.materialize("elbow").run.success
    made = modelling.materialize("clusterer", "cluster_labels")
    assert not made.run.success
    assert "do not fit: they were made by different trainings" in made.failure

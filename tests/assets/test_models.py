"""Models per cluster: a step and nested MLflow runs for each group of wafers, and the global models for the rest."""

import numpy as np
import pandas as pd

from tests.assets.conftest import MODEL, Made, Modelling, require_picture
from wafer_assets.domain.training import GroupModels

MEMBERS = ("random_forest", "xgboost")


def groups_of(made: Made) -> list[GroupModels]:
    groups: list[GroupModels] = made.value("cluster_models")
    return groups


def with_faults(trained: Made, faults: int, cluster: int | None = None) -> pd.DataFrame:
    """Cluster labels of which so many wafers are faulty, of all or of one cluster."""
    labels: pd.DataFrame = trained.value("cluster_labels")
    own = (labels["cluster"] == cluster) | (cluster is None)
    return labels.assign(faulty=np.where(own, own.cumsum() <= faults, labels["faulty"]).astype("int8"))


def test_every_group_of_wafers_is_a_step_of_its_own(trained: Made) -> None:
    fitted = {
        step.partition(".")[2]
        for step in trained.steps
        if step.startswith("secom__training__cluster_models.secom__fit")
    }
    clusters = range(trained.metadata("clusterer")["k"])
    assert fitted == {"secom__fit_group[all]", *(f"secom__fit_group[cluster_{cluster}]" for cluster in clusters)}


def test_all_wafers_come_first_and_then_the_clusters(trained: Made) -> None:
    labels = trained.value("cluster_labels")
    overall, *clusters = groups_of(trained)
    assert (overall.cluster, overall.weight) == (None, 1.0)
    assert (overall.n_wafers, overall.n_faults) == (len(labels), labels["faulty"].sum())
    assert [group.cluster for group in clusters] == sorted(labels["cluster"].unique())
    for group in clusters:
        own = labels[labels["cluster"] == group.cluster]
        assert (group.n_wafers, group.n_faults) == (len(own), own["faulty"].sum())
        assert 0 < group.weight < 1


def test_each_member_says_something_of_every_wafer_of_its_group(trained: Made) -> None:
    features = trained.value("features").to_numpy()
    for group in groups_of(trained):
        assert group.members is not None
        margins = group.members.margins(features)
        assert set(margins) == set(group.out_of_fold) == set(MEMBERS)
        for name in MEMBERS:
            assert margins[name].shape == (len(features),)
            assert group.out_of_fold[name].shape == (group.n_wafers,)
            assert np.isfinite(margins[name]).all()


def test_scores_of_all_members_are_listed_and_drawn(trained: Made) -> None:
    rows, facts = trained.records("cluster_models", "members"), trained.metadata("cluster_models")
    groups = {
        "all wafers" if group.cluster is None else f"cluster {group.cluster}": group for group in groups_of(trained)
    }
    assert [(row["group"], row["member"]) for row in rows] == [
        (title, member) for title, group in groups.items() for member in group.out_of_fold
    ]
    for row in rows:
        group = groups[row["group"]]
        assert (row["wafers"], row["faulty_wafers"]) == (group.n_wafers, group.n_faults)
        assert row["weight"] == round(group.weight, 3)
        assert 0 <= row["auc"] <= 1
        assert row["log_loss"] > 0
    assert facts["global_only"] == []
    require_picture(facts["plot"])
    assert "plots/member_scores.png" in trained.artifacts


def test_every_member_is_a_nested_run_with_its_scores(trained: Made) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(trained.settings.mlflow.tracking_uri)
    parent = trained.metadata("model_bundle")["mlflow_run_id"]
    experiment = client.get_run(parent).info.experiment_id
    nested = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'")
    rows = trained.records("cluster_models", "members")
    found = {run.info.run_name: run for run in nested}
    assert sorted(found) == sorted(f"{row['group']} {row['member']}" for row in rows)
    for row in rows:
        run = found[f"{row['group']} {row['member']}"]
        assert run.info.status == "FINISHED"
        assert run.data.params == {"cluster": row["group"], "member": row["member"]}
        metrics = run.data.metrics
        assert (metrics["wafers"], metrics["faulty_wafers"]) == (row["wafers"], row["faulty_wafers"])
        assert round(metrics["auc"], 3) == row["auc"]
        assert round(metrics["average_precision"], 3) == row["average_precision"]
        assert round(metrics["log_loss"], 4) == row["log_loss"]


def test_a_cluster_with_too_few_faults_leaves_it_to_the_global_models(modelling: Modelling, trained: Made) -> None:
    modelling.give("cluster_labels", with_faults(trained, 2 * MODEL["folds"] - 1, cluster=1))
    made = modelling.materialize("cluster_models")
    assert made.metadata("cluster_models")["global_only"] == ["cluster 1"]
    assert {row["group"] for row in made.records("cluster_models", "members")} == {"all wafers", "cluster 0"}
    left = groups_of(made)[2]
    assert (left.cluster, left.weight, left.members) == (1, 0.0, None)


def test_a_table_with_too_few_faults_is_refused_with_what_is_wanted(modelling: Modelling, trained: Made) -> None:
    modelling.give("cluster_labels", with_faults(trained, 3))
    made = modelling.materialize("cluster_models")
    assert not made.run.success
    assert "Only 3 of 240 wafers are faulty; 2 folds need at least 4" in made.failure


def test_made_again_from_the_same_features_the_models_say_the_same(modelling: Modelling, trained: Made) -> None:
    again = modelling.materialize("cluster_models")
    features = trained.value("features").to_numpy()
    for before, after in zip(groups_of(trained), groups_of(again), strict=True):
        assert before.members is not None
        assert after.members is not None
        one, other = before.members.margins(features), after.members.margins(features)
        for name in MEMBERS:
            np.testing.assert_array_equal(one[name], other[name])
            np.testing.assert_array_equal(before.out_of_fold[name], after.out_of_fold[name])
    assert again.records("cluster_models", "members") == trained.records("cluster_models", "members")


def test_their_data_version_follows_features_and_labels(trained: Made) -> None:
    for source in ("features", "cluster_labels"):
        assert trained.data_version(source, as_input_of="cluster_models") == trained.data_version(source)

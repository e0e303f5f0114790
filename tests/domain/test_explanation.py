"""Contributions are exact: they add up to the margin, and equal the Shapley values that their definition gives."""

from collections.abc import Iterable
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from schemas.loader import load_schema
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.contract import Accepted, validate
from wafer_assets.domain.explanation import Explainer
from wafer_assets.domain.scoring import Bundle, make_bundle, score
from wafer_assets.domain.simulation import simulate_batches, simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import BoostedTrees, FaultModel


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return simulate_table(1_500, seed=5)


@pytest.fixture(scope="module")
def model(table: pd.DataFrame) -> FaultModel:
    return FaultModel(ModelConfig(k=2)).fit(sensor_readings(table), table["faulty"])


@pytest.fixture(scope="module")
def bundle(model: FaultModel, table: pd.DataFrame) -> Bundle:
    features = model.preprocessor_.transform(sensor_readings(table))
    return make_bundle(
        model,
        table,
        model.clusterer_.predict(features),
        model.clusterer_.coordinates(features)[:, :2],
        contract_version="1.0",
        optional=load_schema("prediction").optional_columns,
        card={},
    )


def explained(model: FaultModel, wafers: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Margins, and what base and contributions add up to."""
    features = model.preprocessor_.transform(sensor_readings(wafers))
    labels = model.clusterer_.predict(features)
    found = Explainer(model).explain(features.to_numpy(), labels)
    return model.margins(features, labels), found.base + found.values.sum(axis=1)


def test_base_and_contributions_add_up_to_the_margin(model: FaultModel) -> None:
    margins, totals = explained(model, simulate_table(500, seed=6, first_wafer=1_501))
    assert np.abs(totals - margins).max() < 1e-6
    assert margins.std() > 0.1


def test_a_cluster_without_models_of_its_own_is_explained_by_the_global_ones(table: pd.DataFrame) -> None:
    config = ModelConfig(k=10, forest_trees=5, xgboost_trees=10)
    model = FaultModel(config).fit(sensor_readings(table), table["faulty"])
    assert None in model.cluster_members_
    margins, totals = explained(model, table)
    assert np.abs(totals - margins).max() < 1e-6


def tree_game(tree: DecisionTreeRegressor, wafer: NDArray[np.float32], known: Iterable[int]) -> float:
    """Mean of a tree's leaves where splits on unknown features send wafers both ways, by training share."""
    known, inner = set(known), tree.tree_

    def mean(node: int) -> float:
        left, right, feature = inner.children_left[node], inner.children_right[node], inner.feature[node]
        if left < 0:
            return float(inner.value[node].ravel()[-1])
        if feature in known:
            return mean(left if wafer[feature] <= inner.threshold[node] else right)
        cover = inner.weighted_n_node_samples
        return float((cover[left] * mean(left) + cover[right] * mean(right)) / cover[node])

    return mean(0)


def test_a_forests_contributions_are_its_shapley_values_by_definition(model: FaultModel, table: pd.DataFrame) -> None:
    learner = model.members_.learners["random_forest"][0]
    tree = min(learner.forest.estimators_, key=lambda tree: tree.tree_.node_count)
    (leaves,) = [list(found.leaves(np.arange(len(learner.columns)), 1.0)) for found in _trees_of(learner, tree)]
    features = model.preprocessor_.transform(sensor_readings(table)).to_numpy()[:, learner.columns]
    players = sorted({feature for leaf in leaves for feature in leaf.conditions})
    players = players[:9] if len(players) > 9 else players
    wafer = np.ascontiguousarray(features[7])
    from wafer_assets.domain.explanation import _Ensemble

    ensemble = _Ensemble(leaves, 0.0, np.arange(len(learner.columns)), len(learner.columns))
    found = ensemble.contributions(wafer[None, :])[0]
    everyone = sorted({feature for leaf in leaves for feature in leaf.conditions})
    scale = 4 / len(learner.forest.estimators_)
    for player in players[:4]:
        others = [other for other in everyone if other != player]
        value = 0.0
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(everyone))
            for coalition in combinations(others, size):
                value += weight * (tree_game(tree, wafer, {*coalition, player}) - tree_game(tree, wafer, coalition))
        assert found[player] == pytest.approx(scale * value, abs=1e-9)


def _trees_of(learner: object, tree: object) -> list[object]:
    from wafer_assets.domain.explanation import _forest_trees

    every = list(_forest_trees(learner))  # type: ignore[arg-type]
    return [every[list(learner.forest.estimators_).index(tree)]]  # type: ignore[attr-defined]


def test_boosted_trees_contribute_what_xgboost_itself_says(model: FaultModel, table: pd.DataFrame) -> None:
    from wafer_assets.domain.explanation import _boosted_trees, _Ensemble

    learner = model.members_.learners["xgboost"][0]
    assert isinstance(learner, BoostedTrees)
    width = len(learner.columns)
    leaves = [leaf for tree in _boosted_trees(learner) for leaf in tree.leaves(np.arange(width), 1.0)]
    features = model.preprocessor_.transform(sensor_readings(table)).to_numpy()[:200, learner.columns]
    found = _Ensemble(leaves, 0.0, np.arange(width), width).contributions(np.ascontiguousarray(features))
    told = learner.booster.predict(xgboost.DMatrix(features), pred_contribs=True)[:, :-1]
    assert np.abs(found - told).max() < 1e-5


def test_contributions_of_a_wafer_do_not_depend_on_its_company(bundle: Bundle) -> None:
    wafers = simulate_table(300, seed=7, first_wafer=1_501)
    together = score(bundle, wafers.drop(columns=["batch", "faulty"]), 1)
    for row in (0, 17, 299):
        alone = score(bundle, wafers.drop(columns=["batch", "faulty"]).iloc[[row]], 1)
        pd.testing.assert_frame_equal(
            alone.rows.reset_index(drop=True), together.rows.iloc[[row]].reset_index(drop=True), check_exact=True
        )
        assert alone.margin[0] == together.margin[row]


def test_the_cause_of_a_simulated_fault_is_among_the_top_five_sensors(bundle: Bundle) -> None:
    schema = load_schema("prediction")
    found, flagged = 0, 0
    for batch in simulate_batches(12, feed="prediction", schema=schema, seed=8, first_wafer=1_501):
        accepted = validate(batch.name, batch.content, schema)
        assert isinstance(accepted, Accepted)
        scores = score(bundle, accepted.frame, 1)
        for row in scores.rows.itertuples():
            if row.faulty and row.wafer in batch.causes:
                flagged += 1
                named = {driver.rpartition(" ")[0] for driver in row.drivers.split("; ")}
                found += bool(named & set(batch.causes[row.wafer]))
    assert flagged >= 30
    assert found / flagged >= 0.8

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.feature_selection import f_classif
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.preprocessing import WrongSensors
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import (
    FaultModel,
    NoFaults,
    NothingVaries,
    TooFewFaults,
    WrongLabels,
    alarm_threshold,
    assemble,
    f_scores,
    find_elbow,
    fit_cluster,
    fit_clusterer,
    fit_members,
    fit_preprocessor,
    member_scores,
)

TABLE = simulate_table(700, seed=1, fault_rate=0.12)
READINGS, FAULTY = sensor_readings(TABLE), TABLE["faulty"].to_numpy(dtype=int)
SEEN, NEW = slice(0, 500), slice(500, 700)
CONFIG = ModelConfig(folds=2, xgboost_trees=20, forest_trees=10)


@pytest.fixture(scope="module")
def model() -> FaultModel:
    return FaultModel(CONFIG).fit(READINGS[SEEN], FAULTY[SEEN])


def test_it_tells_faulty_from_passed_wafers_it_has_not_seen(model: FaultModel) -> None:
    assert roc_auc_score(FAULTY[NEW], model.predict_proba(READINGS[NEW])[:, 1]) > 0.65


def test_labels_without_meaning_are_not_learned() -> None:
    shuffled = np.random.default_rng(0).permutation(FAULTY)
    scores = cross_validate(FaultModel(CONFIG), READINGS, shuffled, cv=3, scoring="roc_auc")["test_score"]

    assert abs(scores.mean() - 0.5) < 0.12


def test_the_separate_steps_make_bit_identically_the_same_model(model: FaultModel) -> None:
    seen, faulty = READINGS[SEEN], FAULTY[SEEN]
    preprocessor = fit_preprocessor(seen, CONFIG)
    features = preprocessor.transform(seen)
    clusterer = fit_clusterer(features, find_elbow(features, CONFIG).k, CONFIG)
    labels = clusterer.predict(features)
    overall = fit_members(features, faulty, CONFIG)
    clusters = [fit_cluster(features, faulty, labels, cluster, CONFIG) for cluster in np.unique(labels)]
    assembled = assemble(preprocessor, clusterer, overall, clusters, labels, faulty, CONFIG)

    np.testing.assert_array_equal(assembled.predict_proba(READINGS), model.predict_proba(READINGS))
    assert assembled.threshold_ == model.threshold_


def test_the_same_table_gives_the_same_model_with_any_number_of_threads(model: FaultModel) -> None:
    again = clone(model).set_params(n_jobs=2).fit(READINGS[SEEN], FAULTY[SEEN])

    np.testing.assert_array_equal(again.predict_proba(READINGS), model.predict_proba(READINGS))
    assert again.threshold_ == model.threshold_


def test_a_wafer_is_judged_the_same_alone_as_in_a_batch(model: FaultModel) -> None:
    together = model.decision_function(READINGS[NEW])
    alone = [model.decision_function(READINGS.iloc[[row]])[0] for row in range(500, 510)]

    np.testing.assert_allclose(alone, together[:10], rtol=1e-12)


def test_the_margin_is_the_sum_of_what_each_member_says(model: FaultModel) -> None:
    some = READINGS[500:530]
    features = model.preprocessor_.transform(some)
    values, labels = features.to_numpy(), model.clusterer_.predict(features)
    total = np.full(len(values), model.intercept_)
    for row, cluster in enumerate(labels):
        one = values[[row]]
        weight, own = model.cluster_weights_[cluster], model.cluster_members_[cluster]
        for member, margin in model.members_.margins(one).items():
            shrunk = margin if own is None else (1 - weight) * margin + weight * own.margins(one)[member]
            total[row] += model.slopes_[member] * shrunk[0]

    np.testing.assert_allclose(model.decision_function(some), total, rtol=1e-9)


def test_the_policy_decides_how_many_wafers_raise_an_alarm() -> None:
    flagged = [
        FaultModel(CONFIG.model_copy(update={"capacity": capacity}))
        .fit(READINGS[SEEN], FAULTY[SEEN])
        .predict(READINGS[NEW])
        .mean()
        for capacity in (0.1, 0.4)
    ]

    assert flagged[0] == pytest.approx(0.1, abs=0.08)
    assert flagged[1] == pytest.approx(0.4, abs=0.15)


@settings(deadline=None)
@given(
    arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1)),
    st.floats(0.01, 0.99),
)
def test_a_capacity_is_exceeded_only_by_wafers_that_look_alike(scores: np.ndarray, capacity: float) -> None:
    threshold = alarm_threshold(scores, ModelConfig(capacity=capacity))

    assert (scores > threshold).sum() <= capacity * len(scores)
    assert (scores >= threshold).any()


def test_a_cost_ratio_alarms_where_a_miss_is_dearer_than_an_inspection() -> None:
    assert alarm_threshold(np.array([0.1, 0.2]), ModelConfig(cost_ratio=19)) == pytest.approx(0.05)


def test_probabilities_are_calibrated_on_wafers_that_were_left_out(model: FaultModel) -> None:
    probability = model.predict_proba(READINGS[NEW])[:, 1]

    assert probability.mean() == pytest.approx(FAULTY[SEEN].mean(), abs=0.04)
    assert brier_score_loss(FAULTY[NEW], probability) < FAULTY.mean() * (1 - FAULTY.mean())


def test_a_cluster_with_too_few_faults_has_no_say() -> None:
    features = fit_preprocessor(READINGS, CONFIG).transform(READINGS)
    labels = np.zeros(len(FAULTY), dtype=int)
    labels[np.flatnonzero(FAULTY == 1)[:3]] = 1
    labels[np.flatnonzero(FAULTY == 0)[:30]] = 1
    group = fit_cluster(features, FAULTY, labels, 1, CONFIG)

    assert (group.n_wafers, group.n_faults, group.weight, group.members) == (33, 3, 0.0, None)
    assert member_scores(group, FAULTY[labels == 1]) == []


def test_a_cluster_weighs_more_the_more_faults_it_has() -> None:
    features = fit_preprocessor(READINGS, CONFIG).transform(READINGS)
    group = fit_cluster(features, FAULTY, np.zeros(len(FAULTY), dtype=int), 0, CONFIG)

    assert group.weight == FAULTY.sum() / (FAULTY.sum() + 60)


def test_members_are_scored_on_wafers_they_did_not_see() -> None:
    features = fit_preprocessor(READINGS, CONFIG).transform(READINGS)
    scores = {score.member: score for score in member_scores(fit_members(features, FAULTY, CONFIG), FAULTY)}

    assert set(scores) == {"xgboost", "random_forest"}
    assert all(0.5 < score.auc < 0.99 for score in scores.values())
    assert all(0 < score.log_loss < 0.5 for score in scores.values())


def test_left_out_margins_come_from_one_learner_each_and_predictions_from_all() -> None:
    features = fit_preprocessor(READINGS, CONFIG).transform(READINGS)
    group = fit_members(features, FAULTY, CONFIG)
    assert group.members is not None

    for member, learners in group.members.learners.items():
        each = np.array([learner.margin(features.to_numpy()) for learner in learners])
        assert (each == group.out_of_fold[member]).any(axis=0).all()
        np.testing.assert_array_equal(group.members.margins(features.to_numpy())[member], each.mean(axis=0))


def test_left_out_margins_do_not_know_the_labels() -> None:
    features = fit_preprocessor(READINGS, CONFIG).transform(READINGS)
    shuffled = np.random.default_rng(1).permutation(FAULTY)
    margins = fit_members(features, shuffled, CONFIG).out_of_fold

    assert all(abs(roc_auc_score(shuffled, margin) - 0.5) < 0.12 for margin in margins.values())


def test_a_table_without_a_fault_is_refused() -> None:
    with pytest.raises(NoFaults, match="None of the 700 wafers is faulty"):
        FaultModel(CONFIG).fit(READINGS, np.zeros(700, dtype=int))


def test_too_few_faults_are_refused_with_how_many_are_needed() -> None:
    few = np.zeros(700, dtype=int)
    few[:3] = 1

    with pytest.raises(TooFewFaults, match="Only 3 of 700 wafers are faulty; 2 folds need at least 4"):
        FaultModel().fit(READINGS, few)
    with pytest.raises(TooFewFaults, match="passed"):
        FaultModel().fit(READINGS, 1 - few)


@pytest.mark.parametrize(("faults", "learners"), [(4, 2), (7, 3), (8, 4), (60, 4)])
def test_each_member_has_as_many_learners_as_the_faults_allow(faults: int, learners: int) -> None:
    faulty = np.zeros(200, dtype=int)
    faulty[:: 200 // faults][:faults] = 1
    faulty[np.flatnonzero(faulty)[faults:]] = 0
    fitted = FaultModel(ModelConfig(xgboost_trees=3, forest_trees=3, k=1)).fit(READINGS[:200], faulty)

    assert {len(each) for each in fitted.members_.learners.values()} == {learners}
    assert np.isfinite(fitted.decision_function(READINGS[200:300])).all()


def test_ten_sensors_and_a_single_one_are_enough() -> None:
    for sensors in (10, 1):
        few = pd.DataFrame(np.random.default_rng(0).normal(size=(83, sensors))).add_prefix("S")
        faulty = (np.arange(83) % 8 == 0).astype(int)
        few["S0"] += 2 * faulty

        assert roc_auc_score(faulty, FaultModel().fit(few, faulty).predict_proba(few)[:, 1]) > 0.7


def test_a_table_in_which_nothing_varies_is_refused() -> None:
    with pytest.raises(NothingVaries, match="Each of the 2 sensors is constant"):
        FaultModel().fit(pd.DataFrame({"a": [1.0] * 40, "b": [np.nan] * 40}), [0, 1] * 20)


def test_labels_that_are_not_zero_or_one_are_refused() -> None:
    with pytest.raises(WrongLabels, match="found -1"):
        FaultModel(CONFIG).fit(READINGS, np.where(FAULTY == 1, 1, -1))
    with pytest.raises(WrongLabels, match="Expected 700 labels"):
        FaultModel(CONFIG).fit(READINGS, FAULTY[:-1])


def test_a_table_with_other_sensors_is_refused_by_name(model: FaultModel) -> None:
    with pytest.raises(WrongSensors, match="Sensor-17"):
        model.predict_proba(READINGS.drop(columns="Sensor-17"))


def test_it_keeps_scikit_learns_contract(model: FaultModel) -> None:
    copy = clone(model)

    assert copy.get_params() == {"config": CONFIG, "n_jobs": 1}
    assert not hasattr(copy, "threshold_")
    assert model.classes_.tolist() == [0, 1]
    assert model.feature_names_in_.tolist() == list(READINGS)
    np.testing.assert_allclose(model.predict_proba(READINGS[NEW]).sum(axis=1), 1)
    make_pipeline(clone(model)).fit(READINGS[SEEN], FAULTY[SEEN])


def test_no_step_of_prediction_changes_the_model(model: FaultModel) -> None:
    before = model.decision_function(READINGS[NEW])
    model.predict(READINGS[SEEN] + 1e6)

    np.testing.assert_array_equal(model.decision_function(READINGS[NEW]), before)


@settings(deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(8, 40), st.just(5)), elements=st.floats(-5, 5, width=16)),
    st.randoms(use_true_random=False),
)
def test_f_scores_are_those_of_scikit_learn(values: np.ndarray, random) -> None:  # type: ignore[no-untyped-def]
    y = np.array([0, 0, 1, 1] + [random.randint(0, 1) for _ in range(len(values) - 4)])
    ours = f_scores(values, y, np.arange(len(y)))
    with warnings.catch_warnings(action="ignore"):
        theirs = f_classif(values.astype(np.float64), y)[0]
    usual = np.isfinite(theirs) & (theirs < 1e6)

    np.testing.assert_allclose(ours[usual], theirs[usual], rtol=1e-6, atol=1e-6)
    assert np.isfinite(ours).all()

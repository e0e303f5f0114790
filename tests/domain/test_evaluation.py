import json
import math
from collections.abc import Callable
from typing import Self

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    matthews_corrcoef,
    roc_auc_score,
    roc_curve,
)

from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.evaluation import (
    METRICS,
    PROTOCOLS,
    DifferentWafersError,
    Estimate,
    Evaluation,
    evaluate,
    folds_of,
    paired_difference,
)
from wafer_assets.domain.training import FaultModel, NoFaults, TooFewFaults


def wafers(n: int = 600, *, faults: int = 60, skill: float = 1.5, seed: int = 0) -> pd.DataFrame:
    """A wafer table whose first sensor rises by `skill` standard deviations in faulty wafers."""
    rng = np.random.default_rng(seed)
    faulty = np.zeros(n, dtype=np.int8)
    faulty[rng.choice(n, faults, replace=False)] = 1
    sensors = rng.normal(size=(n, 3))
    sensors[:, 0] += skill * faulty
    table = pd.DataFrame(sensors, columns=["Sensor-1", "Sensor-2", "Sensor-3"])
    table.insert(0, "wafer", [f"Wafer-{i + 1}" for i in range(n)])
    table.insert(1, "batch", "wafer_07012020_041011.csv")
    table["faulty"] = faulty
    return table


class Sensor1(ClassifierMixin, BaseEstimator):
    """Learns nothing: the probability is a function of the first sensor, rounded so that there are ties."""

    def __init__(self, threshold: float = 0.4) -> None:
        self.threshold = threshold

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Self:  # noqa: ARG002
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        risk = np.round(1 / (1 + np.exp(-X["Sensor-1"].to_numpy())), 2)
        return np.column_stack([1 - risk, risk])

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return (self.predict_proba(X)[:, 1] >= self.threshold).astype(int)


class Needy(Sensor1):
    """Asks for a number of faulty wafers, as a model with inner folds does."""

    def __init__(self, faults: int = 10) -> None:
        super().__init__()
        self.faults = faults

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Self:
        if y.sum() < self.faults:
            raise TooFewFaults(f"{y.sum()} faulty wafers, {self.faults} needed")
        return super().fit(X, y)


class Spy(Sensor1):
    """Writes down which wafers it was fitted on; the table's first sensor numbers them."""

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Self:
        self.last_seen_ = X["Sensor-1"].max()
        self.seen_ = set(X["Sensor-1"])
        return super().fit(X, y)

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        leaked = X["Sensor-1"].isin(self.seen_).to_numpy()
        future = X["Sensor-1"].to_numpy() <= self.last_seen_
        # 1 where the model had seen the wafer, .5 where it had only seen a later one, 0 where neither.
        risk = np.where(leaked, 1.0, np.where(future, 0.5, 0.0))
        return np.column_stack([1 - risk, risk])


def result(
    faulty: np.ndarray, *probabilities: np.ndarray, threshold: float = 0.5, rows: np.ndarray | None = None
) -> pd.DataFrame:
    """Out-of-fold rows as `evaluate` returns them, one repeat for each array of probabilities."""
    row = np.arange(len(faulty)) if rows is None else rows
    return pd.concat(
        pd.DataFrame(
            {
                "protocol": "repeated_k_fold",
                "repeat": repeat,
                "fold": 0,
                "row": row,
                "wafer": [f"Wafer-{i}" for i in row],
                "faulty": faulty.astype(np.int8),
                "probability": probability,
                "alarm": probability >= threshold,
            }
        )
        for repeat, probability in enumerate(probabilities)
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return wafers()


@pytest.fixture(scope="module")
def evaluation(table: pd.DataFrame) -> Evaluation:
    return evaluate(table, Sensor1(), repeats=2, folds=5, seed=0, n_jobs=1)


# --- Metrics ---


def best_recall_at_10(faulty: np.ndarray, probability: np.ndarray) -> float:
    rate, recall, _ = roc_curve(faulty, probability, drop_intermediate=False)
    return float(recall[rate <= 0.1].max())


def auc_of_close_pairs(faulty: np.ndarray, probability: np.ndarray) -> float:
    wins = [
        1.0 if probability[i] > probability[j] else 0.5 if probability[i] == probability[j] else 0.0
        for i in np.flatnonzero(faulty)
        for j in np.flatnonzero(faulty == 0)
        if abs(i - j) < 100
    ]
    return float(np.mean(wins))


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        ("auc", roc_auc_score),
        ("average_precision", average_precision_score),
        ("balanced_error_rate", lambda y, p: 1 - balanced_accuracy_score(y, p >= 0.4)),
        ("mcc", lambda y, p: matthews_corrcoef(y, p >= 0.4)),
        ("recall_at_10_false_alarms", best_recall_at_10),
        ("auc_within_100", auc_of_close_pairs),
        ("brier_score", brier_score_loss),
        ("log_loss", log_loss),
        ("inspected_share", lambda _, p: np.mean(p >= 0.4)),
    ],
)
def test_each_metric_is_the_reference_one(
    evaluation: Evaluation, metric: str, reference: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    tested = evaluation.predictions("repeated_k_fold").query("repeat == 0")
    expected = reference(tested["faulty"].to_numpy(), tested["probability"].to_numpy())
    estimate = evaluation.metrics["repeated_k_fold"][metric]
    assert estimate.value == pytest.approx(expected, abs=1e-12)
    assert estimate.low < estimate.value < estimate.high
    # Sensor1 gives every wafer the same probability in every repeat.
    assert estimate.spread == pytest.approx(0, abs=1e-12)


def test_every_metric_is_measured_in_every_protocol(evaluation: Evaluation) -> None:
    assert list(evaluation.metrics) == list(PROTOCOLS)
    assert all(list(estimates) == list(METRICS) for estimates in evaluation.metrics.values())


def test_pairs_of_wafers_a_hundred_apart_do_not_count() -> None:
    faulty = np.array([1, 0, 0])
    near, far = np.array([0, 99, 300]), np.array([0, 100, 300])
    other = result(faulty, np.array([0.2, 0.1, 0.1]), rows=near)
    assert paired_difference(result(faulty, np.array([0.1, 0.2, 0.2]), rows=near), other, seed=0)[
        "auc_within_100"
    ].value == pytest.approx(-1)
    apart = result(faulty, np.array([0.2, 0.1, 0.1]), rows=far)
    assert "within 100 wafers" in paired_difference(apart, apart, seed=0)["auc_within_100"].reason


def test_a_model_that_only_knows_the_drift_has_no_skill_within_100_wafers() -> None:
    table = wafers(1500, skill=0)
    faulty = np.random.default_rng(1).random(1500) < np.linspace(0.2, 0.01, 1500)
    table = table.assign(faulty=faulty, **{"Sensor-1": np.linspace(2, -2, 1500)})
    metrics = evaluate(table, Sensor1(), repeats=1, folds=5, seed=0, n_jobs=1).metrics["repeated_k_fold"]
    assert metrics["auc"].low > 0.6
    assert metrics["auc_within_100"].value == pytest.approx(0.5, abs=0.05)


def test_a_constant_model_has_no_skill(table: pd.DataFrame) -> None:
    model = DummyClassifier(strategy="constant", constant=0)
    metrics = evaluate(table, model, repeats=2, folds=5, seed=0, n_jobs=1).metrics["repeated_k_fold"]
    values = {name: estimate.value for name, estimate in metrics.items()}
    assert values["auc"] == values["auc_within_100"] == values["balanced_error_rate"] == 0.5
    assert values["mcc"] == values["recall_at_10_false_alarms"] == values["inspected_share"] == 0
    assert values["average_precision"] == pytest.approx(0.1)


def test_shuffled_labels_cannot_be_predicted(table: pd.DataFrame) -> None:
    shuffled = table.assign(faulty=np.random.default_rng(0).permutation(table["faulty"]))
    metrics = evaluate(shuffled, LogisticRegression(), repeats=2, folds=5, seed=0, n_jobs=1).metrics
    for protocol in PROTOCOLS:
        assert metrics[protocol]["auc"].low < 0.5 < metrics[protocol]["auc"].high + 0.05


# --- Intervals ---


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    truth = 0.7602  # two normal distributions one standard deviation apart: Phi(1 / sqrt(2))
    intervals = [
        evaluate(wafers(200, faults=40, skill=1, seed=seed), Sensor1(), repeats=1, folds=2, seed=0, n_jobs=1).metrics[
            "repeated_k_fold"
        ]["auc"]
        for seed in range(50)
    ]
    assert sum(interval.low <= truth <= interval.high for interval in intervals) >= 43
    assert np.mean([interval.high - interval.low for interval in intervals]) < 0.19


def test_a_recall_that_no_draw_can_change_has_no_interval() -> None:
    faulty = np.repeat([1, 0], [5, 95])
    blind = result(faulty, np.linspace(0, 1, 100))
    same = paired_difference(blind, blind, seed=0)
    assert same["recall_at_10_false_alarms"].value == 0
    assert math.isnan(same["recall_at_10_false_alarms"].low)
    assert "none of them found" in same["balanced_error_rate"].reason


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.7321, 0.6904, 0.7748), "0.732 [0.690, 0.775]"),
        (Estimate(math.nan, reason="none of the 9 tested wafers is faulty"), "undefined (none of the 9 "),
        (Estimate(0.5, reason="the same in every draw"), "0.500 (no interval: the same in every draw)"),
    ],
)
def test_an_estimate_reads_well(estimate: Estimate, text: str) -> None:
    assert str(estimate).startswith(text)


# --- Protocols ---


def test_every_wafer_is_predicted_once_in_every_repeat(evaluation: Evaluation, table: pd.DataFrame) -> None:
    for _, repeat in evaluation.predictions("repeated_k_fold").groupby("repeat"):
        assert repeat["wafer"].tolist() == table["wafer"].tolist()
        assert repeat["faulty"].tolist() == table["faulty"].tolist()


def test_no_protocol_tests_a_wafer_the_model_was_fitted_on(table: pd.DataFrame) -> None:
    numbered = table.assign(**{"Sensor-1": np.arange(len(table), dtype=float)})
    result = evaluate(numbered, Spy(), repeats=2, folds=5, seed=0, n_jobs=1)
    assert (result.predictions("repeated_k_fold")["probability"] < 1).all()
    for protocol in ("time_split", "rolling_refit"):
        assert (result.predictions(protocol)["probability"] == 0).all(), "a time protocol saw the future"


def test_time_protocols_test_the_wafers_they_say(evaluation: Evaluation) -> None:
    assert evaluation.predictions("time_split")["row"].tolist() == list(range(420, 600))
    assert evaluation.predictions("rolling_refit")["row"].tolist() == list(range(300, 600))
    fits = evaluation.fits.query("protocol == 'rolling_refit'")
    assert fits["train_wafers"].tolist() == [300] * 6
    assert fits["test_wafers"].tolist() == [50] * 6


def test_a_rolling_window_reaches_back_until_it_holds_enough_faults() -> None:
    row = np.arange(600)
    table = wafers(600).assign(faulty=((row < 100) & (row % 2 == 0)) | (row >= 550))
    fits = evaluate(table, Needy(faults=10), repeats=1, folds=5, seed=0, n_jobs=1).fits
    rolling = fits.query("protocol == 'rolling_refit'")
    assert rolling["train_wafers"].tolist() == [300, 300, 350, 400, 450, 500]
    assert rolling["note"].iloc[:2].tolist() == ["", ""]
    assert rolling["note"].iloc[2] == (
        "trained on the last 350 wafers, because of the last 300: none of the 300 training wafers is faulty"
    )


def test_wafers_that_no_window_can_predict_are_left_out_and_said_so() -> None:
    row = np.arange(600)
    table = wafers(600).assign(faulty=(row >= 400) & (row % 2 == 0))
    result = evaluate(table, Needy(faults=10), repeats=1, folds=5, seed=0, n_jobs=1)
    assert result.predictions("rolling_refit")["row"].min() == 450
    assert any(note.startswith("rolling_refit, fold 0: not tested: ") for note in result.as_dict()["notes"])


def test_a_period_without_faults_leaves_its_metrics_undefined() -> None:
    row = np.arange(600)
    table = wafers(600).assign(faulty=(row < 420) & (row % 7 == 0))
    metrics = evaluate(table, Sensor1(), repeats=1, folds=5, seed=0, n_jobs=1).metrics["time_split"]
    assert math.isnan(metrics["auc"].value)
    assert metrics["auc"].reason == "none of the 180 tested wafers is faulty"
    assert metrics["brier_score"].low < metrics["brier_score"].value < metrics["brier_score"].high


def test_a_training_period_without_faults_leaves_the_time_split_undefined() -> None:
    row = np.arange(600)
    table = wafers(600).assign(faulty=(row >= 420) & (row % 7 == 0))
    metrics = evaluate(table, Sensor1(), repeats=1, folds=5, seed=0, n_jobs=1).metrics["time_split"]
    assert all(math.isnan(estimate.value) for estimate in metrics.values())
    assert metrics["auc"].reason == "not tested: none of the 420 training wafers is faulty"


def test_a_table_shorter_than_a_window_is_rolled_over_in_steps_of_a_twelfth() -> None:
    result = evaluate(wafers(120, faults=30), Sensor1(), repeats=1, folds=5, seed=0, n_jobs=1)
    fits = result.fits.query("protocol == 'rolling_refit'")
    assert fits["train_wafers"].tolist() == [60] * 6
    assert fits["test_wafers"].tolist() == [10] * 6
    assert result.metrics["rolling_refit"]["auc"].reason == ""


def test_an_auc_of_neighbours_among_wafers_that_are_all_neighbours_is_not_told_twice() -> None:
    metrics = evaluate(wafers(90, faults=30), Sensor1(), repeats=1, folds=5, seed=0, n_jobs=1).metrics
    assert "all within 100" in metrics["repeated_k_fold"]["auc_within_100"].reason


# --- The folds follow the faults ---


@pytest.mark.parametrize(("faults", "folds"), [(89, 10), (20, 10), (19, 9), (11, 5), (6, 3)])
def test_there_are_as_many_folds_as_hold_two_faults_each(faults: int, folds: int) -> None:
    result = evaluate(wafers(200, faults=faults), Sensor1(), repeats=1, seed=0, n_jobs=1)
    tested = result.fits.query("protocol == 'repeated_k_fold'")
    assert result.folds == folds_of(result.out_of_fold) == len(tested) == folds
    assert tested["test_faults"].min() >= 2
    assert f"{faults} of 200 wafers faulty, {folds} folds" in result.basis
    assert ("of 10 asked for" in result.basis) == (folds < 10)


def test_few_faults_leave_a_model_unproven_however_good_it_looks() -> None:
    few = evaluate(wafers(200, faults=11, skill=3), Sensor1(), repeats=1, seed=0, n_jobs=1)
    many = evaluate(wafers(200, faults=40, skill=9), Sensor1(), repeats=1, seed=0, n_jobs=1)
    assert few.metrics["repeated_k_fold"]["auc"].low > 0.8
    assert "fewer than 20 faulty wafers" in few.unproven
    assert many.unproven == ""


def test_an_auc_that_may_be_chance_leaves_a_model_unproven() -> None:
    result = evaluate(wafers(200, faults=40, skill=0), Sensor1(), repeats=1, seed=0, n_jobs=1)
    assert "reaches one half" in result.unproven


def test_a_period_with_few_faults_gets_fewer_inner_folds_only_where_the_whole_table_has_few() -> None:
    config = ModelConfig(xgboost_trees=3, forest_trees=3, k=1)
    row = np.arange(120)
    few = wafers(120).assign(faulty=np.isin(row, [5, 20, 35, 50, 60, 90, 100, 115]).astype(np.int8))
    many = wafers(120).assign(faulty=(np.isin(row, [5, 20, 35, 50, 60]) | (row >= 84)).astype(np.int8))
    rows = [
        evaluate(table, FaultModel(config), repeats=1, folds=4, seed=0, n_jobs=1).fits.query(
            "protocol == 'time_split'"
        )["note"]
        for table in (few, many)
    ]
    assert rows[0].tolist() == [""]
    assert "not tested: Only 5 of 84 wafers are faulty; 4 folds need at least 8" in rows[1].iloc[0]


# --- Refusals ---


def test_too_few_faults_are_refused_with_the_numbers() -> None:
    with pytest.raises(TooFewFaults, match=r"5 faulty wafers of 600 are too few.*at least 6 are needed"):
        evaluate(wafers(600, faults=5), Sensor1(), seed=0, n_jobs=1)
    with pytest.raises(TooFewFaults, match="5 passed wafers of 600"):
        evaluate(wafers(600, faults=595), Sensor1(), seed=0, n_jobs=1)


def test_a_table_without_a_fault_is_refused() -> None:
    with pytest.raises(NoFaults, match="no wafer of the table is faulty"):
        evaluate(wafers(600, faults=0), Sensor1(), seed=0, n_jobs=1)


def test_what_the_model_asks_for_in_a_fold_is_passed_on() -> None:
    with pytest.raises(TooFewFaults, match="50 needed"):
        evaluate(wafers(600, faults=30), Needy(faults=50), folds=5, seed=0, n_jobs=1)


# --- Running ---


def test_the_number_of_workers_changes_nothing(table: pd.DataFrame, evaluation: Evaluation) -> None:
    parallel = evaluate(table, Sensor1(), repeats=2, folds=5, seed=0, n_jobs=2)
    pd.testing.assert_frame_equal(parallel.out_of_fold, evaluation.out_of_fold)
    pd.testing.assert_frame_equal(parallel.fits, evaluation.fits)
    assert parallel.as_dict() == evaluation.as_dict()


def test_another_seed_makes_other_folds(table: pd.DataFrame, evaluation: Evaluation) -> None:
    other = evaluate(table, Sensor1(), repeats=2, folds=5, seed=1, n_jobs=1)
    folds = [result.predictions("repeated_k_fold")["fold"].tolist() for result in (other, evaluation)]
    assert folds[0] != folds[1]


def test_progress_counts_every_fit(table: pd.DataFrame) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(table, Sensor1(), repeats=1, folds=5, seed=0, n_jobs=1, progress=lambda *now: seen.append(now))
    assert seen == [(done, 12) for done in range(1, 13)]  # 5 folds, 1 split, 6 refits


def test_neither_the_table_nor_the_model_is_changed(table: pd.DataFrame) -> None:
    before, model = table.copy(), Sensor1()
    evaluate(table, model, repeats=1, folds=5, seed=0, n_jobs=1)
    pd.testing.assert_frame_equal(table, before)
    assert not hasattr(model, "classes_")


# --- What it returns ---


def test_the_result_is_plain_json_without_nan() -> None:
    result = evaluate(wafers(90, faults=11), Sensor1(), repeats=1, seed=0, n_jobs=1)
    loaded = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert loaded["metrics"]["repeated_k_fold"]["auc_within_100"]["value"] is None
    assert (loaded["faults"], loaded["folds"], loaded["asked_folds"]) == (11, 5, 10)
    assert "fewer than 20" in loaded["unproven"]


def test_the_tidy_table_has_a_row_for_every_figure(evaluation: Evaluation) -> None:
    frame = evaluation.as_frame()
    assert len(frame) == len(PROTOCOLS) * len(METRICS)
    precision = frame.query("protocol == 'repeated_k_fold' and metric == 'average_precision'").iloc[0]
    assert precision["low"] < precision["value"] < precision["high"]
    assert precision["without_skill"] == pytest.approx(0.1)
    assert (precision["folds"], precision["tested_wafers"], precision["tested_faults"]) == (5, 600, 60)


def test_curves_agree_with_the_metrics(evaluation: Evaluation) -> None:
    roc = evaluation.roc("repeated_k_fold")
    auc = evaluation.metrics["repeated_k_fold"]["auc"].value
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(auc, abs=0.01)
    precision = evaluation.precision_recall("repeated_k_fold")
    average = evaluation.metrics["repeated_k_fold"]["average_precision"].value
    assert precision.y.mean() == pytest.approx(average, abs=0.03)
    for curve in (roc, precision):
        assert (curve.low <= curve.y + 1e-9).all()
        assert (curve.y <= curve.high + 1e-9).all()


# --- Comparing two models ---


def test_the_better_of_two_models_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    faulty = rng.random(1000) < 0.1
    signal = rng.normal(size=1000) + 2 * faulty
    good = 1 / (1 + np.exp(-(2 * signal - 4.2)))
    better, worse = result(faulty, good), result(faulty, good, np.full(1000, 0.1))
    difference = paired_difference(better, worse, seed=0)
    assert difference["log_loss"].high < 0
    assert difference["auc"].low > 0
    assert difference["auc"].value == pytest.approx((roc_auc_score(faulty, good) - 0.5) / 2)


def test_the_interval_of_a_difference_is_narrower_than_those_of_the_models(table: pd.DataFrame) -> None:
    # Two nearly equal models share nearly all of their uncertainty.
    noisy = table.assign(**{"Sensor-1": table["Sensor-1"] + np.random.default_rng(0).normal(0, 0.1, 600)})
    ours, theirs = (evaluate(t, Sensor1(), repeats=1, folds=5, seed=0, n_jobs=1) for t in (table, noisy))
    difference = paired_difference(ours.predictions("repeated_k_fold"), theirs.predictions("repeated_k_fold"), seed=0)
    alone = ours.metrics["repeated_k_fold"]["auc"]
    assert difference["auc"].high - difference["auc"].low < (alone.high - alone.low) / 3
    assert difference["auc"].low < difference["auc"].value < difference["auc"].high


def test_results_on_different_wafers_are_not_compared() -> None:
    faulty, risk = np.array([1, 0, 1, 0]), np.array([0.9, 0.1, 0.8, 0.2])
    with pytest.raises(DifferentWafersError, match="same wafer table"):
        paired_difference(result(faulty, risk), result(1 - faulty, risk), seed=0)

"""The fault model: one estimator that holds every step from raw readings to an alarm.

`FaultModel.fit` is the composition of the functions below, which the asset graph runs as separate steps:
`fit_preprocessor`, `find_elbow`, `fit_clusterer`, `fit_members` on all wafers, `fit_cluster` per cluster,
`assemble`.

Every member is cross-fitted: the rows are cut into folds, one learner is fitted without each fold (choosing
its own sensors), and a prediction is the mean of them. The margins of the left-out rows are honest, so that
calibration and the alarm threshold need no further fit, and the mean is steadier than one learner fitted on
everything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.special import expit, logit
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import check_is_fitted

from wafer_assets.domain.clustering import Clusterer, Elbow, elbow
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.preprocessing import Preprocessor

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike, NDArray
    from xgboost import Booster

    Margins = NDArray[np.float64]
    Labels = NDArray[np.int_]

MemberName = Literal["xgboost", "random_forest"]
LEAST_SLOPE = 0.01
MEMBERS: tuple[MemberName, ...] = ("xgboost", "random_forest")


class FitError(ValueError):
    """The table cannot be learned from."""

    code = "fit"


class WrongLabels(FitError):
    """The labels do not say of every wafer whether it was faulty."""

    code = "wrong_labels"


class NoFaults(FitError):
    """There is nothing to tell apart."""

    code = "no_faults"


class TooFewFaults(FitError):
    """Too few wafers of one kind for an honest out-of-fold margin."""

    code = "too_few_faults"


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """An XGBoost learner: its margin is the log-odds.

    Attributes
    ----------
    columns : ndarray of shape (n_columns,), the features it was given
    booster : Booster
    start : float, log-odds before the first tree
    values : ndarray of shape (n_trees, n_nodes), what each node of each tree adds as a leaf
    """

    columns: NDArray[np.intp]
    booster: Booster
    start: float
    values: NDArray[np.float64]

    @classmethod
    def of(cls, columns: NDArray[np.intp], booster: Booster) -> BoostedTrees:
        """Wrap a trained booster."""
        described = booster_json(booster)
        (probability,) = np.atleast_1d(json.loads(described["learner_model_param"]["base_score"]))
        trees = described["gradient_booster"]["model"]["trees"]
        values = np.zeros((len(trees), max(len(tree["split_conditions"]) for tree in trees)))
        for number, tree in enumerate(trees):
            values[number, : len(tree["split_conditions"])] = np.float32(tree["split_conditions"])
        return cls(columns, booster, float(logit(probability)), values)

    def margin(self, features: NDArray[np.float32]) -> Margins:
        """Return the log-odds, shape (n_wafers,)."""
        import xgboost

        # XGBoost itself adds the leaves up in single precision, which contributions to 1e-6 would not survive.
        wafers = xgboost.DMatrix(np.ascontiguousarray(features[:, self.columns]), nthread=1)
        leaves = self.booster.predict(wafers, pred_leaf=True).astype(np.intp).reshape(len(features), len(self.values))
        total: Margins = self.start + self.values[np.arange(len(self.values)), leaves].sum(axis=1)
        return total


@dataclass(frozen=True, slots=True)
class Forest:
    """A balanced Random Forest learner.

    Its margin is 4 (p - 1/2), the tangent of the log-odds at p = 1/2: a mean over trees, so that the
    contributions of sensors stay exactly additive. The log-odds themselves would rank wafers the same way.
    """

    columns: NDArray[np.intp]
    forest: RandomForestClassifier

    def margin(self, features: NDArray[np.float32]) -> Margins:
        """Return the linearised log-odds, shape (n_wafers,)."""
        inputs = np.ascontiguousarray(features[:, self.columns], dtype=np.float32)
        total = np.zeros(len(inputs))
        # `predict_proba` does the same sum, and takes three times as long for one wafer to check what it got.
        for tree in self.forest.estimators_:
            total += tree.tree_.predict(inputs)[:, 1]
        return 4 * (total / len(self.forest.estimators_) - 0.5)


Learner = BoostedTrees | Forest


@dataclass(frozen=True, slots=True)
class Members:
    """The cross-fitted XGBoost and Random Forest of one group of wafers.

    Attributes
    ----------
    learners : one learner per fold, by member
    """

    learners: Mapping[MemberName, tuple[Learner, ...]]

    def margins(self, features: NDArray[np.float32]) -> dict[MemberName, Margins]:
        """Return each member's margin, the mean of its learners, shape (n_wafers,)."""
        return {
            name: np.mean([learner.margin(features) for learner in learners], axis=0)
            for name, learners in self.learners.items()
        }


@dataclass(frozen=True, slots=True)
class GroupModels:
    """What was learned from one group of wafers: all of them, or a cluster.

    Attributes
    ----------
    cluster : the cluster's number; None for all wafers
    n_wafers, n_faults : size of the group
    weight : trust in the group's own members against the global ones, in [0, 1]
    members : None when the group has too few faults for members of its own
    out_of_fold : margin of each of the group's rows by the learner that did not see it, by member
    """

    cluster: int | None
    n_wafers: int
    n_faults: int
    weight: float
    members: Members | None
    out_of_fold: Mapping[MemberName, Margins]


@dataclass(frozen=True, slots=True)
class MemberScore:
    """Out-of-fold quality of one member on its own group of wafers."""

    member: MemberName
    auc: float
    average_precision: float
    log_loss: float


def booster_json(booster: Booster) -> dict[str, Any]:
    """Return the `learner` part of XGBoost's documented model format."""
    described: dict[str, Any] = json.loads(booster.save_raw("json").decode())["learner"]
    return described


def check_faults(y: Labels, folds: int) -> None:
    """Refuse labels that a model cannot be fitted on with this many folds.

    Raises
    ------
    WrongLabels, NoFaults, TooFewFaults
    """
    unknown = sorted({*y.tolist()} - {0, 1})
    if unknown:
        raise WrongLabels(f"Labels must be 1 (faulty) or 0 (passed), found {unknown[0]}: map the labels first.")
    faults = int(np.sum(y))
    if faults == 0:
        raise NoFaults(
            f"None of the {len(y)} wafers is faulty, so there is nothing to learn. "
            "Add labelled batches with faults and train again."
        )
    for count, kind in ((faults, "faulty"), (len(y) - faults, "passed")):
        if count < 2 * folds:
            raise TooFewFaults(
                f"Only {count} of {len(y)} wafers are {kind}; {folds} folds need at least {2 * folds}. "
                "Add labelled batches or use fewer folds."
            )


def fit_preprocessor(X: pd.DataFrame, config: ModelConfig) -> Preprocessor:
    """Fit the preprocessing; its `transform` makes the features."""
    return Preprocessor(max_missing=config.max_missing, min_missing=config.min_missing, clip=config.clip).fit(X)


def find_elbow(features: pd.DataFrame, config: ModelConfig) -> Elbow:
    """Choose the number of clusters."""
    return elbow(
        features,
        k_max=config.k_max,
        sensitivity=config.knee_sensitivity,
        fallback=config.k_fallback,
        n_components=config.n_components,
        seed=config.seed,
    )


def fit_clusterer(features: pd.DataFrame, k: int, config: ModelConfig) -> Clusterer:
    """Fit the clusterer with the number of clusters that the config or the elbow gives."""
    return Clusterer(k, n_components=config.n_components, seed=config.seed).fit(features)


def fit_members(features: pd.DataFrame, y: Labels, config: ModelConfig, n_jobs: int = 1) -> GroupModels:
    """Fit the global members on all wafers.

    Raises
    ------
    NoFaults, TooFewFaults
    """
    check_faults(y, config.folds)
    members, out_of_fold = _cross_fit(features.to_numpy(), y, config, n_jobs)
    return GroupModels(None, len(y), int(y.sum()), 1.0, members, out_of_fold)


def fit_cluster(
    features: pd.DataFrame, y: Labels, labels: Labels, cluster: int, config: ModelConfig, n_jobs: int = 1
) -> GroupModels:
    """Fit the members of one cluster.

    A cluster with fewer than two faulty (or passed) wafers per fold gets none: the global ones speak for it.

    Parameters
    ----------
    features : DataFrame of shape (n_wafers, n_features), of all wafers
    y : ndarray of shape (n_wafers,), 1 for faulty
    labels : ndarray of shape (n_wafers,), each wafer's cluster
    cluster : the cluster to fit
    """
    rows = labels == cluster
    own = y[rows]
    faults = int(own.sum())
    if min(faults, len(own) - faults) < 2 * config.folds:
        return GroupModels(cluster, len(own), faults, 0.0, None, {})
    members, out_of_fold = _cross_fit(features.to_numpy()[rows], own, config, n_jobs)
    return GroupModels(cluster, len(own), faults, faults / (faults + config.shrinkage), members, out_of_fold)


def member_scores(group: GroupModels, y: Labels) -> list[MemberScore]:
    """Score a group's members on the margins of left-out rows.

    Parameters
    ----------
    y : ndarray of shape (group.n_wafers,), labels of the group's rows
    """
    scores = []
    for name, margins in group.out_of_fold.items():
        slope, intercept = _platt(margins, y)
        scores.append(
            MemberScore(
                member=name,
                auc=float(roc_auc_score(y, margins)),
                average_precision=float(average_precision_score(y, margins)),
                log_loss=float(log_loss(y, expit(slope * margins + intercept))),
            )
        )
    return scores


def assemble(
    preprocessor: Preprocessor,
    clusterer: Clusterer,
    overall: GroupModels,
    clusters: Sequence[GroupModels],
    labels: Labels,
    y: Labels,
    config: ModelConfig,
) -> FaultModel:
    """Put the separately fitted pieces together: mix, calibrate and choose the alarm threshold.

    Parameters
    ----------
    overall : from `fit_members`
    clusters : from `fit_cluster`, one for each cluster
    labels : ndarray of shape (n_wafers,), each training wafer's cluster
    y : ndarray of shape (n_wafers,), 1 for faulty
    """
    return FaultModel(config)._assemble(preprocessor, clusterer, overall, clusters, labels, y)


class FaultModel(ClassifierMixin, BaseEstimator):
    """Probability that a wafer is faulty, and whether to re-inspect it.

    The decision margin is a weighted sum of the members' margins, so that contributions of sensors stay
    additive: XGBoost and Random Forest, each the cluster's members shrunk towards the global ones, put on one
    scale by their out-of-fold standard deviation and calibrated by a logistic line (Platt, 1999).

    Parameters
    ----------
    config : ModelConfig, optional
    n_jobs : int
        Threads that fit learners side by side; predictions do not depend on it.

    Attributes
    ----------
    classes_ : ndarray [0, 1]; 1 is faulty
    feature_names_in_ : ndarray of shape (n_sensors,)
    preprocessor_ : Preprocessor
    clusterer_ : Clusterer
    members_ : Members, fitted on all wafers
    cluster_members_ : tuple of Members or None, by cluster
    cluster_weights_ : ndarray of shape (n_clusters,), trust in the cluster's own members
    slopes_ : dict, weight of each member's margin in the decision margin (log-odds per unit)
    intercept_ : float
    threshold_ : float, probability from which on a wafer raises an alarm
    """

    def __init__(self, config: ModelConfig | None = None, n_jobs: int = 1) -> None:
        self.config = config
        self.n_jobs = n_jobs

    def fit(self, X: pd.DataFrame, y: ArrayLike) -> Self:
        """Fit every step.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_sensors), readings with NaN where missing
        y : array of shape (n_wafers,), 1 for faulty and 0 for passed

        Raises
        ------
        NoFaults, TooFewFaults, WrongSensors
        """
        config = self.config or ModelConfig()
        faulty = np.asarray(y, dtype=np.int_)
        if faulty.shape != (len(X),):
            raise WrongLabels(f"Expected {len(X)} labels, one for each wafer, found shape {faulty.shape}.")
        check_faults(faulty, config.folds)
        preprocessor = fit_preprocessor(X, config)
        features = preprocessor.transform(X)
        clusterer = fit_clusterer(features, config.k or find_elbow(features, config).k, config)
        labels = clusterer.predict(features)
        overall = fit_members(features, faulty, config, self.n_jobs)
        clusters = [
            fit_cluster(features, faulty, labels, cluster, config, self.n_jobs)
            for cluster in range(len(clusterer.centers_))
        ]
        return self._assemble(preprocessor, clusterer, overall, clusters, labels, faulty)

    def decision_function(self, X: pd.DataFrame) -> Margins:
        """Return the calibrated log-odds of a fault, shape (n_wafers,)."""
        check_is_fitted(self)
        features = self.preprocessor_.transform(X)
        return self.margins(features, self.clusterer_.predict(features))

    def margins(self, features: pd.DataFrame, labels: Labels) -> Margins:
        """Return the calibrated log-odds of preprocessed wafers whose clusters are known, shape (n_wafers,)."""
        values = features.to_numpy()
        margins = self.members_.margins(values)
        for cluster, members in enumerate(self.cluster_members_):
            rows = np.flatnonzero(labels == cluster)
            if members is None or not rows.size:
                continue
            weight = self.cluster_weights_[cluster]
            for name, own in members.margins(values[rows]).items():
                margins[name][rows] += weight * (own - margins[name][rows])
        return self._combine(margins)

    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the probabilities of passed and faulty, shape (n_wafers, 2)."""
        faulty = expit(self.decision_function(X))
        return np.column_stack([1 - faulty, faulty])

    def predict(self, X: pd.DataFrame) -> Labels:
        """Return 1 for wafers that raise an alarm under the policy, shape (n_wafers,)."""
        alarms: Labels = (self.predict_proba(X)[:, 1] >= self.threshold_).astype(np.int_)
        return alarms

    def _combine(self, margins: Mapping[MemberName, Margins]) -> Margins:
        total = np.full(len(margins[MEMBERS[0]]), self.intercept_)
        for name in MEMBERS:
            total += self.slopes_[name] * margins[name]
        return total

    def _assemble(
        self,
        preprocessor: Preprocessor,
        clusterer: Clusterer,
        overall: GroupModels,
        clusters: Sequence[GroupModels],
        labels: Labels,
        y: Labels,
    ) -> Self:
        config = self.config or ModelConfig()
        if overall.members is None:
            raise FitError("The global members are missing: fit them on all wafers first.")
        margins = {name: overall.out_of_fold[name].copy() for name in MEMBERS}
        for group in clusters:
            for name, own in group.out_of_fold.items():
                rows = labels == group.cluster
                margins[name][rows] += group.weight * (own - margins[name][rows])
        scales = {name: float(np.std(margins[name])) or 1.0 for name in MEMBERS}
        mixed = np.sum([margins[name] / scales[name] for name in MEMBERS], axis=0)
        slope, intercept = _platt(mixed, y)

        self.classes_ = np.array([0, 1])
        self.feature_names_in_ = preprocessor.feature_names_in_
        self.n_features_in_ = preprocessor.n_features_in_
        self.preprocessor_ = preprocessor
        self.clusterer_ = clusterer
        self.members_ = overall.members
        self.cluster_members_ = tuple(group.members for group in clusters)
        self.cluster_weights_ = np.array([group.weight for group in clusters])
        self.slopes_ = {name: slope / scales[name] for name in MEMBERS}
        self.intercept_ = intercept
        self.threshold_ = alarm_threshold(expit(self._combine(margins)), config)
        return self


def alarm_threshold(probabilities: Margins, config: ModelConfig) -> float:
    """Choose the probability from which on a wafer raises an alarm.

    Parameters
    ----------
    probabilities : ndarray of shape (n_wafers,), out of fold

    Returns
    -------
    float
        For a cost ratio r the probability 1 / (1 + r), where alarm and no alarm cost the same on average
        (Elkan, 2001); otherwise the quantile of `probabilities` above which the inspection capacity lies.
    """
    if config.cost_ratio is not None:
        return 1 / (1 + config.cost_ratio)
    return float(np.quantile(probabilities, 1 - config.capacity, method="higher"))


def _platt(margins: Margins, y: Labels) -> tuple[float, float]:
    """Fit the logistic line that turns margins into log-odds: slope and intercept.

    The default penalty only matters where margins separate the two kinds and the slope would grow without end.
    Left-out margins that rank wafers worse than chance are noise: the slope then stays barely above zero, so
    that a model never ranks against its own members.
    """
    line = LogisticRegression().fit(margins[:, None], y)
    slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
    if slope < LEAST_SLOPE:
        slope, intercept = LEAST_SLOPE, float(logit(y.mean()) - LEAST_SLOPE * margins.mean())
    return slope, intercept


def _cross_fit(
    features: NDArray[np.float32], y: Labels, config: ModelConfig, n_jobs: int
) -> tuple[Members, dict[MemberName, Margins]]:
    """Fit every member once without each fold, and keep the margins of the rows left out."""
    folds = list(StratifiedKFold(config.folds, shuffle=True, random_state=config.seed).split(y, y))

    def fit_fold(fold: int) -> dict[MemberName, Learner]:
        rows = folds[fold][0]
        strength = f_scores(features, y, rows)
        columns = np.sort(np.argsort(-strength, kind="stable")[: config.n_sensors])
        inputs, targets = features[np.ix_(rows, columns)], y[rows]
        return {name: LEARNERS[name](inputs, targets, columns, config, config.seed + fold) for name in MEMBERS}

    # Threads: the learners release the interpreter, and the features are not copied.
    fitted: list[dict[MemberName, Learner]] = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(fit_fold)(fold) for fold in range(config.folds)
    )
    out_of_fold = {name: np.empty(len(y)) for name in MEMBERS}
    for learners, (_, left_out) in zip(fitted, folds, strict=True):
        for name in MEMBERS:
            out_of_fold[name][left_out] = learners[name].margin(features[left_out])
    return Members({name: tuple(learners[name] for learners in fitted) for name in MEMBERS}), out_of_fold


def f_scores(features: NDArray[np.float32], y: Labels, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Score how well each feature tells faulty from passed wafers among some rows, by the F statistic.

    Equals scikit-learn's `f_classif`, in double precision but block by block, so that large tables are not
    copied; constant features score 0.

    Returns
    -------
    ndarray of shape (n_features,)
    """
    faulty = y[rows] == 1
    n_faulty, n_passed = np.sum(faulty), np.sum(~faulty)
    scores = np.zeros(features.shape[1])
    for start in range(0, features.shape[1], 64):
        block = features[rows, start : start + 64].astype(np.float64)
        total, of_faulty = block.sum(axis=0), block[faulty].sum(axis=0)
        groups = of_faulty**2 / n_faulty + (total - of_faulty) ** 2 / n_passed
        between = groups - total**2 / len(rows)
        within = np.maximum(np.einsum("ij,ij->j", block, block) - groups, np.finfo(np.float64).eps)
        scores[start : start + 64] = between / within * (len(rows) - 2)
    return scores


def _fit_xgboost(
    inputs: NDArray[np.float32], y: Labels, columns: NDArray[np.intp], config: ModelConfig, seed: int
) -> BoostedTrees:
    import xgboost

    booster = xgboost.train(
        {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_bin": 64,
            "max_depth": config.xgboost_depth,
            "learning_rate": config.xgboost_learning_rate,
            "lambda": config.xgboost_l2,
            "subsample": 0.8,
            "colsample_bytree": 0.3,
            "seed": seed,
            "nthread": 1,  # one thread sums in one order: the same model on every machine
        },
        xgboost.QuantileDMatrix(inputs, y, max_bin=64, nthread=1),
        num_boost_round=config.xgboost_trees,
    )
    return BoostedTrees.of(columns, booster)


def _fit_forest(
    inputs: NDArray[np.float32], y: Labels, columns: NDArray[np.intp], config: ModelConfig, seed: int
) -> Forest:
    # Class weights make the bootstrap draw both classes equally often (balanced forest; Chen et al., 2004).
    forest = RandomForestClassifier(
        config.forest_trees,
        max_depth=config.forest_depth,
        min_samples_leaf=config.forest_leaf,
        class_weight="balanced",
        max_samples=min(len(y), config.forest_draws),
        random_state=seed,
    )
    # Half of a small forest's time goes into checking the same parameters again for every tree.
    with config_context(skip_parameter_validation=True, assume_finite=True):
        forest.fit(inputs, y)
    return Forest(columns, forest)


LEARNERS: Mapping[
    MemberName,
    Callable[[NDArray[np.float32], Labels, NDArray[np.intp], ModelConfig, int], Learner],
] = {"xgboost": _fit_xgboost, "random_forest": _fit_forest}

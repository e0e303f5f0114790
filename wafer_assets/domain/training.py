"""The fault model: one estimator that holds every step from raw readings to an alarm.

`FaultModel.fit` is the composition of the functions below, which the asset graph runs as separate steps:
`fit_preprocessor`, `find_elbow`, `fit_clusterer`, `fit_members` on all wafers, `fit_cluster` per cluster,
`assemble`.

Every member is cross-fitted: the rows are cut into folds, one learner is fitted without each fold (choosing
its own sensors), and a prediction is the mean of them. The margins of the left-out rows are honest, so that
calibration and the alarm threshold need no further fit, and the mean is steadier than one learner fitted on
everything.

Belongs here: what learns from labels. Features and clusters, which do not, are `preprocessing` and `clustering`; how
good the model is says `evaluation`.
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
FEWEST_FOLDS = 2
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


class NothingVaries(FitError):
    """No sensor has readings that differ between wafers."""

    code = "nothing_varies"


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """An XGBoost learner: its margin is the log-odds.

    Attributes
    ----------
    columns : int ndarray of shape (n_columns,)
        Positions of the features it was given.
    booster : xgboost.Booster
        The trees.
    start : float
        Log-odds before the first tree.
    values : float64 ndarray of shape (n_trees, n_nodes)
        What each node of each tree adds as a leaf, in log-odds.
    """

    columns: NDArray[np.intp]
    booster: Booster
    start: float
    values: NDArray[np.float64]

    @classmethod
    def of(cls, columns: NDArray[np.intp], booster: Booster) -> BoostedTrees:
        """Wrap a booster that was trained on the features at `columns`."""
        described = booster_json(booster)
        (probability,) = np.atleast_1d(json.loads(described["learner_model_param"]["base_score"]))
        trees = described["gradient_booster"]["model"]["trees"]
        values = np.zeros((len(trees), max(len(tree["split_conditions"]) for tree in trees)))
        for number, tree in enumerate(trees):
            values[number, : len(tree["split_conditions"])] = np.float32(tree["split_conditions"])
        return cls(columns, booster, float(logit(probability)), values)

    def margin(self, features: NDArray[np.float32]) -> Margins:
        """Return the log-odds of a fault.

        Parameters
        ----------
        features : float32 ndarray of shape (n_wafers, n_features)
            As `Preprocessor` makes them.

        Returns
        -------
        float64 ndarray of shape (n_wafers,)
            Added up in double precision; XGBoost itself does so in single.
        """
        import xgboost

        # Single precision would not survive contributions to 1e-6.
        wafers = xgboost.DMatrix(np.ascontiguousarray(features[:, self.columns]), nthread=1)
        leaves = self.booster.predict(wafers, pred_leaf=True).astype(np.intp).reshape(len(features), len(self.values))
        total: Margins = self.start + self.values[np.arange(len(self.values)), leaves].sum(axis=1)
        return total


@dataclass(frozen=True, slots=True)
class Forest:
    """A balanced Random Forest learner [1]_.

    Its margin is 4 (p - 1/2), the tangent of the log-odds at p = 1/2: a mean over trees, so that the
    contributions of sensors stay exactly additive. The log-odds themselves would rank wafers the same way.

    Attributes
    ----------
    columns : int ndarray of shape (n_columns,)
        Positions of the features it was given.
    forest : RandomForestClassifier
        The trees; their bootstrap draws both classes equally often.

    References
    ----------
    .. [1] Chen, C., Liaw, A. and Breiman, L. (2004). "Using Random Forest to Learn Imbalanced Data". Technical
       report 666, University of California, Berkeley.
    """

    columns: NDArray[np.intp]
    forest: RandomForestClassifier

    def margin(self, features: NDArray[np.float32]) -> Margins:
        """Return the linearised log-odds of a fault.

        Parameters
        ----------
        features : float32 ndarray of shape (n_wafers, n_features)
            As `Preprocessor` makes them.

        Returns
        -------
        float64 ndarray of shape (n_wafers,)
            In [-2, 2].
        """
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
    learners : mapping of str -> tuple of Learner
        One learner per fold, by member.
    """

    learners: Mapping[MemberName, tuple[Learner, ...]]

    def margins(self, features: NDArray[np.float32]) -> dict[MemberName, Margins]:
        """Return each member's margin, the mean of its learners.

        Parameters
        ----------
        features : float32 ndarray of shape (n_wafers, n_features)
            As `Preprocessor` makes them.

        Returns
        -------
        dict of float64 ndarray of shape (n_wafers,)
            By member.
        """
        return {
            name: np.mean([learner.margin(features) for learner in learners], axis=0)
            for name, learners in self.learners.items()
        }


@dataclass(frozen=True, slots=True)
class GroupModels:
    """What was learned from one group of wafers: all of them, or a cluster.

    Attributes
    ----------
    cluster : int or None
        The cluster's number; None for all wafers.
    n_wafers, n_faults : int
        Numbers of wafers in the group, and of faulty ones among them.
    weight : float
        Trust in the group's own members against the global ones, in [0, 1].
    members : Members or None
        None where the group has too few faulty, or passed, wafers for members of its own.
    out_of_fold : mapping of str -> float64 ndarray of shape (n_wafers,)
        Margin of each of the group's rows by the learner that did not see it, by member; empty without members.
    """

    cluster: int | None
    n_wafers: int
    n_faults: int
    weight: float
    members: Members | None
    out_of_fold: Mapping[MemberName, Margins]


@dataclass(frozen=True, slots=True)
class MemberScore:
    """Out-of-fold quality of one member on its own group of wafers.

    Attributes
    ----------
    member : {"xgboost", "random_forest"}
        The member.
    auc, average_precision : float
        Of the ranking, in [0, 1].
    log_loss : float
        Of the probability after a calibration of its own, in nats.
    """

    member: MemberName
    auc: float
    average_precision: float
    log_loss: float


def booster_json(booster: Booster) -> dict[str, Any]:
    """Return the ``learner`` part of XGBoost's documented JSON model format."""
    described: dict[str, Any] = json.loads(booster.save_raw("json").decode())["learner"]
    return described


def check_faults(y: Labels, folds: int) -> None:
    """Refuse labels that a model cannot be fitted on with this many folds.

    Parameters
    ----------
    y : int ndarray of shape (n_wafers,)
        1 for faulty and 0 for passed.
    folds : int
        Of the cross-fitting.

    Raises
    ------
    WrongLabels
        If a label is neither 0 nor 1.
    NoFaults
        If no wafer is faulty.
    TooFewFaults
        If there are fewer than two faulty, or two passed, wafers per fold.
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


def folds_for(y: Labels, asked: int) -> int:
    """Return how many folds the faulty and the passed wafers allow: two of each kind in every fold.

    Parameters
    ----------
    y : int ndarray of shape (n_wafers,)
        1 for faulty and 0 for passed.
    asked : int
        Folds of the cross-fitting that are wanted.

    Returns
    -------
    int
        At least `FEWEST_FOLDS`, at most `asked`.

    Raises
    ------
    WrongLabels, NoFaults, TooFewFaults
        See `check_faults`, with `FEWEST_FOLDS` folds.
    """
    check_faults(y, FEWEST_FOLDS)
    return _folds_allowed(y, asked)


def _folds_allowed(y: Labels, asked: int) -> int:
    faults = int(np.sum(y))
    return max(FEWEST_FOLDS, min(asked, min(faults, len(y) - faults) // 2))


def fit_preprocessor(X: pd.DataFrame, config: ModelConfig) -> Preprocessor:
    """Fit the preprocessing; its `transform` makes the features.

    Parameters
    ----------
    X : DataFrame of shape (n_wafers, n_sensors)
        Readings, NaN where missing.
    config : ModelConfig
        Hyperparameters.

    Returns
    -------
    Preprocessor
        Fitted.

    Raises
    ------
    WrongSensors
        If `X` is not a table of named sensors with finite numbers or NaN.
    NothingVaries
        If no sensor is left to learn from.
    """
    fitted = Preprocessor(max_missing=config.max_missing, min_missing=config.min_missing, clip=config.clip).fit(X)
    if not len(fitted.sensors_):
        raise NothingVaries(
            f"Each of the {X.shape[1]} sensors is constant, or missing on more than {config.max_missing:.0%} of the "
            f"{len(X)} wafers, so there is nothing to learn from. Add labelled batches whose readings differ."
        )
    return fitted


def find_elbow(features: pd.DataFrame, config: ModelConfig) -> Elbow:
    """Choose the number of clusters.

    Parameters
    ----------
    features : DataFrame of shape (n_wafers, n_features)
        As `Preprocessor` makes them.
    config : ModelConfig
        Hyperparameters; its `k` is not looked at.

    Returns
    -------
    Elbow
        With the number chosen.
    """
    return elbow(
        features,
        k_max=config.k_max,
        sensitivity=config.knee_sensitivity,
        fallback=config.k_fallback,
        n_components=config.n_components,
        seed=config.seed,
    )


def fit_clusterer(features: pd.DataFrame, k: int, config: ModelConfig) -> Clusterer:
    """Fit the clusterer.

    Parameters
    ----------
    features : DataFrame of shape (n_wafers, n_features)
        As `Preprocessor` makes them.
    k : int
        Number of clusters, from the config or the elbow.
    config : ModelConfig
        Hyperparameters.

    Returns
    -------
    Clusterer
        Fitted.
    """
    return Clusterer(k, n_components=config.n_components, seed=config.seed).fit(features)


def fit_members(features: pd.DataFrame, y: Labels, config: ModelConfig, n_jobs: int = 1) -> GroupModels:
    """Fit the global members on all wafers.

    Parameters
    ----------
    features : DataFrame of shape (n_wafers, n_features)
        As `Preprocessor` makes them.
    y : int ndarray of shape (n_wafers,)
        1 for faulty and 0 for passed.
    config : ModelConfig
        Hyperparameters.
    n_jobs : int
        Threads that fit learners side by side; the result does not depend on it.

    Returns
    -------
    GroupModels
        Of no cluster, with full weight.

    Raises
    ------
    WrongLabels, NoFaults, TooFewFaults
        See `folds_for`.
    """
    members, out_of_fold = _cross_fit(features.to_numpy(), y, folds_for(y, config.folds), config, n_jobs)
    return GroupModels(None, len(y), int(y.sum()), 1.0, members, out_of_fold)


def fit_cluster(
    features: pd.DataFrame, y: Labels, labels: Labels, cluster: int, config: ModelConfig, n_jobs: int = 1
) -> GroupModels:
    """Fit the members of one cluster.

    A cluster with fewer than two faulty (or passed) wafers in each of the folds that the global models have gets
    none: the global ones speak for it.

    Parameters
    ----------
    features : DataFrame of shape (n_wafers, n_features)
        Of all wafers, as `Preprocessor` makes them.
    y : int ndarray of shape (n_wafers,)
        1 for faulty and 0 for passed.
    labels : int ndarray of shape (n_wafers,)
        Each wafer's cluster.
    cluster : int
        The cluster to fit.
    config : ModelConfig
        Hyperparameters.
    n_jobs : int
        Threads that fit learners side by side; the result does not depend on it.

    Returns
    -------
    GroupModels
        Weighted faults / (faults + shrinkage), or 0 without members.
    """
    rows, folds = labels == cluster, _folds_allowed(y, config.folds)
    own = y[rows]
    faults = int(own.sum())
    if min(faults, len(own) - faults) < 2 * folds:
        return GroupModels(cluster, len(own), faults, 0.0, None, {})
    members, out_of_fold = _cross_fit(features.to_numpy()[rows], own, folds, config, n_jobs)
    return GroupModels(cluster, len(own), faults, faults / (faults + config.shrinkage), members, out_of_fold)


def member_scores(group: GroupModels, y: Labels) -> list[MemberScore]:
    """Score a group's members on the margins of left-out rows.

    Parameters
    ----------
    group : GroupModels
        From `fit_members` or `fit_cluster`.
    y : int ndarray of shape (group.n_wafers,)
        Labels of the group's rows, 1 for faulty and 0 for passed.

    Returns
    -------
    list of MemberScore
        One for each member; empty for a group without members.
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
    preprocessor : Preprocessor
        Fitted.
    clusterer : Clusterer
        Fitted.
    overall : GroupModels
        From `fit_members`.
    clusters : sequence of GroupModels
        From `fit_cluster`, one for each cluster, in order.
    labels : int ndarray of shape (n_wafers,)
        Each training wafer's cluster.
    y : int ndarray of shape (n_wafers,)
        1 for faulty and 0 for passed.
    config : ModelConfig
        Hyperparameters that the pieces were fitted with.

    Returns
    -------
    FaultModel
        Bit-identical to the one that `FaultModel.fit` makes of the same table.

    Raises
    ------
    FitError
        If `overall` has no members.
    """
    return FaultModel(config)._assemble(preprocessor, clusterer, overall, clusters, labels, y)


class FaultModel(ClassifierMixin, BaseEstimator):
    """Probability that a wafer is faulty, and whether to re-inspect it.

    The decision margin is a weighted sum of the members' margins, so that contributions of sensors stay
    additive: XGBoost and Random Forest, each the cluster's members shrunk towards the global ones, put on one
    scale by their out-of-fold standard deviation and calibrated by a logistic line [1]_.

    Parameters
    ----------
    config : ModelConfig, optional
        Hyperparameters; by default those of `ModelConfig`.
    n_jobs : int
        Threads that fit learners side by side; predictions do not depend on it.

    Attributes
    ----------
    classes_ : int ndarray of shape (2,)
        0 for passed and 1 for faulty.
    feature_names_in_ : ndarray of shape (n_sensors,)
        Names of the sensors.
    n_features_in_ : int
        Their number.
    preprocessor_ : Preprocessor
        From readings to features.
    clusterer_ : Clusterer
        From features to clusters.
    members_ : Members
        Fitted on all wafers.
    cluster_members_ : tuple of (Members or None)
        Fitted on each cluster; None for those with too few faulty, or passed, wafers.
    cluster_weights_ : float64 ndarray of shape (n_clusters,)
        Trust in the cluster's own members, in [0, 1].
    slopes_ : dict of str -> float
        Weight of each member's margin in the decision margin, in log-odds per unit.
    intercept_ : float
        Decision margin where all members' margins are 0, in log-odds.
    threshold_ : float
        Probability from which on a wafer raises an alarm.

    References
    ----------
    .. [1] Platt, J. C. (1999). "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized
       Likelihood Methods". Advances in Large Margin Classifiers, 61-74. MIT Press.
    """

    def __init__(self, config: ModelConfig | None = None, n_jobs: int = 1) -> None:
        self.config = config
        self.n_jobs = n_jobs

    def fit(self, X: pd.DataFrame, y: ArrayLike) -> Self:
        """Fit every step.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_sensors)
            Readings, NaN where missing.
        y : array_like of shape (n_wafers,)
            1 for faulty and 0 for passed.

        Returns
        -------
        Self
            The model itself.

        Raises
        ------
        WrongLabels
            If `y` is not one label for each wafer, 0 or 1.
        NoFaults, TooFewFaults
            See `folds_for`.
        NothingVaries
            See `fit_preprocessor`.
        WrongSensors
            If `X` is not a table of named sensors with finite numbers or NaN.
        """
        config = self.config or ModelConfig()
        faulty = np.asarray(y, dtype=np.int_)
        if faulty.shape != (len(X),):
            raise WrongLabels(f"Expected {len(X)} labels, one for each wafer, found shape {faulty.shape}.")
        folds_for(faulty, config.folds)  # refuses before the long part
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
        """Return the calibrated log-odds of a fault.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_sensors)
            Readings of the sensors of `fit`, in any order; NaN where missing.

        Returns
        -------
        float64 ndarray of shape (n_wafers,)
            The same bits for a wafer whatever others come with it.

        Raises
        ------
        WrongSensors
            If the sensors are not those of `fit`.
        """
        check_is_fitted(self)
        features = self.preprocessor_.transform(X)
        return self.margins(features, self.clusterer_.predict(features))

    def margins(self, features: pd.DataFrame, labels: Labels) -> Margins:
        """Return the calibrated log-odds of preprocessed wafers whose clusters are known.

        Parameters
        ----------
        features : DataFrame of shape (n_wafers, n_features)
            As `preprocessor_` makes them.
        labels : int ndarray of shape (n_wafers,)
            Each wafer's cluster, as `clusterer_` finds it.

        Returns
        -------
        float64 ndarray of shape (n_wafers,)
            As of `decision_function`.
        """
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
        """Return the probabilities of passed and faulty.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_sensors)
            Readings of the sensors of `fit`, in any order; NaN where missing.

        Returns
        -------
        float64 ndarray of shape (n_wafers, 2)
            In the order of `classes_`.

        Raises
        ------
        WrongSensors
            If the sensors are not those of `fit`.
        """
        faulty = expit(self.decision_function(X))
        return np.column_stack([1 - faulty, faulty])

    def predict(self, X: pd.DataFrame) -> Labels:
        """Say which wafers raise an alarm under the policy.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_sensors)
            Readings of the sensors of `fit`, in any order; NaN where missing.

        Returns
        -------
        int ndarray of shape (n_wafers,)
            1 for an alarm, 0 for none.

        Raises
        ------
        WrongSensors
            If the sensors are not those of `fit`.
        """
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
    probabilities : float64 ndarray of shape (n_wafers,)
        Of the training wafers, out of fold.
    config : ModelConfig
        With the policy: a cost ratio or an inspection capacity.

    Returns
    -------
    float
        For a cost ratio r the probability 1 / (1 + r), where alarm and no alarm cost the same on average [1]_;
        otherwise the quantile of `probabilities` above which the inspection capacity lies.

    References
    ----------
    .. [1] Elkan, C. (2001). "The Foundations of Cost-Sensitive Learning". 17th International Joint Conference on
       Artificial Intelligence, 973-978.
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
    features: NDArray[np.float32], y: Labels, n_folds: int, config: ModelConfig, n_jobs: int
) -> tuple[Members, dict[MemberName, Margins]]:
    """Fit every member once without each fold, and keep the margins of the rows left out."""
    folds = list(StratifiedKFold(n_folds, shuffle=True, random_state=config.seed).split(y, y))

    def fit_fold(fold: int) -> dict[MemberName, Learner]:
        rows = folds[fold][0]
        strength = f_scores(features, y, rows)
        columns = np.sort(np.argsort(-strength, kind="stable")[: config.n_sensors])
        inputs, targets = features[np.ix_(rows, columns)], y[rows]
        return {name: LEARNERS[name](inputs, targets, columns, config, config.seed + fold) for name in MEMBERS}

    # Threads: the learners release the interpreter, and the features are not copied.
    fitted: list[dict[MemberName, Learner]] = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(fit_fold)(fold) for fold in range(n_folds)
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

    Parameters
    ----------
    features : float32 ndarray of shape (n_wafers, n_features)
        As `Preprocessor` makes them.
    y : int ndarray of shape (n_wafers,)
        1 for faulty and 0 for passed.
    rows : int ndarray of shape (n_rows,)
        Positions of the wafers to look at.

    Returns
    -------
    float64 ndarray of shape (n_features,)
        The larger, the better.
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
    # Class weights make the bootstrap draw both classes equally often.
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

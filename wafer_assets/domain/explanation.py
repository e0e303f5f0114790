"""Which sensors drove a decision: exact Shapley contributions to the log-odds of a fault.

The decision margin is a weighted sum of trees, so its contributions are that sum of the trees' own. The value
of a tree for a set of known features is the mean of its leaves, weighted at every split on an unknown feature
by the shares of training wafers on its two sides (path-dependent TreeSHAP [1]_). A leaf then is a game of its
own: worth its value times, for every feature that its path asks for, 1 or 0 by the wafer's reading, or the
path's share where the feature is unknown. So a wafer's contributions depend on nothing but which of a leaf's few
features agree with it. They are computed once for each such pattern, and looked up.

Belongs here: figures. What they look like on a page is `report`.

References
----------
.. [1] Lundberg, S. M. et al. (2020). "From local explanations to global understanding with explainable AI for
   trees". Nature Machine Intelligence 2, 56-67.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from wafer_assets.domain.preprocessing import INDICATOR_SUFFIX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wafer_assets.domain.training import BoostedTrees, FaultModel, Forest, Learner, MemberName, Members

    Floats = NDArray[np.float64]

_WAFERS_AT_ONCE = 128  # what is looked up for them stays in the processor's cache


@dataclass(frozen=True, slots=True)
class Contributions:
    """What moved each wafer's decision margin, in log-odds.

    Attributes
    ----------
    base : float64 ndarray of shape (n_wafers,)
        The margin expected of a wafer of which nothing is known.
    values : float64 ndarray of shape (n_wafers, n_sensors)
        What each of `Explainer.sensors` adds to it; base and values add up to the margin.
    """

    base: Floats
    values: Floats


class Explainer:
    """Contributions of sensors to the decision margin of a fitted model.

    A sensor's contribution is that of its reading and that of its absence together.

    Parameters
    ----------
    model : FaultModel
        Fitted.

    Attributes
    ----------
    sensors : ndarray of shape (n_sensors,)
        Names of the sensors that any tree asks for; all others add nothing.
    positions : int ndarray of shape (n_sensors,)
        Their places among the model's sensors.
    """

    def __init__(self, model: FaultModel) -> None:
        names = [str(name) for name in model.preprocessor_.get_feature_names_out()]
        sensor_of = [name.removesuffix(INDICATOR_SUFFIX) for name in names]
        groups: dict[int | None, Members] = {
            cluster: members
            for cluster, members in ((None, model.members_), *enumerate(model.cluster_members_))
            if members is not None
        }
        leaves_of = {group: _weighted_leaves(members, model.slopes_) for group, members in groups.items()}
        asked = {feature for leaves in leaves_of.values() for leaf in leaves for feature in leaf.conditions}
        place = {sensor: number for number, sensor in enumerate(dict.fromkeys(sensor_of[i] for i in sorted(asked)))}
        sensor_places = np.array([place.get(sensor, 0) for sensor in sensor_of], dtype=np.intp)
        position_of = {name: position for position, name in enumerate(model.feature_names_in_)}
        self.sensors = np.array(list(place), dtype=object)
        self.positions = np.array([position_of[name] for name in place], dtype=np.intp)
        ensembles = {
            group: _Ensemble(leaves_of[group], _start(members, model.slopes_), sensor_places, len(place))
            for group, members in groups.items()
        }
        self._overall = ensembles.pop(None)
        self._of_cluster = ensembles
        self._intercept = model.intercept_
        self._weights = model.cluster_weights_

    def explain(self, features: NDArray[np.float32], labels: NDArray[np.intp]) -> Contributions:
        """Return the contributions to the margins of preprocessed wafers.

        Parameters
        ----------
        features : float32 ndarray of shape (n_wafers, n_features)
            As `Preprocessor` makes them.
        labels : int ndarray of shape (n_wafers,)
            Each wafer's cluster.

        Returns
        -------
        Contributions
            Exact to rounding; the same bits for a wafer whatever others come with it.
        """
        base = np.full(len(features), self._intercept + self._overall.expected)
        values = self._overall.contributions(features)
        for cluster, own in self._of_cluster.items():
            rows = np.flatnonzero(labels == cluster)
            if not rows.size:
                continue
            weight = self._weights[cluster]
            base[rows] += weight * (own.expected - self._overall.expected)
            values[rows] += weight * (own.contributions(features[rows]) - values[rows])
        return Contributions(base, values)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf of a tree: the interval of every feature that its path asks for, and what it adds to the margin.

    Attributes
    ----------
    conditions : mapping of int -> tuple
        Feature -> lowest value, value no longer reached, share of training wafers that agree.
    value : float
        Contribution to the decision margin of a wafer that agrees with all, in log-odds.
    """

    conditions: Mapping[int, tuple[np.float32, np.float32, float]]
    value: float


@dataclass(frozen=True, slots=True)
class _Leaves:
    """Leaves that ask for equally many features, as arrays.

    Attributes
    ----------
    columns : int ndarray of shape (n_asked, n_leaves)
        Positions of the features among those in use.
    low, high : float32 ndarray of shape (n_asked, n_leaves)
        The interval that agrees, `high` excluded.
    offset : int ndarray of shape (n_leaves, 1)
        Where the leaf's patterns start.
    table : float64 ndarray of shape (n_asked, n_leaves * 2 ** n_asked)
        Contributions by pattern of agreement.
    to_sensors : csr_array of shape (n_sensors, n_asked * n_leaves)
        Adds leaves up by sensor.
    """

    columns: NDArray[np.intp]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    offset: NDArray[np.intp]
    table: Floats
    to_sensors: csr_array

    def contributions(self, features: NDArray[np.float32]) -> Floats:
        """Return the sum over the leaves, shape (n_sensors, n_wafers), for features of shape (n_used, n_wafers)."""
        asked, leaves = self.columns.shape
        wafers = features.shape[1]
        index = np.repeat(self.offset, wafers, axis=1)
        for place in range(asked):
            values = features[self.columns[place]]
            agrees = (values >= self.low[place, :, None]) & (values < self.high[place, :, None])
            index += agrees.astype(np.intp) << place
        looked_up = np.take(self.table, index, axis=1).reshape(asked * leaves, wafers)
        summed: Floats = self.to_sensors @ looked_up
        return summed


class _Ensemble:
    """All trees that decide together: those of all wafers, or those of a cluster."""

    def __init__(self, leaves: list[_Leaf], start: float, sensor_places: NDArray[np.intp], n_sensors: int) -> None:
        self.expected = start + sum(
            leaf.value * float(np.prod([share for _, _, share in leaf.conditions.values()])) for leaf in leaves
        )
        self._used = np.array(sorted({feature for leaf in leaves for feature in leaf.conditions}), dtype=np.intp)
        self._n_sensors = n_sensors
        by_asked = sorted(leaves, key=lambda leaf: len(leaf.conditions))
        self._groups = [
            _as_arrays(list(group), asked, self._used, sensor_places, n_sensors)
            for asked, group in groupby(by_asked, key=lambda leaf: len(leaf.conditions))
            if asked
        ]

    def contributions(self, features: NDArray[np.float32]) -> Floats:
        """Return the contributions of sensors, shape (n_wafers, n_sensors)."""
        contributions = np.zeros((len(features), self._n_sensors))
        for start in range(0, len(features), _WAFERS_AT_ONCE):
            rows = slice(start, start + _WAFERS_AT_ONCE)
            values = np.ascontiguousarray(features[rows, self._used].T)
            for group in self._groups:
                contributions[rows] += group.contributions(values).T
        return contributions


def _as_arrays(
    leaves: list[_Leaf], asked: int, used: NDArray[np.intp], sensor_places: NDArray[np.intp], n_sensors: int
) -> _Leaves:
    conditions = [sorted(leaf.conditions.items()) for leaf in leaves]
    columns = np.searchsorted(used, [[feature for feature, _ in leaf] for leaf in conditions]).T
    low, high, share = (
        np.array([[condition[part] for _, condition in leaf] for leaf in conditions]).T for part in range(3)
    )
    values = np.array([leaf.value for leaf in leaves])
    places = np.arange(asked * len(leaves))
    return _Leaves(
        columns=np.ascontiguousarray(columns, dtype=np.intp),
        low=np.ascontiguousarray(low, dtype=np.float32),
        high=np.ascontiguousarray(high, dtype=np.float32),
        offset=np.arange(len(leaves), dtype=np.intp)[:, None] << asked,
        table=_shapley_values(share, values),
        to_sensors=csr_array(
            (np.ones(len(places)), (sensor_places[used[columns.ravel()]], places)), shape=(n_sensors, len(places))
        ),
    )


def _shapley_values(share: Floats, values: Floats) -> Floats:
    """Return what each asked feature contributes to each leaf, for every pattern of agreement.

    The Shapley value of a product game is an integral over the chance that a feature is known (the multilinear
    extension [1]_), here of a polynomial, which Gauss-Legendre quadrature integrates exactly.

    Parameters
    ----------
    share : float64 ndarray of shape (n_asked, n_leaves)
        Of training wafers that agree.
    values : float64 ndarray of shape (n_leaves,)
        What each leaf adds to the margin.

    Returns
    -------
    float64 ndarray of shape (n_asked, n_leaves * 2 ** n_asked)

    References
    ----------
    .. [1] Owen, G. (1972). "Multilinear Extensions of Games". Management Science 18(5), 64-79.
    """
    asked, leaves = share.shape
    agrees = (np.arange(2**asked) >> np.arange(asked)[:, None] & 1).astype(np.float64)[:, None, :]
    nodes, weights = np.polynomial.legendre.leggauss((asked + 1) // 2)
    contributions = np.zeros((asked, leaves, 2**asked))
    for known, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        factors = known * agrees + (1 - known) * share[:, :, None]
        contributions += weight * factors.prod(axis=0) / factors
    contributions *= (agrees - share[:, :, None]) * values[:, None]
    return contributions.reshape(asked, -1)


def _weighted_leaves(members: Members, slopes: Mapping[MemberName, float]) -> list[_Leaf]:
    """Return the leaves of all trees of the members, worth what they add to the decision margin."""
    return [
        leaf
        for name, learners in members.learners.items()
        for learner in learners
        for tree in _trees(learner)
        for leaf in tree.leaves(learner.columns, slopes[name] / len(learners))
    ]


def _start(members: Members, slopes: Mapping[MemberName, float]) -> float:
    """Return what the members' margins are before the first tree, in the decision margin: XGBoost's base scores."""
    from wafer_assets.domain.training import BoostedTrees

    starts = [learner.start for learner in members.learners["xgboost"] if isinstance(learner, BoostedTrees)]
    return slopes["xgboost"] * float(np.mean(starts))


def _trees(learner: Learner) -> Iterator[_Tree]:
    from wafer_assets.domain.training import BoostedTrees, Forest

    if isinstance(learner, Forest):
        return _forest_trees(learner)
    if isinstance(learner, BoostedTrees):
        return _boosted_trees(learner)
    raise TypeError(f"Nobody knows the trees of a {type(learner).__name__}: add them here.")


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree as arrays by node: a reading below the split goes left; leaves have no children (-1)."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    feature: NDArray[np.intp]
    split: NDArray[np.float32]
    cover: Floats
    value: Floats

    def leaves(self, columns: NDArray[np.intp], weight: float) -> Iterator[_Leaf]:
        everything = (np.float32(-np.inf), np.float32(np.inf), 1.0)
        waiting: list[tuple[int, dict[int, tuple[np.float32, np.float32, float]]]] = [(0, {})]
        while waiting:
            node, conditions = waiting.pop()
            if self.left[node] < 0:
                yield _Leaf(conditions, weight * float(self.value[node]))
                continue
            feature, split = int(columns[self.feature[node]]), self.split[node]
            low, high, share = conditions.get(feature, everything)
            for child, interval in (
                (self.left[node], (low, min(high, split))),
                (self.right[node], (max(low, split), high)),
            ):
                agreeing = share * float(self.cover[child] / self.cover[node])
                waiting.append((int(child), {**conditions, feature: (*interval, agreeing)}))


def _forest_trees(learner: Forest) -> Iterator[_Tree]:
    trees = learner.forest.estimators_
    for estimator in trees:
        tree = estimator.tree_
        # scikit-learn goes left up to and including a double; the next larger float is the first that does not.
        split = tree.threshold.astype(np.float32)
        split = np.where(split > tree.threshold, np.nextafter(split, np.float32(-np.inf)), split)
        yield _Tree(
            left=tree.children_left,
            right=tree.children_right,
            feature=tree.feature,
            split=np.nextafter(split, np.float32(np.inf)),
            cover=tree.weighted_n_node_samples,
            value=4 * (tree.value[:, 0, 1] - 0.5) / len(trees),
        )


def _boosted_trees(learner: BoostedTrees) -> Iterator[_Tree]:
    from wafer_assets.domain.training import booster_json

    for tree in booster_json(learner.booster)["gradient_booster"]["model"]["trees"]:
        values = np.array(tree["split_conditions"], dtype=np.float32)  # of leaves: what they add
        yield _Tree(
            left=np.array(tree["left_children"], dtype=np.intp),
            right=np.array(tree["right_children"], dtype=np.intp),
            feature=np.array(tree["split_indices"], dtype=np.intp),
            split=values,
            cover=np.array(tree["sum_hessian"], dtype=np.float64),
            value=values.astype(np.float64),
        )

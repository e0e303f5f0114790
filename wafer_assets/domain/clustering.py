"""Groups of wafers that look alike: the elbow that chooses how many, and the clusterer that finds them.

Belongs here: what looks at features alone. Which model speaks for a cluster is `training`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from wafer_assets.domain.preprocessing import INDICATOR_SUFFIX, select_columns

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd
    from numpy.typing import NDArray

# Ten directions and a few centres need no more wafers than this; larger tables are sampled.
MAX_ROWS = 20_000
ROWS_AT_ONCE = 512
# Fewer wafers per cluster than this, and inertia falls because centres sit on wafers, whatever the groups.
WAFERS_PER_CLUSTER = 10


@dataclass(frozen=True, slots=True)
class Elbow:
    """How the spread within clusters falls with their number.

    Attributes
    ----------
    ks : tuple of int
        Numbers of clusters tried, from 1.
    inertias : tuple of float
        Sum of squared distances to the nearest centre for each of them, in squared standard deviations.
    k : int
        The number chosen.
    is_knee : bool
        Whether `k` is where the curve bends; otherwise there is no bend and `k` is the fallback.
    """

    ks: tuple[int, ...]
    inertias: tuple[float, ...]
    k: int
    is_knee: bool


def elbow(
    features: pd.DataFrame,
    *,
    k_max: int = 10,
    sensitivity: float = 3.0,
    fallback: int = 2,
    n_components: int = 10,
    seed: int = 0,
) -> Elbow:
    """Choose the number of clusters where the inertia curve bends, found by Kneedle [1]_.

    Parameters
    ----------
    features : DataFrame of shape (n_wafers, n_features)
        As `Preprocessor` makes them.
    k_max : int
        Largest number of clusters tried, unless that leaves fewer than `WAFERS_PER_CLUSTER` wafers for each.
    sensitivity : float
        Kneedle's S. At 1 every smooth curve has a bend; at 3 only the number of real groups is one.
    fallback : int
        Number of clusters when the curve has no bend.
    n_components : int
        Principal components that the distances are measured on.
    seed : int
        Of the sample, where the table is large, and of KMeans.

    Returns
    -------
    Elbow
        With the number chosen, at most that of distinct wafers.

    References
    ----------
    .. [1] Satopää, V., Albrecht, J., Irwin, D. and Raghavan, B. (2011). "Finding a 'Kneedle' in a Haystack:
       Detecting Knee Points in System Behavior". 31st International Conference on Distributed Computing Systems
       Workshops, 166-171.
    """
    from kneed import KneeLocator

    sample = _sample(features, seed)
    distinct = _distinct(sample)
    ks = tuple(range(1, max(1, min(k_max, len(sample) // WAFERS_PER_CLUSTER, distinct)) + 1))
    with threadpool_limits(limits=1):
        coordinates = _pca(sample, n_components).transform(sample)
        inertias = tuple(float(KMeans(k, n_init=3, random_state=seed).fit(coordinates).inertia_) for k in ks)
    knee = None
    if len(ks) > 2:
        knee = KneeLocator(ks, inertias, S=sensitivity, curve="convex", direction="decreasing").knee
    if knee is None or knee < 2:
        return Elbow(ks, inertias, min(fallback, distinct), is_knee=False)
    return Elbow(ks, inertias, int(knee), is_knee=True)


class Clusterer(ClusterMixin, BaseEstimator):
    """KMeans on the first principal components of the sensors (indicators of missing readings stay out).

    Clusters are numbered by size, the largest first, so that numbers do not depend on the seed alone.

    Parameters
    ----------
    n_clusters : int
        Number of clusters; a table with fewer distinct wafers has one for each.
    n_components : int
        Principal components that the distances are measured on.
    seed : int
        Of the sample, where the table is large, and of KMeans.

    Attributes
    ----------
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features.
    n_features_in_ : int
        Their number.
    components_ : float32 ndarray of shape (n_components, n_sensors)
        Principal components, a row each.
    mean_ : float32 ndarray of shape (n_sensors,)
        Mean of each sensor's feature.
    centers_ : float32 ndarray of shape (n_clusters, n_components)
        The clusters' centres on the components.
    explained_ : float
        Share of the sensors' variance that the components hold.
    """

    def __init__(self, n_clusters: int = 2, n_components: int = 10, seed: int = 0) -> None:
        self.n_clusters = n_clusters
        self.n_components = n_components
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Find the components and the clusters' centres.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_features)
            As `Preprocessor` makes them.
        y : object
            Ignored.

        Returns
        -------
        Self
            The clusterer itself.
        """
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        sample = _sample(X, self.seed)
        with threadpool_limits(limits=1):
            pca = _pca(sample, self.n_components)
            kmeans = KMeans(min(self.n_clusters, _distinct(sample)), n_init=3, random_state=self.seed)
            labels = kmeans.fit_predict(pca.transform(sample))
        by_size = np.argsort(-np.bincount(labels, minlength=kmeans.n_clusters), kind="stable")
        self.components_ = pca.components_.astype(np.float32)
        self.mean_ = pca.mean_.astype(np.float32)
        self.centers_ = kmeans.cluster_centers_[by_size].astype(np.float32)
        # Wafers that are all the same have no variance to explain.
        self.explained_ = float(np.nan_to_num(pca.explained_variance_ratio_).sum())
        return self

    def coordinates(self, X: pd.DataFrame) -> NDArray[np.float32]:
        """Place wafers on the principal components.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_features)
            With the features of `fit`, in any order.

        Returns
        -------
        float32 ndarray of shape (n_wafers, n_components)
            In standard deviations; the same bits for a wafer whatever others come with it.

        Raises
        ------
        WrongSensors
            If the features are not those of `fit`.
        """
        check_is_fitted(self)
        # The sensors' columns come before the indicators.
        features = select_columns(X, self.feature_names_in_).to_numpy(dtype=np.float32)
        sensors = features[:, : self.components_.shape[1]]
        coordinates = np.empty((len(sensors), len(self.components_)), dtype=np.float32)
        # Wafer by wafer: a product of matrices rounds by how many wafers there are, and so might a cluster.
        for start in range(0, len(sensors), ROWS_AT_ONCE):
            block = np.ascontiguousarray(sensors[start : start + ROWS_AT_ONCE]) - self.mean_
            for number, component in enumerate(self.components_):
                coordinates[start : start + len(block), number] = (block * component).sum(axis=1)
        return coordinates

    def predict(self, X: pd.DataFrame) -> NDArray[np.intp]:
        """Return each wafer's cluster, that of the nearest centre.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_features)
            With the features of `fit`, in any order.

        Returns
        -------
        int ndarray of shape (n_wafers,)
            Numbers of clusters, from 0.

        Raises
        ------
        WrongSensors
            If the features are not those of `fit`.
        """
        return self.nearest(self.coordinates(X))

    def nearest(self, coordinates: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the cluster of each place that `coordinates` gave.

        Parameters
        ----------
        coordinates : float32 ndarray of shape (n_wafers, n_components)
            Places on the principal components.

        Returns
        -------
        int ndarray of shape (n_wafers,)
            Numbers of clusters, from 0.
        """
        distances = coordinates[:, None, :] - self.centers_
        nearest: NDArray[np.intp] = (distances**2).sum(axis=2).argmin(axis=1)
        return nearest


def plane(coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return places on the first two principal components, to be drawn.

    Parameters
    ----------
    coordinates : float32 ndarray of shape (n_wafers, n_components)
        Places on the principal components.

    Returns
    -------
    float32 ndarray of shape (n_wafers, 2)
        With zeros as the second of one component.
    """
    if coordinates.shape[1] > 1:
        return coordinates[:, :2]
    return np.hstack([coordinates, np.zeros_like(coordinates)])


def _sensors(features: pd.DataFrame) -> NDArray[np.float32]:
    """Return the sensors' columns; they come before the indicators, so this is a view."""
    n_sensors = sum(not str(name).endswith(INDICATOR_SUFFIX) for name in features.columns)
    return features.to_numpy(dtype=np.float32)[:, :n_sensors]


def _sample(features: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    values = _sensors(features)
    if len(values) > MAX_ROWS:
        values = values[np.sort(np.random.default_rng(seed).choice(len(values), MAX_ROWS, replace=False))]
    return values.astype(np.float64)


def _distinct(sample: NDArray[np.float64]) -> int:
    return len({row.tobytes() for row in sample})


@np.errstate(invalid="ignore")
def _pca(sample: NDArray[np.float64], n_components: int) -> PCA:
    fitted_on = sample if len(sample) > 1 else np.repeat(sample, 2, axis=0)  # one wafer has no variance
    return PCA(min(n_components, *sample.shape), svd_solver="covariance_eigh").fit(fitted_on)

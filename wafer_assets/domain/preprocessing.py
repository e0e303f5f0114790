"""Sensor readings to features: what belongs here looks at readings only, never at labels.

Selecting sensors by label is part of fitting a learner (`training`), so that it happens inside every fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from numpy.typing import NDArray

INDICATOR_SUFFIX = " missing"
ROWS_AT_ONCE = 512  # so that a table of 150,000 wafers is never copied whole


class WrongSensors(ValueError):
    """The table's sensor columns are not the ones the estimator knows."""

    code = "wrong_sensors"


class Preprocessor(TransformerMixin, BaseEstimator):
    """Drop, impute, standardise and winsorise sensors, and tell where readings were missing.

    Sensors that are constant or mostly missing are dropped. The others get the training median for missing
    readings, are standardised and clipped, so that one broken reading moves neither a cluster nor a line.
    Sensors with readings missing now and then get an indicator feature; sensors that are missing on the same
    wafers share one.

    Parameters
    ----------
    max_missing : float
        A sensor with a larger share of missing readings is dropped (its indicator may stay).
    min_missing : float
        A sensor gets an indicator when the share of missing readings lies in [min_missing, 1 - min_missing].
    clip : float
        Standardised readings beyond +-clip standard deviations are set to that bound.

    Attributes
    ----------
    feature_names_in_ : ndarray of shape (n_sensors,)
        Names of the sensors.
    n_features_in_ : int
        Their number.
    sensors_ : int ndarray of shape (n_kept,)
        Positions of the kept sensors.
    medians_, means_, scales_ : float64 ndarray of shape (n_kept,)
        Of the training readings in the sensors' own units, missing ones filled in.
    indicators_ : int ndarray of shape (n_indicators,)
        Positions of the sensors whose absence is a feature.
    shares_ : float64 ndarray of shape (n_indicators,)
        Their share of missing readings.
    """

    def __init__(self, max_missing: float = 0.5, min_missing: float = 0.01, clip: float = 5.0) -> None:
        self.max_missing = max_missing
        self.min_missing = min_missing
        self.clip = clip

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Learn medians, scales and indicators.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_sensors)
            Readings, NaN where missing.
        y : object
            Ignored.

        Returns
        -------
        Self
            The preprocessor itself.

        Raises
        ------
        WrongSensors
            If `X` is not a table of named sensors with finite numbers or NaN.
        """
        readings = _readings(select_columns(X, dict.fromkeys(getattr(X, "columns", ()))))
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = readings.shape[1]
        kept: list[tuple[int, float, float, float]] = []
        indicators: dict[bytes, tuple[int, float]] = {}
        # Column by column: a table of 150,000 wafers is never copied whole.
        for position, column in enumerate(_columns(readings)):
            missing = np.isnan(column)
            share = float(missing.mean())
            if self.min_missing <= share <= 1 - self.min_missing:
                indicators.setdefault(np.packbits(missing).tobytes(), (position, share))
            seen = column[~missing]
            if share > self.max_missing or seen.min() == seen.max():
                continue
            median = float(np.median(seen))
            filled = np.where(missing, median, column)
            scale = float(filled.std())
            if scale > 0:  # readings that differ by less than a double can square do not
                kept.append((position, median, float(filled.mean()), scale))
        columns = np.array(kept, dtype=np.float64).reshape(-1, 4).T
        self.sensors_ = columns[0].astype(np.intp)
        self.medians_, self.means_, self.scales_ = columns[1], columns[2], columns[3]
        self.indicators_ = np.array([position for position, _ in indicators.values()], dtype=np.intp)
        self.shares_ = np.array([share for _, share in indicators.values()], dtype=np.float64)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Turn readings into features.

        Parameters
        ----------
        X : DataFrame of shape (n_wafers, n_sensors)
            Readings of the sensors of `fit`, in any order; NaN where missing.

        Returns
        -------
        float32 DataFrame of shape (n_wafers, n_features)
            In standard deviations, with the index of `X`.

        Raises
        ------
        WrongSensors
            When a sensor is missing, unknown or not numeric.
        """
        check_is_fitted(self)
        readings = _readings(select_columns(X, self.feature_names_in_))
        kept = len(self.sensors_)
        deviation = np.sqrt(self.shares_ * (1 - self.shares_))
        # Sensor after sensor in memory: learners take few columns of many.
        features = np.empty((len(X), kept + len(self.indicators_)), dtype=np.float32, order="F")
        for start in range(0, len(X), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            sensors = readings[rows, self.sensors_]
            filled = np.where(np.isnan(sensors), self.medians_, sensors)
            features[rows, :kept] = (filled - self.means_) / self.scales_
            features[rows, kept:] = (np.isnan(readings[rows, self.indicators_]) - self.shares_) / deviation
        np.clip(features, -self.clip, self.clip, out=features)
        return pd.DataFrame(features, index=X.index, columns=self.get_feature_names_out())

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:  # noqa: ARG002
        """Return the names of the features: the kept sensors, then `<sensor> missing` for each indicator."""
        check_is_fitted(self)
        names = self.feature_names_in_
        indicators = [f"{names[position]}{INDICATOR_SUFFIX}" for position in self.indicators_]
        return np.array([*names[self.sensors_], *indicators], dtype=object)


def select_columns(X: object, expected: Iterable[str]) -> pd.DataFrame:
    """Put the columns of a table in the expected order, refusing a table with any others.

    Parameters
    ----------
    X : object
        A DataFrame, if all is well.
    expected : iterable of str
        Names of the columns.

    Returns
    -------
    DataFrame of shape (n_rows, n_expected)
        `X` itself where its columns are in order.

    Raises
    ------
    WrongSensors
        If `X` is no DataFrame, or a column is missing, unknown or repeated.
    """
    if not isinstance(X, pd.DataFrame):
        raise WrongSensors(
            f"Expected a DataFrame with named columns, found {type(X).__name__}: pass the sensors by name."
        )
    known, given = list(expected), list(X.columns)
    if given == known:
        return X
    known_set, given_set = set(known), set(given)
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})"
        for kind, names in (
            ("missing", [name for name in known if name not in given_set]),
            ("unknown", [str(name) for name in given if name not in known_set]),
            ("repeated", X.columns[X.columns.duplicated()].astype(str).tolist()),
        )
        if names
    ]
    if problems:
        raise WrongSensors(
            f"The table's columns are not the model's: {'; '.join(problems)}. "
            f"Pass exactly the {len(known)} columns it was trained on."
        )
    return X[known]


def _readings(X: pd.DataFrame) -> NDArray[np.floating]:
    """Return the table's values without copying them, refusing what is no finite number or NaN."""
    text = [str(name) for name in X.select_dtypes(exclude=["number", "bool"]).columns]
    if text:
        raise WrongSensors(f"Not numeric: {', '.join(text[:5])}. Pass sensor readings only.")
    readings: NDArray[np.floating] = X.to_numpy()
    if not np.issubdtype(readings.dtype, np.floating):
        readings = readings.astype(np.float64)
    infinite = np.zeros(readings.shape[1], dtype=bool)
    for start in range(0, len(readings), ROWS_AT_ONCE):
        infinite |= np.isinf(readings[start : start + ROWS_AT_ONCE]).any(axis=0)
    if infinite.any():
        names = X.columns[infinite].astype(str).tolist()
        raise WrongSensors(f"Infinite readings in {', '.join(names[:5])}. Pass finite numbers or NaN.")
    return readings


def _columns(readings: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """Yield contiguous columns, copying a few at a time: a table may lie in memory row by row."""
    for start in range(0, readings.shape[1], 16):
        yield from np.ascontiguousarray(readings[:, start : start + 16].T)

"""The bundle, and what it says of wafers: probability, decision, and the evidence for it.

A batch, a request to the scoring server and a file on the command line all go through `score`, wafer by wafer
to the same bits, whatever comes with them. Nothing is fitted here but the ranges of healthy wafers, and nothing is
laid out for people: that is `report`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from wafer_assets.domain.clustering import plane
from wafer_assets.domain.explanation import Explainer
from wafer_assets.domain.preprocessing import WrongSensors, select_columns
from wafer_assets.domain.table import sensor_readings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wafer_assets.domain.training import FaultModel

    Floats = NDArray[np.float64]

DRIVERS = 5  # sensors named in a wafer's row
EVIDENCE = 10  # sensors described in a wafer's evidence
MAP_WAFERS = 1_500  # more points would hide each other
WAFERS_AT_ONCE = 1_024
# Scale a median absolute deviation, or a mean one, to the standard deviation of a normal distribution.
MEDIAN_TO_SD, MEAN_TO_SD = 1.4826, 1.2533


class ContractMismatch(ValueError):
    """The bundle was trained on files of another contract than the wafers to score."""

    code = "contract_mismatch"


@dataclass(frozen=True)
class HealthyRanges:
    """Where the readings of healthy wafers lie, by cluster and sensor.

    Attributes
    ----------
    median, scale, low, high : float64 ndarray of shape (n_clusters, n_sensors)
        Of the passed training wafers of the cluster, in the sensors' own units: median, robust standard
        deviation, and the 2.5th and 97.5th percentile; NaN where no healthy wafer has a reading. A scale of 0:
        all have the same.
    """

    median: Floats
    scale: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class TrainingMap:
    """A sample of training wafers on the first two principal components, every faulty one first.

    Attributes
    ----------
    x, y : float32 ndarray of shape (n_wafers,)
        Places on the components, in standard deviations.
    cluster : int ndarray of shape (n_wafers,)
        Each wafer's cluster.
    faulty : int ndarray of shape (n_wafers,)
        1 for faulty.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    cluster: NDArray[np.int_]
    faulty: NDArray[np.int_]


@dataclass(frozen=True)
class Bundle:
    """Everything prediction needs, fitted once.

    Attributes
    ----------
    model : FaultModel
        From readings to probabilities.
    healthy : HealthyRanges
        What readings are compared with.
    training_map : TrainingMap
        What a batch is placed among.
    contract_version : str
        Of the files it was trained on, as ``major.minor``.
    optional : tuple of str
        Sensors that a file may leave out or empty.
    card : mapping
        Plain JSON values that describe model, data and quality to people; see `report.model_card`.
    """

    model: FaultModel
    healthy: HealthyRanges
    training_map: TrainingMap
    contract_version: str
    optional: tuple[str, ...]
    card: Mapping[str, Any]

    @cached_property
    def explainer(self) -> Explainer:
        """What finds the contributions of sensors, made at the first use."""
        return Explainer(self.model)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "explainer"}

    def check_contract(self, contract_version: str, what: str) -> None:
        """Refuse wafers of another contract; minor versions fit each other.

        Parameters
        ----------
        contract_version : str
            Of the wafers, as ``major.minor``.
        what : str
            What holds the wafers, to begin the error's message with.

        Raises
        ------
        ContractMismatch
            If the major versions differ.
        """
        if self.contract_version.partition(".")[0] != contract_version.partition(".")[0]:
            raise ContractMismatch(
                f"{what} keeps contract {contract_version}, and the bundle was trained under contract "
                f"{self.contract_version}. Train on files of contract {contract_version} and promote that model."
            )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why each wafer got its probability: its strongest sensors, by absolute contribution to the log-odds.

    Attributes
    ----------
    base : float64 ndarray of shape (n_wafers,)
        Log-odds expected of a wafer of which nothing is known.
    sensors : ndarray of shape (n_wafers, n_strongest)
        Names.
    contribution : float64 ndarray of shape (n_wafers, n_strongest)
        Log-odds; `base`, these and `others` add up to the margin.
    others : float64 ndarray of shape (n_wafers,)
        Contributions of all other sensors together.
    value : float64 ndarray of shape (n_wafers, n_strongest)
        The readings in the sensors' own units; NaN where missing.
    median, low, high : float64 ndarray of shape (n_wafers, n_strongest)
        The range of healthy wafers of the cluster; see `HealthyRanges`.
    z : float64 ndarray of shape (n_wafers, n_strongest)
        Robust z-score of the reading in that range; NaN where missing or where all are the same.
    """

    base: Floats
    sensors: NDArray[np.object_]
    contribution: Floats
    others: Floats
    value: Floats
    median: Floats
    low: Floats
    high: Floats
    z: Floats

    def of(self, row: int) -> list[dict[str, Any]]:
        """Return one wafer's evidence as plain values.

        Parameters
        ----------
        row : int
            Position of the wafer.

        Returns
        -------
        list of dict
            Strongest sensor first: ``sensor``, ``contribution``, ``value``, ``median``, ``low``, ``high``, ``z``
            (None where undefined) and ``missing``.
        """
        names = ("contribution", "value", "median", "low", "high", "z")
        columns = {name: getattr(self, name)[row].tolist() for name in names}
        return [
            {
                "sensor": sensor,
                **{name: None if values[place] != values[place] else values[place] for name, values in columns.items()},
                "missing": columns["value"][place] != columns["value"][place],
            }
            for place, sensor in enumerate(self.sensors[row].tolist())
        ]


@dataclass(frozen=True, slots=True)
class Scores:
    """What the bundle says of wafers.

    Attributes
    ----------
    rows : DataFrame of shape (n_wafers, ...)
        ``wafer`` (where given), ``probability``, ``faulty`` (decision at the bundle's threshold), ``cluster``,
        ``decided_by`` ("cluster", or "global" where the cluster has no models of its own),
        ``bundle_version`` and ``drivers`` (the strongest sensors with their contributions).
    margin : float64 ndarray of shape (n_wafers,)
        Calibrated log-odds.
    coordinates : float32 ndarray of shape (n_wafers, 2)
        Places on the map of the training wafers.
    evidence : Evidence or None
        None where it was not asked for.
    """

    rows: pd.DataFrame
    margin: Floats
    coordinates: NDArray[np.float32]
    evidence: Evidence | None


def score(bundle: Bundle, wafers: pd.DataFrame, version: int, *, evidence: bool = True) -> Scores:
    """Score wafers with a fitted bundle.

    Parameters
    ----------
    bundle : Bundle
        The fitted bundle.
    wafers : DataFrame of shape (n_wafers, ...)
        Sensor readings, NaN where missing, and maybe ``wafer``.
    version : int
        Of the registered model.
    evidence : bool
        Whether to say why; without it there is no column ``drivers``.

    Returns
    -------
    Scores
        In the order of `wafers`; the same bits for a wafer whatever others come with it.

    Raises
    ------
    WrongSensors
        If a sensor is missing, unknown or not numeric.
    """
    readings = readings_of(bundle, wafers)
    model = bundle.model
    parts: list[tuple[NDArray[np.intp], Floats, NDArray[np.float32]]] = []
    explained: list[Evidence] = []
    # Block by block, so that features and contributions of 100,000 wafers are never held at once.
    for start in range(0, max(len(readings), 1), WAFERS_AT_ONCE):
        block = readings.iloc[start : start + WAFERS_AT_ONCE]
        features = model.preprocessor_.transform(block)
        places = model.clusterer_.coordinates(features)
        labels = model.clusterer_.nearest(places)
        margin = model.margins(features, labels)
        parts.append((labels, margin, plane(places)))
        if evidence:
            explained.append(_evidence(bundle, block, features.to_numpy(), labels, margin))
    labels, margin, coordinates = (np.concatenate(blocks) for blocks in zip(*parts, strict=True))
    reasons = _joined(explained) if evidence else None
    probability = expit(margin)
    own_models = np.array([members is not None for members in model.cluster_members_])
    rows = pd.DataFrame(
        {
            "probability": probability,
            "faulty": probability >= model.threshold_,
            "cluster": labels.astype(np.int64),
            "decided_by": np.where(own_models[labels], "cluster", "global"),
            "bundle_version": np.int64(version),
        }
    )
    if "wafer" in wafers:
        rows.insert(0, "wafer", wafers["wafer"].to_numpy(dtype=object))
    if reasons is not None:
        rows["drivers"] = _drivers(reasons)
    return Scores(rows, margin, coordinates, reasons)


def readings_of(bundle: Bundle, wafers: pd.DataFrame) -> pd.DataFrame:
    """Take the sensors of the bundle as numbers; optional ones that were left out are missing readings.

    Parameters
    ----------
    bundle : Bundle
        What knows its sensors.
    wafers : DataFrame of shape (n_wafers, ...)
        Sensor readings, NaN or None where missing, and maybe ``wafer``, ``batch`` and ``faulty``.

    Returns
    -------
    DataFrame of shape (n_wafers, n_sensors)
        In the order of the model's sensors.

    Raises
    ------
    WrongSensors
        If a sensor is missing, unknown or not numeric.
    """
    known = bundle.model.feature_names_in_
    readings = sensor_readings(wafers)
    left_out = set(bundle.optional).difference(readings.columns)
    if left_out:
        readings = readings.reindex(columns=[*readings.columns, *sorted(left_out)])
    readings = select_columns(readings, known)
    texts = readings.select_dtypes(exclude="number")
    if len(texts.columns):
        # A reading that is missing in every wafer comes as None; what else is no number is refused.
        filled = texts.columns[texts.notna().any()]
        if len(filled):
            example = texts[filled[0]].dropna().iloc[0]
            raise WrongSensors(
                f"{len(filled)} sensors are not numeric ({', '.join(map(str, filled[:5]))}): found {example!r}. "
                "Send numbers, and null for a missing reading."
            )
        readings = readings.astype(dict.fromkeys(texts.columns, "float64"))
    return readings


def make_bundle(
    model: FaultModel,
    table: pd.DataFrame,
    clusters: NDArray[np.int_],
    coordinates: NDArray[np.floating[Any]],
    *,
    contract_version: str,
    optional: Collection[str],
    card: Mapping[str, Any],
) -> Bundle:
    """Put a fitted model together with what explains it: healthy ranges and the map of the training wafers.

    Parameters
    ----------
    model : FaultModel
        Fitted.
    table : DataFrame of shape (n_wafers, ...)
        The wafer table the model was fitted on.
    clusters : int ndarray of shape (n_wafers,)
        Each wafer's cluster.
    coordinates : ndarray of shape (n_wafers, 2)
        Each wafer's place on the first two principal components.
    contract_version : str
        Of the files that the table was made of, as ``major.minor``.
    optional : collection of str
        Sensors that a file may leave out or empty.
    card : mapping
        Plain JSON values for people; see `report.model_card`.

    Returns
    -------
    Bundle
        Ready to be stored and to score.
    """
    faulty = table["faulty"].to_numpy(dtype=np.int_)
    return Bundle(
        model=model,
        healthy=healthy_ranges(sensor_readings(table), clusters, faulty == 1, len(model.clusterer_.centers_)),
        training_map=_training_map(coordinates, clusters, faulty, model.config.seed if model.config else 0),
        contract_version=contract_version,
        optional=tuple(optional),
        card=dict(card),
    )


def healthy_ranges(
    readings: pd.DataFrame, clusters: NDArray[np.int_], faulty: NDArray[np.bool_], n_clusters: int
) -> HealthyRanges:
    """Describe the readings of healthy wafers, by cluster and sensor, with robust standard deviations [1]_.

    Parameters
    ----------
    readings : DataFrame of shape (n_wafers, n_sensors)
        NaN where missing.
    clusters : int ndarray of shape (n_wafers,)
        Each wafer's cluster.
    faulty : bool ndarray of shape (n_wafers,)
        Whose readings are left out.
    n_clusters : int
        Number of clusters, those without a wafer included.

    Returns
    -------
    HealthyRanges
        NaN where a cluster has no healthy wafer with a reading.

    References
    ----------
    .. [1] Iglewicz, B. and Hoaglin, D. C. (1993). "How to Detect and Handle Outliers". ASQC Quality Press.
    """
    values = readings.to_numpy(dtype=np.float64)
    ranges = np.full((4, n_clusters, values.shape[1]), np.nan)
    for cluster in range(n_clusters):
        rows = np.flatnonzero((clusters == cluster) & ~faulty)
        for sensor in range(values.shape[1]):
            column = values[rows, sensor]
            column = column[~np.isnan(column)]
            if column.size:
                low, median, high = np.quantile(column, [0.025, 0.5, 0.975])
                deviation = np.abs(column - median)
                # Readings that are mostly the same have a median deviation of 0, and still spread.
                scale = MEDIAN_TO_SD * np.median(deviation) or MEAN_TO_SD * deviation.mean()
                ranges[:, cluster, sensor] = median, scale, low, high
    return HealthyRanges(*ranges)


def _training_map(
    coordinates: NDArray[np.floating[Any]], clusters: NDArray[np.int_], faulty: NDArray[np.int_], seed: int
) -> TrainingMap:
    drawn = np.random.default_rng(seed).permutation(len(faulty))
    kept = drawn[np.argsort(-faulty[drawn], kind="stable")][:MAP_WAFERS]
    places = np.asarray(coordinates[kept], dtype=np.float32)
    return TrainingMap(places[:, 0], places[:, 1], clusters[kept].astype(np.int_), faulty[kept])


def _evidence(
    bundle: Bundle,
    readings: pd.DataFrame,
    features: NDArray[np.float32],
    labels: NDArray[np.intp],
    margin: Floats,
) -> Evidence:
    explained = bundle.explainer.explain(features, labels)
    strongest = np.argsort(-np.abs(explained.values), axis=1, kind="stable")[:, :EVIDENCE]
    contribution = np.take_along_axis(explained.values, strongest, axis=1)
    positions = bundle.explainer.positions[strongest]
    values = np.take_along_axis(readings.to_numpy(dtype=np.float64), positions, axis=1)
    healthy, of_cluster = bundle.healthy, labels[:, None]
    median, scale = healthy.median[of_cluster, positions], healthy.scale[of_cluster, positions]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(scale > 0, (values - median) / scale, np.nan)
    return Evidence(
        base=explained.base,
        sensors=bundle.explainer.sensors[strongest],
        contribution=contribution,
        others=margin - explained.base - contribution.sum(axis=1),
        value=values,
        median=median,
        low=healthy.low[of_cluster, positions],
        high=healthy.high[of_cluster, positions],
        z=z,
    )


def _joined(parts: list[Evidence]) -> Evidence:
    if len(parts) == 1:
        return parts[0]
    return Evidence(*(np.concatenate([getattr(part, name) for part in parts]) for name in Evidence.__slots__))


def _drivers(evidence: Evidence) -> list[str]:
    return [
        "; ".join(f"{sensor} {value:+.3f}" for sensor, value in zip(sensors, values, strict=True))
        for sensors, values in zip(
            evidence.sensors[:, :DRIVERS].tolist(), evidence.contribution[:, :DRIVERS].tolist(), strict=True
        )
    ]

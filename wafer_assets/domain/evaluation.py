"""How good a fault model is, measured only on wafers it was not fitted on.

Belongs here: the three protocols that choose training and test wafers, the metrics with their intervals,
and the paired comparison of two models. What follows from a comparison is `promotion`. The model is any
scikit-learn classifier. Whatever it learns (imputation, clusters, calibration, alarm threshold) it learns
again in every fold, because all of it is refitted.

The folds follow the faults: as many as two faulty and two passed wafers in each allow, at most those asked for.
How many they were, and of how many faults, belongs to every figure: see `Evaluation.basis`.

What an interval means: a metric is computed on the pooled out-of-fold probabilities of each repeat and
averaged over the repeats. Its interval is the 2.5th to 97.5th percentile of that average when wafers are
drawn again with replacement, faulty and passed ones separately so that the share of faults stays, the same
draw for all repeats (stratified percentile bootstrap [1]_). In simulation it covers the truth in 91 to 95%
of cases with 89 faulty wafers and in 88 to 93% with 17. It says how much the figure depends on which wafers
were measured, not how much it depends on the wafers trained on, for which cross-validation has no unbiased
estimator [2]_; ``Estimate.spread`` shows the part that comes from the choice of folds.

References
----------
.. [1] Efron, B. and Tibshirani, R. J. (1993). "An Introduction to the Bootstrap", chapter 13. Chapman & Hall.
.. [2] Bengio, Y. and Grandvalet, Y. (2004). "No Unbiased Estimator of the Variance of K-Fold
   Cross-Validation". Journal of Machine Learning Research 5, 1089-1105.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from threading import Thread
from typing import Any, Protocol

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import RepeatedStratifiedKFold
from threadpoolctl import threadpool_limits

from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.training import FaultModel, NoFaults, TooFewFaults, check_faults

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

RESAMPLES = 2_000
CONFIDENCE = 0.95
TRAINING_SHARE = 0.7
REFIT_WINDOW = 300
REFIT_EVERY = 50
FEWEST_FAULTS = 6
"""Three folds of two faulty wafers each: the other two then hold the four that a model needs at least."""
TRUSTED_FAULTS = 20
"""With 17 faulty wafers a 95% interval covers the truth in 88% of cases only; see above."""
NEIGHBOURHOOD = 100
FALSE_ALARM_RATE = 0.10

PROTOCOLS: Mapping[str, str] = {
    "repeated_k_fold": "Stratified k-fold, repeated: wafers of all times are mixed, as if nothing drifted.",
    "time_split": "Trained on the first 70% of the wafers, tested on the last 30%, never refitted.",
    "rolling_refit": "Refitted every 50 wafers on the last 300, tested on the next 50, as a line runs it; fewer than "
    "350 wafers: every twelfth of the table on the last half.",
}


class Classifier(Protocol):
    """What is asked of a model: scikit-learn's contract, ``predict`` being at the model's own threshold."""

    classes_: NDArray[np.int_]

    def fit(self, X: pd.DataFrame, y: NDArray[np.int_]) -> Classifier: ...  # noqa: D102
    def predict(self, X: pd.DataFrame) -> NDArray[np.int_]: ...  # noqa: D102
    def predict_proba(self, X: pd.DataFrame) -> Floats: ...  # noqa: D102


Progress = Callable[[int, int], None]
"""Called in the caller's thread with the number of fits done and the number in all."""


def _entropy(share: float) -> float:
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is called, what it says, and what it is worth without any skill.

    Attributes
    ----------
    title : str
        Name for people.
    meaning : str
        What it says, in one sentence.
    higher_is_better : bool or None
        None where neither direction is better by itself.
    without_skill : callable
        Share of faulty wafers -> the value that a model which knows only that share is expected to reach; NaN
        where it depends on the policy.
    """

    title: str
    meaning: str
    higher_is_better: bool | None
    without_skill: Callable[[float], float]

    @property
    def direction(self) -> str:
        """Which values are better, in words."""
        return {True: "higher is better", False: "lower is better", None: "set by the policy"}[self.higher_is_better]


METRICS: Mapping[str, Metric] = {
    "auc": Metric(
        "AUC",
        "Chance that a faulty wafer gets a higher probability than a passed one; ties count half.",
        True,
        lambda _: 0.5,
    ),
    "average_precision": Metric(
        "Average precision",
        "Share of faults among the alarms, averaged over the recall levels.",
        True,
        lambda share: share,
    ),
    "balanced_error_rate": Metric(
        "Balanced error rate",
        "Mean of the shares of faults missed and of passed wafers alarmed, at the policy's threshold.",
        False,
        lambda _: 0.5,
    ),
    "mcc": Metric(
        "Matthews correlation",
        "Correlation of alarm and fault at the policy's threshold; 0 where nothing or everything is alarmed.",
        True,
        lambda _: 0.0,
    ),
    "recall_at_10_false_alarms": Metric(
        "Recall at 10% false alarms",
        "Highest share of faults found by a threshold that alarms at most 10% of the passed wafers.",
        True,
        lambda _: FALSE_ALARM_RATE,
    ),
    "auc_within_100": Metric(
        "AUC within 100 wafers",
        "AUC over pairs of wafers within 100 consecutive ones, so that knowing the drift is no skill.",
        True,
        lambda _: 0.5,
    ),
    "brier_score": Metric(
        "Brier score",
        "Mean squared error of the probability.",
        False,
        lambda share: share * (1 - share),
    ),
    "log_loss": Metric(
        "Log loss",
        "Mean negative log-likelihood of the outcome, in nats.",
        False,
        _entropy,
    ),
    "inspected_share": Metric(
        "Inspected share",
        "Share of wafers that the policy's threshold sends to inspection.",
        None,
        lambda _: math.nan,
    ),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval.

    Attributes
    ----------
    value, low, high : float
        NaN where undefined; `reason` then says why.
    spread : float
        Standard deviation over the repeats; NaN for a protocol without repeats.
    reason : str
        Why the value, or its interval, is undefined; empty where all is defined.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    spread: float = math.nan
    reason: str = ""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"undefined ({self.reason})"
        if math.isnan(self.low):
            return f"{self.value:.3f} (no interval: {self.reason})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; an undefined number is None."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve averaged over the repeats, with the pointwise 95% interval of its height.

    Attributes
    ----------
    x, y : float64 ndarray of shape (n_points,)
        Shares in [0, 1]; what they are shares of, the method that made the curve says.
    low, high : float64 ndarray of shape (n_points,)
        Ends of the interval of `y`.
    """

    x: Floats
    y: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The quality of one model on one wafer table.

    Attributes
    ----------
    metrics : mapping of protocol -> metric -> Estimate
        Every protocol of `PROTOCOLS` with every metric of `METRICS`.
    out_of_fold : DataFrame of shape (n_tested, 8)
        One row per protocol, repeat and tested wafer: ``protocol``, ``repeat``, ``fold``, ``row`` (position
        in time order, from 0), ``wafer``, ``faulty``, ``probability``, ``alarm``.
    fits : DataFrame of shape (n_fits, 8)
        One row per fit: ``protocol``, ``repeat``, ``fold``, ``train_wafers``, ``train_faults``,
        ``test_wafers``, ``test_faults``, ``note`` (why a training window was extended or a test was left out;
        else empty).
    wafers, faults : int
        Number of wafers in the table, and of faulty ones among them.
    repeats, seed : int
        As given to `evaluate`.
    folds : int
        Of repeated k-fold, as many as the faults allow.
    asked_folds : int
        As given to `evaluate`.
    """

    metrics: Mapping[str, Mapping[str, Estimate]]
    out_of_fold: pd.DataFrame
    fits: pd.DataFrame
    wafers: int
    faults: int
    repeats: int
    folds: int
    asked_folds: int
    seed: int

    @property
    def basis(self) -> str:
        """What the figures rest on, in words: to be stated wherever they are shown."""
        fewer = f" (of {self.asked_folds} asked for)" if self.folds < self.asked_folds else ""
        return f"{self.faults:,} of {self.wafers:,} wafers faulty, {self.folds} folds{fewer}"

    @property
    def unproven(self) -> str:
        """Why the model has not been shown to have skill; empty where it has. See `why_unproven`."""
        return why_unproven(self.metrics["repeated_k_fold"]["auc"], self.faults)

    def predictions(self, protocol: str) -> pd.DataFrame:
        """Return the rows of `out_of_fold` that belong to one of `PROTOCOLS`, by repeat and in time order."""
        return self.out_of_fold[self.out_of_fold["protocol"] == protocol].sort_values(["repeat", "row"])

    def tested(self, protocol: str) -> str:
        """Return what the figures of a protocol rest on, in words: to be stated wherever they are shown.

        Parameters
        ----------
        protocol : str
            One of `PROTOCOLS`.

        Returns
        -------
        str
            `basis` for repeated k-fold, else numbers of tested wafers, of faulty ones among them, and of fits.
        """
        if protocol == "repeated_k_fold":
            return self.basis
        rows = self.predictions(protocol)
        fits = rows["fold"].nunique()
        return f"{rows['faulty'].sum():,} of {len(rows):,} tested wafers faulty, {fits} fit{'' if fits == 1 else 's'}"

    def roc(self, protocol: str) -> Curve:
        """Return recall over false alarms.

        Parameters
        ----------
        protocol : str
            One of `PROTOCOLS`, under which faulty and passed wafers were tested.

        Returns
        -------
        Curve
            `y` is the share of faulty wafers alarmed, `x` that of passed ones.
        """
        return _curve(self.predictions(protocol), _recall_at_false_alarms, self.seed)

    def precision_recall(self, protocol: str) -> Curve:
        """Return precision over recall.

        Parameters
        ----------
        protocol : str
            One of `PROTOCOLS`, under which faulty wafers were tested.

        Returns
        -------
        Curve
            `y` is the share of faulty wafers among the alarms, `x` the share of faulty wafers alarmed.
        """
        return _curve(self.predictions(protocol), _precision_at_recall, self.seed)

    def as_frame(self) -> pd.DataFrame:
        """Return a row per protocol and metric.

        Returns
        -------
        DataFrame of shape (n_protocols * n_metrics, 11)
            ``protocol``, ``metric``, ``value``, ``low``, ``high``, ``spread``, ``without_skill``, ``reason``, and
            what the protocol tested: ``folds``, ``tested_wafers``, ``tested_faults``.
        """
        rows = []
        for protocol, estimates in self.metrics.items():
            predictions = self.predictions(protocol).drop_duplicates("row")
            tested = predictions["faulty"]
            share = float(tested.mean()) if len(tested) else math.nan
            rows += [
                {
                    "protocol": protocol,
                    "metric": name,
                    "value": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "spread": estimate.spread,
                    "without_skill": METRICS[name].without_skill(share),
                    "reason": estimate.reason,
                    "folds": predictions["fold"].nunique(),
                    "tested_wafers": len(tested),
                    "tested_faults": int(tested.sum()),
                }
                for name, estimate in estimates.items()
            ]
        return pd.DataFrame(rows)

    def as_dict(self) -> dict[str, Any]:
        """Return metrics, settings and notes as plain JSON values; an undefined number is None."""
        return {
            "wafers": self.wafers,
            "faults": self.faults,
            "repeats": self.repeats,
            "folds": self.folds,
            "asked_folds": self.asked_folds,
            "basis": self.basis,
            "unproven": self.unproven,
            "seed": self.seed,
            "confidence": CONFIDENCE,
            "metrics": _plain(self.metrics),
            "notes": [
                f"{protocol}, fold {fold}: {note}"
                for protocol, fold, note in zip(
                    self.fits["protocol"], self.fits["fold"], self.fits["note"], strict=True
                )
                if note
            ],
        }


def why_unproven(auc: Estimate, faults: int) -> str:
    """Say why a model has not been shown to have skill.

    Parameters
    ----------
    auc : Estimate
        Under repeated k-fold.
    faults : int
        Number of faulty wafers that it was measured on.

    Returns
    -------
    str
        Empty where there are enough faults for an interval to be trusted, and that of the AUC lies above one half.
    """
    if faults < TRUSTED_FAULTS:
        return f"fewer than {TRUSTED_FAULTS} faulty wafers, which are wanted for an interval to be trusted"
    if math.isnan(auc.value):
        return f"the AUC is undefined ({auc.reason})"
    # Enough faults are there, so no interval means that every draw gives the very same value.
    if (auc.value if math.isnan(auc.low) else auc.low) <= METRICS["auc"].without_skill(math.nan):
        return f"the interval of the AUC, {auc}, reaches one half, which is no skill"
    return ""


def folds_of(out_of_fold: pd.DataFrame) -> int:
    """Return how many folds of repeated k-fold stand behind out-of-fold rows.

    Parameters
    ----------
    out_of_fold : DataFrame of shape (n_tested, ...)
        As `Evaluation.out_of_fold`.

    Returns
    -------
    int
        0 where there is no row of that protocol.
    """
    return int(out_of_fold.loc[out_of_fold["protocol"] == "repeated_k_fold", "fold"].nunique())


def quality(out_of_fold: pd.DataFrame, *, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure a model on stored out-of-fold rows.

    Parameters
    ----------
    out_of_fold : DataFrame of shape (n_tested, ...)
        As `Evaluation.out_of_fold`.
    seed : int
        That of the evaluation, which gives the very same figures again.

    Returns
    -------
    dict
        Protocol -> metric -> fields of `Estimate`, as plain JSON values; an undefined number is None.
    """
    return _plain(_measure(out_of_fold, seed, dict.fromkeys(PROTOCOLS, "no wafer was tested under this protocol")))


def _plain(metrics: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        protocol: {name: estimate.as_dict() for name, estimate in estimates.items()}
        for protocol, estimates in metrics.items()
    }


class DifferentWafersError(ValueError):
    """Two results are not of the same wafers, so that they cannot be compared wafer by wafer."""

    code = "different_wafers"


def evaluate(
    table: pd.DataFrame,
    model: Classifier,
    *,
    repeats: int = 5,
    folds: int = 10,
    seed: int,
    n_jobs: int,
    progress: Progress | None = None,
) -> Evaluation:
    """Fit `model` afresh for every fold of every protocol and measure it on the wafers left out.

    Parameters
    ----------
    table : DataFrame of shape (n_wafers, ...)
        Wafer table: ``wafer``, ``batch``, ``faulty`` and the sensors, in time order.
    model : classifier
        Cloned for every fit, never fitted itself.
    repeats, folds : int
        Of the repeated stratified k-fold protocol; fewer folds where one would hold fewer than two faulty, or passed,
        wafers.
    seed : int
        Of the folds and the bootstrap. The result depends on nothing else, `n_jobs` included.
    n_jobs : int
        Processes that fit folds side by side, -1 for one per core; the model's own should be 1.
    progress : callable, optional
        ``progress(done, total)``, counting fits.

    Returns
    -------
    Evaluation
        Every protocol and metric; what a short table cannot give is undefined, with the reason.

    Raises
    ------
    NoFaults
        If no wafer of the table is faulty.
    TooFewFaults
        If there are fewer than `FEWEST_FAULTS` faulty, or passed, wafers, or than the model itself asks for.
    """
    y = table["faulty"].to_numpy(dtype=np.int_)
    used = _folds_for(y, folds)
    features = table.drop(columns=["wafer", "batch", "faulty"], errors="ignore")
    plan = list(_all_folds(y, repeats, used, seed))
    results = _run(_Fit(model, _wanted_folds(model, y, folds, used)), features, y, plan, n_jobs, progress)

    out_of_fold = _out_of_fold(results, table)
    fits = pd.DataFrame([result.evidence(y) for result in results])
    return Evaluation(
        metrics=_measure(
            out_of_fold,
            seed,
            {protocol: _why_untested(fits[fits["protocol"] == protocol]) for protocol in PROTOCOLS},
        ),
        out_of_fold=out_of_fold,
        fits=fits,
        wafers=len(y),
        faults=int(y.sum()),
        repeats=repeats,
        folds=used,
        asked_folds=folds,
        seed=seed,
    )


def paired_difference(a: pd.DataFrame, b: pd.DataFrame, *, seed: int) -> dict[str, Estimate]:
    """Subtract the metrics of `b` from those of `a` on the same wafers, each bootstrap draw shared by both.

    Sharing the draw cancels what the two results have in common, so the interval is that of the difference:
    one of ``log_loss`` below 0, or of ``auc`` above 0, favours `a`.

    Parameters
    ----------
    a, b : DataFrame of shape (n_tested, ...)
        Out-of-fold rows of one protocol each (`Evaluation.predictions`); the repeats may differ in number.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict of Estimate
        The difference by metric, for every metric of `METRICS`.

    Raises
    ------
    DifferentWafersError
        If the wafers, or their outcomes, differ.
    """
    left, right = _Scored.of(a), _Scored.of(b)
    if not (np.array_equal(left.wafer, right.wafer) and np.array_equal(left.faulty, right.faulty)):
        raise DifferentWafersError(
            f"results of {len(left.wafer)} and {len(right.wafer)} wafers differ in wafers or outcomes; "
            "evaluate both models on the same wafer table"
        )
    draws_a, draws_b = _bootstrap([left, right], np.random.default_rng(seed))
    observed_a, observed_b = left.observed(), right.observed()
    return {
        name: left.estimate(
            name, float(observed_a[name].mean() - observed_b[name].mean()), draws_a[name] - draws_b[name]
        )
        for name in METRICS
    }


# --- Which wafers train and which are tested ---


@dataclass(frozen=True, slots=True)
class _Fold:
    """One fit: the rows to train on and the rows to test."""

    protocol: str
    repeat: int
    fold: int
    train: Rows
    test: Rows


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of a fold; `fold.train` are the rows that were trained on, no probability means not tested."""

    fold: _Fold
    probability: Floats | None
    alarm: Flags | None
    note: str

    def evidence(self, y: NDArray[np.int_]) -> dict[str, object]:
        fold = self.fold
        return {
            "protocol": fold.protocol,
            "repeat": fold.repeat,
            "fold": fold.fold,
            "train_wafers": len(fold.train),
            "train_faults": int(y[fold.train].sum()),
            "test_wafers": len(fold.test),
            "test_faults": int(y[fold.test].sum()),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class _Fit:
    """A model to be fitted, where the training wafers allow it `folds` of its own; 0: it decides by itself."""

    model: Classifier
    folds: int

    def __call__(self, features: pd.DataFrame, y: NDArray[np.int_], rows: Rows) -> Classifier:
        if not y[rows].any():
            raise NoFaults(f"none of the {len(rows)} training wafers is faulty")
        if self.folds:
            check_faults(y[rows], self.folds)
        fitted: Classifier = clone(self.model)
        fitted.fit(features.iloc[rows], y[rows])
        return fitted


def _folds_for(y: NDArray[np.int_], asked: int) -> int:
    faults = int(y.sum())
    if faults == 0:
        raise NoFaults("no wafer of the table is faulty; ingest batches that hold faulty wafers")
    for count, kind in ((faults, "faulty"), (len(y) - faults, "passed")):
        if count < FEWEST_FAULTS:
            raise TooFewFaults(
                f"{count} {kind} wafers of {len(y)} are too few to train and to say how good the model is: at least "
                f"{FEWEST_FAULTS} are needed, for three folds of two each; ingest more labelled batches"
            )
    return min(asked, min(faults, len(y) - faults) // 2)


def _wanted_folds(model: Classifier, y: NDArray[np.int_], asked: int, used: int) -> int:
    """Return the folds that the model asks of every period, or 0 where the whole table does not allow as many."""
    if not isinstance(model, FaultModel) or used < asked:
        return 0
    wanted = (model.config or ModelConfig()).folds
    rarer = min(int(y.sum()), len(y) - int(y.sum()))
    return wanted if rarer - math.ceil(rarer / used) >= 2 * wanted else 0


def _all_folds(y: NDArray[np.int_], repeats: int, folds: int, seed: int) -> Iterator[_Fold]:
    rows = np.arange(len(y))
    splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    for number, (train, test) in enumerate(splitter.split(rows, y)):
        yield _Fold("repeated_k_fold", number // folds, number % folds, train, test)
    cut = int(len(y) * TRAINING_SHARE)
    yield _Fold("time_split", 0, 0, rows[:cut], rows[cut:])
    window = REFIT_WINDOW if len(y) >= REFIT_WINDOW + REFIT_EVERY else len(y) // 2
    for number, now in enumerate(range(window, len(y), _refit_every(window))):
        yield _Fold("rolling_refit", 0, number, rows[now - window : now], rows[now : now + _refit_every(window)])


def _refit_every(window: int) -> int:
    return max(1, window * REFIT_EVERY // REFIT_WINDOW)


def _run(
    fit: _Fit,
    features: pd.DataFrame,
    y: NDArray[np.int_],
    folds: Sequence[_Fold],
    n_jobs: int,
    progress: Progress | None,
) -> list[_Result]:
    """Return the results in the order of `folds`."""
    results = []
    tasks = (delayed(_test)(fit, features, y, fold, os.getpid()) for fold in folds)
    # Processes: half of a small fit is Python, which threads would do one after the other (17 s against 32 s).
    try:
        for result in Parallel(n_jobs=n_jobs, return_as="generator")(tasks):
            results.append(result)
            if progress:
                progress(len(results), len(folds))
    finally:
        if n_jobs != 1:
            # Idle workers would keep this process, if it is a child itself, from ending for minutes.
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
    return results


def _test(fit: _Fit, features: pd.DataFrame, y: NDArray[np.int_], fold: _Fold, main: int) -> _Result:
    if os.getpid() != main:
        _end_with(main)
    # One BLAS thread, so that processes do not compete and sums do not depend on the number of cores.
    with threadpool_limits(1, user_api="blas"):
        return _fit_and_test(fit, features, y, fold)


@cache
def _end_with(main: int) -> None:
    """End this worker when its main process ends: one that is killed cannot, and idle workers stay for minutes."""

    def watch() -> None:
        while os.getppid() == main:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _fit_and_test(fit: _Fit, features: pd.DataFrame, y: NDArray[np.int_], fold: _Fold) -> _Result:
    try:
        if fold.protocol == "rolling_refit":
            fitted, fold, note = _fit_recent(fit, features, y, fold)
        else:
            fitted, note = fit(features, y, fold.train), ""
    except (NoFaults, TooFewFaults) as error:
        if fold.protocol == "repeated_k_fold":
            raise
        return _Result(fold, None, None, f"not tested: {error}")
    tested = features.iloc[fold.test]
    faulty = int(np.flatnonzero(fitted.classes_ == 1)[0])
    return _Result(
        fold,
        np.asarray(fitted.predict_proba(tested), dtype=np.float64)[:, faulty],
        np.asarray(fitted.predict(tested)) == 1,
        note,
    )


def _fit_recent(fit: _Fit, features: pd.DataFrame, y: NDArray[np.int_], fold: _Fold) -> tuple[Classifier, _Fold, str]:
    """Fit on the fold's window, reaching further back until the model finds it holds enough faults."""
    train, why, window = fold.train, "", len(fold.train)
    while True:
        try:
            fitted = fit(features, y, train)
        except (NoFaults, TooFewFaults) as error:
            if train[0] == 0:
                raise
            train, why = np.arange(max(0, train[0] - _refit_every(window)), train[-1] + 1), why or str(error)
        else:
            note = f"trained on the last {len(train)} wafers, because of the last {window}: {why}" if why else ""
            return fitted, replace(fold, train=train), note


def _out_of_fold(results: Sequence[_Result], table: pd.DataFrame) -> pd.DataFrame:
    wafer, faulty = table["wafer"].to_numpy(), table["faulty"].to_numpy(dtype=np.int8)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "protocol": result.fold.protocol,
                    "repeat": result.fold.repeat,
                    "fold": result.fold.fold,
                    "row": result.fold.test,
                    "wafer": wafer[result.fold.test],
                    "faulty": faulty[result.fold.test],
                    "probability": result.probability,
                    "alarm": result.alarm,
                }
            )
            for result in results
            if result.probability is not None
        ],
        ignore_index=True,
    )


def _why_untested(fits: pd.DataFrame) -> str:
    if fits.empty:
        return "no wafer was tested under this protocol"
    return str(fits["note"].iloc[0])


# --- Metrics ---

_DEFINED_WITHOUT_FAULTS = frozenset({"brier_score", "log_loss", "inspected_share"})
_DRAWN_WEIGHTS_AT_ONCE = 200_000
_GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class _Scored:
    """Out-of-fold results of one protocol as arrays, wafers in time order.

    `row`, `wafer` and `faulty` have shape (n_wafers,), `probability` and `alarm` (n_repeats, n_wafers).
    """

    row: Rows
    wafer: NDArray[np.object_]
    faulty: Flags
    probability: Floats
    alarm: Flags

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Scored:
        ordered = frame.sort_values(["repeat", "row"])
        repeats = ordered["repeat"].nunique()
        first = ordered.iloc[: len(ordered) // repeats]
        return cls(
            row=first["row"].to_numpy(dtype=np.intp),
            wafer=first["wafer"].to_numpy(dtype=object),
            faulty=first["faulty"].to_numpy() == 1,
            probability=ordered["probability"].to_numpy(dtype=np.float64).reshape(repeats, -1),
            alarm=ordered["alarm"].to_numpy(dtype=np.bool_).reshape(repeats, -1),
        )

    def undefined(self, metric: str) -> str:
        """Say why `metric` has no value here; empty where it has one."""
        if metric in _DEFINED_WITHOUT_FAULTS:
            return ""
        if not self.faulty.any():
            return f"none of the {len(self.faulty)} tested wafers is faulty"
        if self.faulty.all():
            return f"all of the {len(self.faulty)} tested wafers are faulty"
        if metric == "auc_within_100" and not _neighbours(self.row, self.faulty).nnz:
            return f"no faulty wafer has a passed one within {NEIGHBOURHOOD} wafers"
        if metric == "auc_within_100" and self.row[-1] - self.row[0] < NEIGHBOURHOOD:
            return f"the {len(self.row)} tested wafers are all within {NEIGHBOURHOOD}: it would be the AUC"
        return ""

    def unvarying(self, metric: str) -> str:
        """Say why drawing the wafers again cannot show how uncertain `metric` is; empty where it can."""
        if metric in _DEFINED_WITHOUT_FAULTS:
            return ""
        faults = int(self.faulty.sum())
        if min(faults, len(self.faulty) - faults) == 1:
            return "a single wafer of a kind does not show how they vary"
        recall = self.alarm[:, self.faulty].mean()
        if metric in {"balanced_error_rate", "mcc"} and recall in {0, 1}:
            return f"every draw of the {faults} faulty wafers has {'all' if recall else 'none'} of them found"
        return ""

    def measure(self, weights: Floats) -> dict[str, Floats]:
        """Return every metric, shape (n_repeats, n_draws), where draw i holds wafer j ``weights[i, j]`` times."""
        neighbours = _neighbours(self.row, self.faulty)
        repeats = [
            {
                **_ranking_metrics(self.faulty, probability, weights),
                **_alarm_metrics(self.faulty, alarm, weights),
                **_probability_metrics(self.faulty, probability, weights),
                "auc_within_100": _auc_of_pairs(neighbours, probability, weights),
            }
            for probability, alarm in zip(self.probability, self.alarm, strict=True)
        ]
        return {name: np.stack([repeat[name] for repeat in repeats]) for name in METRICS}

    def observed(self) -> dict[str, Floats]:
        """Return every metric on the wafers as they are, shape (n_repeats,)."""
        return {name: value[:, 0] for name, value in self.measure(np.ones((1, len(self.faulty)))).items()}

    def estimate(self, metric: str, value: float, draws: Floats, spread: float = math.nan) -> Estimate:
        """Return `value` with the percentile interval of `draws`."""
        if reason := self.undefined(metric):
            return Estimate(math.nan, reason=reason)
        if reason := self.unvarying(metric):
            return Estimate(value, spread=spread, reason=reason)
        low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        if low == high:
            return Estimate(value, spread=spread, reason="the same in every draw")
        return Estimate(value, float(low), float(high), spread)


def _measure(out_of_fold: pd.DataFrame, seed: int, why_untested: Mapping[str, str]) -> dict[str, dict[str, Estimate]]:
    """Estimate every metric under every protocol; protocols do not share draws."""
    return {
        protocol: estimate_metrics(
            out_of_fold[out_of_fold["protocol"] == protocol],
            np.random.default_rng([seed, number]),
            why_untested[protocol],
        )
        for number, protocol in enumerate(PROTOCOLS)
    }


def estimate_metrics(frame: pd.DataFrame, rng: np.random.Generator, why_untested: str = "") -> dict[str, Estimate]:
    """Estimate every metric of `METRICS` from out-of-fold rows of one protocol.

    Parameters
    ----------
    frame : DataFrame of shape (n_tested, ...)
        ``repeat``, ``row``, ``wafer``, ``faulty``, ``probability`` and ``alarm``, as in `Evaluation.out_of_fold`.
    rng : numpy.random.Generator
        Of the bootstrap.
    why_untested : str
        What to say where there is no row.

    Returns
    -------
    dict of Estimate
        By metric; undefined ones say why.
    """
    if frame.empty:
        return {name: Estimate(math.nan, reason=why_untested) for name in METRICS}
    scored = _Scored.of(frame)
    observed = scored.observed()
    (draws,) = _bootstrap([scored], rng)
    return {
        name: scored.estimate(
            name,
            float(values.mean()),
            draws[name],
            float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        )
        for name, values in observed.items()
    }


def _bootstrap(results: Sequence[_Scored], rng: np.random.Generator) -> list[dict[str, Floats]]:
    """Return every metric per draw, averaged over the repeats; `results` share the wafers and the draws."""
    chunks = [
        [{name: draws.mean(axis=0) for name, draws in result.measure(weights).items()} for result in results]
        for weights in _draws(results[0].faulty, rng, RESAMPLES)
    ]
    return [
        {name: np.concatenate([chunk[name] for chunk in of_result]) for name in METRICS}
        for of_result in zip(*chunks, strict=True)
    ]


def _draws(faulty: Flags, rng: np.random.Generator, resamples: int) -> Iterator[Floats]:
    """Yield how often each wafer is drawn, shape (n_draws, n_wafers), in pieces of bounded size."""
    at_once = max(1, _DRAWN_WEIGHTS_AT_ONCE // len(faulty))
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        weights = np.zeros((draws, len(faulty)))
        for kind in (np.flatnonzero(faulty), np.flatnonzero(~faulty)):
            if not len(kind):
                continue
            drawn = rng.integers(len(kind), size=(draws, len(kind))) + len(kind) * np.arange(draws)[:, None]
            weights[:, kind] = np.bincount(drawn.ravel(), minlength=draws * len(kind)).reshape(draws, -1)
        yield weights


def _above(faulty: Flags, probability: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Count faulty, and passed, wafers at or above each distinct probability, highest first: (n_draws, n_distinct)."""
    order = np.argsort(-probability, kind="stable")
    last_of_ties = np.flatnonzero(np.diff(probability[order], append=-np.inf))
    drawn, outcome = weights[:, order], faulty[order]
    hits = np.cumsum(drawn * outcome, axis=1)[:, last_of_ties]
    false_alarms = np.cumsum(drawn * ~outcome, axis=1)[:, last_of_ties]
    return hits, false_alarms


@np.errstate(divide="ignore", invalid="ignore")
def _ranking_metrics(faulty: Flags, probability: Floats, weights: Floats) -> dict[str, Floats]:
    hits, false_alarms = _above(faulty, probability, weights)
    recall, false_alarm_rate = hits / hits[:, -1:], false_alarms / false_alarms[:, -1:]
    steps = np.diff(recall, axis=1, prepend=0)
    precision = hits / np.maximum(hits + false_alarms, 1)
    # A fault beats the passed wafers below its probability, and half of those that share it.
    beaten = 1 - false_alarm_rate + np.diff(false_alarm_rate, axis=1, prepend=0) / 2
    return {
        "auc": (steps * beaten).sum(axis=1),
        "average_precision": (steps * precision).sum(axis=1),
        "recall_at_10_false_alarms": np.where(false_alarm_rate <= FALSE_ALARM_RATE, recall, 0).max(axis=1),
    }


@np.errstate(divide="ignore", invalid="ignore")
def _alarm_metrics(faulty: Flags, alarm: Flags, weights: Floats) -> dict[str, Floats]:
    faults, passed = weights @ faulty, weights @ ~faulty
    hits, false_alarms = weights @ (faulty & alarm), weights @ (~faulty & alarm)
    alarms, total = hits + false_alarms, faults + passed
    scale = np.sqrt(faults * passed * alarms * (total - alarms))
    return {
        "balanced_error_rate": (1 - hits / faults + false_alarms / passed) / 2,
        "mcc": np.where(scale > 0, (hits * total - faults * alarms) / scale, 0.0),
        "inspected_share": alarms / total,
    }


def _probability_metrics(faulty: Flags, probability: Floats, weights: Floats) -> dict[str, Floats]:
    total = weights.sum(axis=1)
    tiny = np.finfo(np.float64).eps
    given = np.clip(np.where(faulty, probability, 1 - probability), tiny, 1)
    return {
        "brier_score": weights @ (probability - faulty) ** 2 / total,
        "log_loss": weights @ -np.log(given) / total,
    }


def _neighbours(row: Rows, faulty: Flags) -> csr_array:
    """Pair every faulty wafer (row) with the passed ones (column) out of `NEIGHBOURHOOD` consecutive wafers."""
    faults = np.flatnonzero(faulty)
    first = np.searchsorted(row, row[faults] - NEIGHBOURHOOD, side="right")
    lengths = np.searchsorted(row, row[faults] + NEIGHBOURHOOD) - first
    fault = np.repeat(faults, lengths)
    other = np.arange(len(fault)) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
    fault, other = fault[~faulty[other]], other[~faulty[other]]
    return csr_array((np.ones(len(fault)), (fault, other)), shape=(len(row), len(row)))


@np.errstate(divide="ignore", invalid="ignore")
def _auc_of_pairs(pairs: csr_array, probability: Floats, weights: Floats) -> Floats:
    fault, other = pairs.nonzero()
    won = (1 + np.sign(probability[fault] - probability[other])) / 2
    wins = csr_array((won, (fault, other)), shape=pairs.shape)
    total: Floats = (weights * (pairs @ weights.T).T).sum(axis=1)
    won_weight: Floats = (weights * (wins @ weights.T).T).sum(axis=1)
    return won_weight / total


# --- Curves ---


def _curve(frame: pd.DataFrame, height: Callable[[Floats, Floats], Floats], seed: int) -> Curve:
    """Average `height` over the repeats on a common grid (vertical averaging [1]_).

    References
    ----------
    .. [1] Fawcett, T. (2006). "An introduction to ROC analysis". Pattern Recognition Letters 27(8), 861-874.
    """
    scored = _Scored.of(frame)

    def averaged(weights: Floats) -> Floats:
        heights = [height(*_above(scored.faulty, probability, weights)) for probability in scored.probability]
        mean: Floats = np.mean(heights, axis=0)
        return mean

    draws = np.concatenate(
        [averaged(weights) for weights in _draws(scored.faulty, np.random.default_rng(seed), RESAMPLES // 4)]
    )
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Curve(_GRID, averaged(np.ones((1, len(scored.faulty))))[0], low, high)


def _recall_at_false_alarms(hits: Floats, false_alarms: Floats) -> Floats:
    recall, rate = hits / hits[:, -1:], false_alarms / false_alarms[:, -1:]
    return np.stack([np.interp(_GRID, x, y) for x, y in zip(rate, recall, strict=True)])


def _precision_at_recall(hits: Floats, false_alarms: Floats) -> Floats:
    """Return precision at the highest threshold that reaches a recall, not interpolated [1]_.

    References
    ----------
    .. [1] Davis, J. and Goadrich, M. (2006). "The Relationship Between Precision-Recall and ROC Curves".
       23rd International Conference on Machine Learning, 233-240.
    """
    recall, precision = hits / hits[:, -1:], hits / np.maximum(hits + false_alarms, 1)
    reached = [np.searchsorted(row, np.maximum(_GRID, 1e-9) - 1e-12) for row in recall]
    return np.stack([row[at] for row, at in zip(precision, reached, strict=True)])

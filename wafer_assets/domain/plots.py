"""Pictures of a training run, as PNG bytes for the metadata of an asset or of a tracking run.

Belongs here: drawing only; figures come from `evaluation`, `clustering` and `training`. Every function takes
what it draws and returns a PNG at most 1,280 pixels wide that reads in black and white: what differs, differs
by line style, marker or shade, never by hue alone. Figures are built without pyplot, whose global state would
keep every figure of a long-lived process alive.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wafer_assets.domain.evaluation import METRICS, PROTOCOLS, Estimate, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]

_DPI = 120
_BINS = 10  # of the probability, in the calibration; fewer where one would hold fewer than _IN_BIN wafers
_IN_BIN = 20
_WINDOW = 100  # wafers that shares of faults over time are means of, at most a quarter of those tested
_INK, _MUTED, _BAND = "#1f3b57", "#8a8a8a", "#c9d6e3"
_FAULT = "#c23b22"
_MARKERS = "osD^vPX*"
_SHADES = ("#1f3b57", "#7fa3c7", "#c0b283", "#4d7c6f", "#9a9a9a", "#2b2b2b", "#d0a0c0", "#6b5b95")
_PROTOCOL_TITLES = {
    "repeated_k_fold": "Repeated k-fold",
    "time_split": "Time split 70/30",
    "rolling_refit": "Rolling refit",
}
_PROTOCOL_STYLES = {"repeated_k_fold": "o", "time_split": "s", "rolling_refit": "^"}


def elbow(ks: Sequence[int], inertias: Sequence[float], k: int, *, is_knee: bool) -> bytes:
    """Draw inertia over the number of clusters, the chosen one marked.

    Parameters
    ----------
    ks : sequence of int
        Numbers of clusters tried.
    inertias : sequence of float
        Sum of squared distances to the cluster centres for each of them, in squared standard deviations.
    k : int
        The number chosen.
    is_knee : bool
        Whether the curve bends there.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _canvas(7, 4.2)
    axes.plot(ks, inertias, "o-", color=_INK)
    axes.axvline(k, color=_FAULT, linestyle="--")
    why = "the knee of the curve" if is_knee else "the configured default; the curve has no knee"
    axes.annotate(
        f"k = {k}\n({why})",
        (k, max(inertias)),
        xytext=(8, -4),
        textcoords="offset points",
        va="top",
        color=_FAULT,
    )
    axes.set_xticks(list(ks))
    axes.set_xlabel("Clusters (k)")
    axes.set_ylabel("Inertia (squared scaled units)")
    axes.set_title(f"Elbow: {k} clusters")
    return _png(figure)


def roc(evaluation: Evaluation, protocol: str = "repeated_k_fold") -> bytes:
    """Draw recall over false alarms with its 95% band.

    Parameters
    ----------
    evaluation : Evaluation
        Of the model.
    protocol : str
        One of `PROTOCOLS`.

    Returns
    -------
    bytes
        A PNG; with words where the curve is undefined.
    """
    figure, axes = _canvas(6, 5.4)
    auc = evaluation.metrics[protocol]["auc"]
    if math.isnan(auc.value):
        return _nothing(figure, axes, f"ROC: {auc.reason}")
    curve = evaluation.roc(protocol)
    axes.fill_between(100 * curve.x, 100 * curve.low, 100 * curve.high, color=_BAND, label="95% interval")
    axes.plot(100 * curve.x, 100 * curve.y, color=_INK, label=f"AUC {auc}")
    axes.plot([0, 100], [0, 100], linestyle=":", color=_MUTED, label="Without skill")
    axes.axvline(10, linestyle="--", linewidth=0.8, color=_MUTED)
    axes.annotate("10% false alarms", (10, 1), xytext=(4, 0), textcoords="offset points", color="#555555")
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes.set_xlabel("False alarms (% of passed wafers)")
    axes.set_ylabel("Recall (% of faulty wafers found)")
    _entitle(axes, f"ROC, {_PROTOCOL_TITLES[protocol].lower()}", evaluation, protocol)
    axes.legend(loc="lower right")
    return _png(figure)


def precision_recall(evaluation: Evaluation, protocol: str = "repeated_k_fold") -> bytes:
    """Draw precision over recall with its 95% band and the base rate.

    Parameters
    ----------
    evaluation : Evaluation
        Of the model.
    protocol : str
        One of `PROTOCOLS`.

    Returns
    -------
    bytes
        A PNG; with words where the curve is undefined.
    """
    figure, axes = _canvas(6.6, 4.8)
    average = evaluation.metrics[protocol]["average_precision"]
    if math.isnan(average.value):
        return _nothing(figure, axes, f"Precision and recall: {average.reason}")
    curve = evaluation.precision_recall(protocol)
    base = 100 * float(evaluation.predictions(protocol)["faulty"].mean())
    axes.fill_between(100 * curve.x, 100 * curve.low, 100 * curve.high, color=_BAND, label="95% interval")
    axes.plot(100 * curve.x, 100 * curve.y, color=_INK, label=f"Average precision {average}")
    axes.axhline(base, linestyle=":", color=_FAULT, label=f"Without skill: {base:.1f}% of wafers are faulty")
    axes.set(xlim=(0, 100), ylim=(0, 101))
    axes.set_xlabel("Recall (% of faulty wafers found)")
    axes.set_ylabel("Precision (% of alarms that are faults)")
    _entitle(axes, f"Precision and recall, {_PROTOCOL_TITLES[protocol].lower()}", evaluation, protocol)
    axes.legend(loc="upper right")
    return _png(figure)


def calibration(evaluation: Evaluation, protocol: str = "repeated_k_fold") -> bytes:
    """Draw the observed share of faults over the predicted probability, with 95% score intervals [1]_.

    Bins of the probability are equally filled. A wafer counts once: its probability is the mean over the repeats.

    Parameters
    ----------
    evaluation : Evaluation
        Of the model.
    protocol : str
        One of `PROTOCOLS`.

    Returns
    -------
    bytes
        A PNG; with words where no wafer was tested.

    References
    ----------
    .. [1] Wilson, E. B. (1927). "Probable Inference, the Law of Succession, and Statistical Inference". Journal of
       the American Statistical Association 22(158), 209-212.
    """
    figure, axes = _canvas(6.6, 5.2)
    wafers = _per_wafer(evaluation, protocol)
    if wafers.empty:
        return _nothing(figure, axes, "Calibration: no wafer was tested")
    bins = min(_BINS, max(2, len(wafers) // _IN_BIN))
    bin_of = pd.qcut(wafers["probability"], bins, labels=False, duplicates="drop").fillna(0)
    grouped = wafers.groupby(bin_of)
    predicted, count = grouped["probability"].mean(), grouped["faulty"].count()
    faults = grouped["faulty"].sum()
    low, high = _wilson(faults.to_numpy(dtype=np.float64), np.asarray(count, dtype=np.float64))
    observed = (faults / count).to_numpy()
    top = 105 * max(float(high.max()), float(predicted.max()))
    axes.plot([0, top], [0, top], linestyle=":", color=_MUTED, label="Perfect calibration")
    axes.errorbar(
        100 * predicted,
        100 * observed,
        yerr=100 * np.vstack([observed - low, high - observed]),
        fmt="o-",
        color=_INK,
        capsize=3,
        label="Observed, 95% interval",
    )
    for x, y, faulty in zip(100 * predicted, 100 * high, faults, strict=True):
        axes.annotate(f"{faulty}", (x, y), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8)
    axes.set(xlim=(0, None), ylim=(0, top))
    axes.set_xlabel("Predicted probability of a fault (%)")
    axes.set_ylabel("Observed share of faults (%)")
    _entitle(
        axes,
        f"Calibration, {_PROTOCOL_TITLES[protocol].lower()}\n"
        f"(numbers: faulty wafers of about {count.mean():.0f} in each bin)",
        evaluation,
        protocol,
    )
    axes.legend(loc="upper left")
    return _png(figure)


def probabilities(evaluation: Evaluation, protocol: str = "repeated_k_fold") -> bytes:
    """Draw the distribution of the predicted probability among passed and among faulty wafers.

    Parameters
    ----------
    evaluation : Evaluation
        Of the model.
    protocol : str
        One of `PROTOCOLS`.

    Returns
    -------
    bytes
        A PNG; with words where no wafer was tested.
    """
    figure, axes = _canvas(7, 4.2)
    wafers = _per_wafer(evaluation, protocol)
    if wafers.empty:
        return _nothing(figure, axes, "Predicted probabilities: no wafer was tested")
    percent = 100 * wafers["probability"]
    edges = np.linspace(0, max(float(percent.max()), 1e-9), 31)
    outcomes: tuple[tuple[str, Literal["stepfilled", "step"], str], ...] = (
        ("passed", "stepfilled", _BAND),
        ("faulty", "step", _FAULT),
    )
    for outcome, (name, style, color) in enumerate(outcomes):
        chosen = percent[wafers["faulty"] == outcome]
        axes.hist(
            chosen,
            bins=list(edges),
            weights=np.full(len(chosen), 100 / max(len(chosen), 1)),
            histtype=style,
            linewidth=1.8,
            color=color,
            label=f"{len(chosen):,} {name} wafers",
        )
    axes.set_xlim(0, None)
    axes.set_xlabel("Predicted probability of a fault (%)")
    axes.set_ylabel("Wafers (% of the group)")
    _entitle(axes, f"Predicted probabilities by outcome, {_PROTOCOL_TITLES[protocol].lower()}", evaluation, protocol)
    axes.legend(loc="upper right")
    return _png(figure)


def clusters(coordinates: Floats, labels: Ints, faulty: Ints) -> bytes:
    """Draw wafers on the first two principal components, by cluster, faulty ones marked.

    Parameters
    ----------
    coordinates : float ndarray of shape (n_wafers, 2)
        Places on the first two principal components, in standard deviations.
    labels : int ndarray of shape (n_wafers,)
        Each wafer's cluster.
    faulty : int ndarray of shape (n_wafers,)
        1 for faulty.

    Returns
    -------
    bytes
        A PNG; a few far outliers are left out, and counted.
    """
    figure, axes = _canvas(7.4, 5.2)
    points, wrong = np.asarray(coordinates, dtype=np.float64), np.asarray(faulty) == 1
    numbers = np.unique(labels)
    for position, number in enumerate(numbers):
        chosen = np.asarray(labels) == number
        axes.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=16,
            marker=_MARKERS[position % len(_MARKERS)],
            facecolor=_SHADES[position % len(_SHADES)],
            edgecolor="white",
            linewidth=0.3,
            label=f"Cluster {number}: {chosen.sum():,} wafers, {int((chosen & wrong).sum())} faulty",
        )
    axes.scatter(
        points[wrong, 0],
        points[wrong, 1],
        s=34,
        marker="x",
        color=_FAULT,
        linewidth=1.4,
        label=f"Faulty ({int(wrong.sum())})",
    )
    axes.set_xlabel("First principal component (scaled units)")
    axes.set_ylabel("Second principal component (scaled units)")
    axes.set_title(f"{len(numbers)} clusters of wafers")
    _zoom(axes, points)
    axes.legend(loc="best", fontsize=9)
    return _png(figure)


def member_scores(scores: Mapping[str, Mapping[str, Estimate]]) -> bytes:
    """Draw the AUC of every member model in every cluster.

    Parameters
    ----------
    scores : mapping of str -> str -> Estimate
        By name of the cluster and of the member; members of a cluster may be missing.

    Returns
    -------
    bytes
        A PNG.
    """
    members = list(dict.fromkeys(member for by_member in scores.values() for member in by_member))
    figure, axes = _canvas(8, 1.3 + 0.28 * len(scores) * (len(members) + 0.5))
    for offset, member in enumerate(members):
        marker, color = _MARKERS[offset % len(_MARKERS)], _SHADES[offset % len(_SHADES)]
        axes.plot([], [], marker, linestyle="-", color=color, label=member)
        for index, by_member in enumerate(scores.values()):
            if member in by_member:
                y = index + (offset - (len(members) - 1) / 2) * 0.8 / len(members)
                _interval(axes, by_member[member], y, marker, color)
    axes.axvline(0.5, linestyle=":", color=_MUTED, label="Without skill")
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set_ylim(len(scores) - 0.4, -0.6)
    bare = all(math.isnan(estimate.low) for by_member in scores.values() for estimate in by_member.values())
    axes.set_xlabel("AUC out of fold (without interval)" if bare else "AUC (95% interval)")
    axes.set_title("AUC of the members per cluster")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return _png(figure)


def promotion(differences: Mapping[str, Estimate], basis: str = "") -> bytes:
    """Draw the differences that decide on a promotion.

    Parameters
    ----------
    differences : mapping of str -> Estimate
        Challenger minus what it is held against, by name of the condition.
    basis : str
        What they rest on; see `promotion.Decision.basis`.

    Returns
    -------
    bytes
        A PNG; with words where nothing could be compared.
    """
    figure, axes = _canvas(8, 1.5 + 0.45 * max(len(differences), 1))
    if not differences:
        return _nothing(figure, axes, f"Promotion: nothing could be compared\n{basis}")
    for position, estimate in enumerate(differences.values()):
        _interval(axes, estimate, position, "o", _INK)
    axes.axvline(0, linestyle=":", color=_MUTED)
    axes.set_yticks(range(len(differences)), list(differences))
    axes.set_ylim(len(differences) - 0.5, -0.5)
    axes.set_xlabel("Challenger minus reference (95% interval)")
    axes.set_title(f"What decides on the promotion{basis and chr(10)}{basis}")
    return _png(figure)


def over_time(evaluation: Evaluation, protocol: str = "rolling_refit") -> bytes:
    """Draw the predicted and the real share of faults along the wafer order, as moving means.

    Parameters
    ----------
    evaluation : Evaluation
        Of the model.
    protocol : str
        One of `PROTOCOLS`.

    Returns
    -------
    bytes
        A PNG; with words where no wafer was tested.
    """
    figure, axes = _canvas(10, 4.4)
    wafers = _per_wafer(evaluation, protocol)
    if wafers.empty:
        return _nothing(figure, axes, "Faults over time: no wafer was tested")
    row, window = wafers["row"] + 1, min(_WINDOW, max(2, len(wafers) // 4))
    axes.plot(row, 100 * wafers["probability"], ".", color=_BAND, markersize=3, label="Predicted, one wafer")
    top = float(max(np.quantile(100 * wafers["probability"], 0.99), 20))
    for column, style, name in (("probability", "-", "Predicted"), ("faulty", "--", "Real")):
        mean = 100 * wafers[column].rolling(window, min_periods=window // 2).mean()
        top = max(top, float(mean.max()))  # of few wafers, a mean reaches far
        axes.plot(
            row,
            mean,
            style,
            color=_INK if column == "probability" else _FAULT,
            label=f"{name}, mean of {window} wafers",
        )
    faulty = wafers[wafers["faulty"] == 1]
    axes.plot(
        faulty["row"] + 1,
        np.full(len(faulty), -0.03 * top),
        "|",
        color=_FAULT,
        markersize=9,
        label=f"Faulty wafer ({len(faulty)})",
    )
    axes.set(ylim=(-0.07 * top, 1.05 * top), xlim=(0, evaluation.wafers))
    axes.set_xlabel("Wafer in time order")
    axes.set_ylabel("Probability of a fault (%)")
    _entitle(axes, f"Faults over time, {_PROTOCOL_TITLES[protocol].lower()}", evaluation, protocol)
    axes.legend(loc="upper right", ncols=2, fontsize=9)
    return _png(figure)


def metrics(evaluation: Evaluation) -> bytes:
    """Draw every metric of `METRICS` with its interval under every protocol, one panel each.

    Parameters
    ----------
    evaluation : Evaluation
        Of the model.

    Returns
    -------
    bytes
        A PNG; with words where a metric is undefined.
    """
    from matplotlib.figure import Figure

    columns = 3
    figure = Figure(figsize=(10.4, 6.6), dpi=_DPI, layout="constrained")
    panels = figure.subplots(math.ceil(len(METRICS) / columns), columns).ravel()
    frame = evaluation.as_frame()
    tested = frame.drop_duplicates("protocol").set_index("protocol")
    rows = [
        f"{_PROTOCOL_TITLES[protocol]}\n{of.tested_faults:,} of {of.tested_wafers:,} faulty"
        for protocol, of in zip(tested.index, tested.itertuples(), strict=True)
    ]
    for panel, (name, metric) in zip(panels, METRICS.items(), strict=False):
        for position, (protocol, estimates) in enumerate(evaluation.metrics.items()):
            _interval(panel, estimates[name], position, _PROTOCOL_STYLES[protocol], _INK)
        for position, chance in enumerate(frame.loc[frame["metric"] == name, "without_skill"]):
            if not math.isnan(chance):
                panel.plot([chance, chance], [position - 0.42, position + 0.42], ":", color=_FAULT, linewidth=1.6)
        panel.set_title(f"{metric.title}\n{metric.direction}", fontsize=10)
        first_column = panel in panels[::columns]
        panel.set_yticks(range(len(PROTOCOLS)), rows if first_column else [""] * len(PROTOCOLS), fontsize=8.5)
        panel.set_ylim(len(PROTOCOLS) - 0.5, -0.5)
        panel.margins(x=0.12)
        panel.locator_params(axis="x", nbins=5)
        panel.grid(axis="x", color="#e6e6e6")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"Quality with 95% intervals; dotted: a model without skill\n{_stated(evaluation, 'repeated_k_fold')}",
        fontsize=12,
    )
    return _png(figure)


def _stated(evaluation: Evaluation, protocol: str) -> str:
    return f"{'unproven: ' if evaluation.unproven else ''}{evaluation.tested(protocol)}"


def _entitle(axes: Axes, title: str, evaluation: Evaluation, protocol: str) -> None:
    """Write the title, and below it what the figures rest on."""
    axes.set_title(f"{title}\n{_stated(evaluation, protocol)}", fontsize=11)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _nothing(figure: Figure, axes: Axes, why: str) -> bytes:
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", wrap=True, transform=axes.transAxes)
    return _png(figure)


def _interval(axes: Axes, estimate: Estimate, y: float, marker: str, color: str) -> None:
    """Draw a value with its interval; hollow where it has no interval."""
    if math.isnan(estimate.value):
        axes.annotate("undefined", (0.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        return
    fill = "white" if math.isnan(estimate.low) else color
    axes.plot([estimate.low, estimate.high], [y, y], color=color, linewidth=1.6)
    axes.plot(estimate.value, y, marker, color=color, markerfacecolor=fill)


def _per_wafer(evaluation: Evaluation, protocol: str) -> pd.DataFrame:
    """Return ``row``, ``faulty`` and mean ``probability`` of the tested wafers, in time order."""
    grouped = evaluation.predictions(protocol).groupby("row", as_index=False)
    return grouped.agg(probability=("probability", "mean"), faulty=("faulty", "first"))


def _wilson(hits: Floats, counts: Floats, z: float = 1.959964) -> tuple[Floats, Floats]:
    share = hits / counts
    centre = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2)) / (1 + z**2 / counts)
    return np.minimum(centre - half, share), np.maximum(centre + half, share)


def _zoom(axes: Axes, points: Floats) -> None:
    """Leave a few far outliers out of the picture, and say so, so that the clusters are not a dot."""
    low, high = np.quantile(points[:, :2], [0.005, 0.995], axis=0)
    margin = 0.25 * (high - low) + 1e-9
    inside = ((points[:, :2] >= low - margin) & (points[:, :2] <= high + margin)).all(axis=1)
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    if outside := int((~inside).sum()):
        axes.text(
            0.99,
            0.01,
            f"{outside} wafers outside the picture",
            transform=axes.transAxes,
            ha="right",
            fontsize=8,
        )

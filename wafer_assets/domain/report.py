"""Pages for people: what to inspect in a batch and why, and what a bundle is worth.

Belongs here: putting figures that others worked out into words and places on a page; working figures out does
not. Every page is one HTML
file that loads nothing and runs no script, so that it can be mailed, printed and kept. What differs, differs
by shape, pattern or text, never by hue alone. Ids and names come from partners, and the templates escape them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.evaluation import METRICS, PROTOCOLS, Estimate, why_unproven
from wafer_assets.domain.scoring import readings_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from wafer_assets.domain.scoring import Bundle, Scores

Floats = NDArray[np.float64]

EXPLAINED = 8  # wafers whose contributions are drawn
LABELLED = 5  # wafers named on the map
LISTED = 3_000  # wafers in the list, so that a page stays below 2 MB
NAMED = 60  # sensors named where all of them would fill the page

_BAR, _HALF_BAR = 90, 68  # pixels: a probability's bar, and one side of a contribution's
_MAP_WIDTH, _MAP_HEIGHT, _MAP_LEFT, _MAP_BOTTOM, _MAP_LABELS = 820, 480, 46, 40, 150
# Corners in units of the mark's radius, by cluster; the first cluster has circles.
_CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    ((-1, -1), (1, -1), (-1, 1), (1, 1)),
    ((-1.2, 0), (0.8, -1.1), (0.8, 1.1)),
    ((1.2, 0), (-0.8, -1.1), (-0.8, 1.1)),
)


AGAINST_RULE = "promoted by hand against the promotion rule"


def batch_report(
    bundle: Bundle,
    scores: Scores,
    batch: str,
    wafers: pd.DataFrame,
    version: int,
    model_name: str,
    *,
    against_rule: bool = False,
    context: pd.DataFrame | None = None,
) -> bytes:
    """Say which wafers of a batch to inspect, and why.

    Parameters
    ----------
    bundle : Bundle
        What scored them.
    scores : Scores
        Of these wafers in the same order; without evidence there are no contributions.
    batch : str
        Name of the batch.
    wafers : DataFrame of shape (n_wafers, ...)
        The readings that were scored, and maybe ``wafer``.
    version : int
        Of the registered model.
    model_name : str
        Of the registered model.
    against_rule : bool
        Whether the version was promoted by hand although the promotion rule did not pass it.
    context : DataFrame of shape (n_wafers, n_context), optional
        What is known of the same wafers beside their readings, such as lot and tool; shown beside each.

    Returns
    -------
    bytes
        An HTML page in UTF-8; it says so where the model is unproven (`evaluation.why_unproven`).
    """
    rows, config = scores.rows, bundle.model.config or ModelConfig()
    probability, alarm = rows["probability"].to_numpy(), rows["faulty"].to_numpy(dtype=np.bool_)
    order = np.lexsort((-probability, ~alarm))
    names = _names(scores, wafers)
    top = _rounded_up(max(float(probability.max(initial=0)), float(bundle.model.threshold_)))
    return render_page(
        "batch.html.j2",
        batch=batch,
        wafers=len(rows),
        alarms=int(alarm.sum()),
        # A cost ratio knows no capacity.
        capacity_wafers=None if config.cost_ratio is not None else math.ceil(config.capacity * len(rows)),
        listed=_listed(rows, names, order, top, context),
        context=[] if context is None else [str(name) for name in context],
        bar={"width": _BAR, "top": top, "threshold": _BAR * float(bundle.model.threshold_) / top},
        explained=_explained(scores, names, order[:EXPLAINED]),
        half_bar=_HALF_BAR,
        map=_map(bundle, scores, names, order),
        missing=_missing(bundle, wafers, names),
        card=_card(bundle, version, model_name, against_rule),
    )


def model_card(bundle: Bundle, version: int, model_name: str, *, against_rule: bool = False) -> bytes:
    """Say what a bundle is for, what it was made of, how good it is and what it cannot do.

    Parameters
    ----------
    bundle : Bundle
        With its card; what the card does not hold is said to be not recorded.
    version : int
        Of the registered model.
    model_name : str
        Of the registered model.
    against_rule : bool
        Whether the version was promoted by hand although the promotion rule did not pass it.

    Returns
    -------
    bytes
        An HTML page in UTF-8; it says so where the model is unproven (`evaluation.why_unproven`).
    """
    return render_page("model.html.j2", card=_card(bundle, version, model_name, against_rule))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, signed=_signed, reading=_reading, count=_count)
    return environment


def render_page(template: str, **values: Any) -> bytes:
    """Return a page in UTF-8, from a template and what it shows."""
    return _environment().get_template(template).render(values).encode()


# --- Figures in words ---


def _percent(share: float) -> str:
    return "undefined" if math.isnan(share) else f"{100 * share:.1f}%"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _reading(value: float | None) -> str:
    return "none" if value is None else f"{value:.5g}"


def _count(value: int | None) -> str:
    return "not recorded" if value is None else f"{value:,}"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _rounded_up(value: float) -> float:
    """Return the next end of a scale: 1, 2, 3, 4, 5, 6, 8 or 10 times a power of ten."""
    if value <= 0:
        return 1.0
    unit: float = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * unit >= value * (1 - 1e-9))


def _names(scores: Scores, wafers: pd.DataFrame) -> list[str]:
    for frame in (scores.rows, wafers):
        if "wafer" in frame:
            return [str(name) for name in frame["wafer"]]
    return [f"Row {row}" for row in range(1, len(scores.rows) + 1)]


# --- The batch ---


def _listed(
    rows: pd.DataFrame, names: Sequence[str], order: NDArray[np.intp], top: float, context: pd.DataFrame | None
) -> list[dict[str, Any]]:
    wanted = ["probability", "faulty", "cluster", "decided_by"]
    records = rows[wanted].to_dict("records")
    drivers = rows["drivers"].tolist() if "drivers" in rows else [""] * len(rows)
    return [
        {
            **records[row],
            "rank": rank,
            "wafer": names[row],
            "drivers": drivers[row],
            "context": [] if context is None else [_plain(value) for value in context.iloc[row]],
            "bar": round(_BAR * records[row]["probability"] / top, 1),
        }
        for rank, row in enumerate(order[:LISTED].tolist(), start=1)
    ]


def _plain(value: object) -> str:
    """Return a value of a context column as people read it; nothing where it is missing."""
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _explained(scores: Scores, names: Sequence[str], chosen: NDArray[np.intp]) -> list[dict[str, Any]]:
    evidence = scores.evidence
    if evidence is None or not len(chosen):
        return []
    # One scale for all of them, so that a long bar is a strong reason in every wafer.
    longest = max(np.abs(evidence.contribution[chosen]).max(initial=0), np.abs(evidence.others[chosen]).max())
    scale = _HALF_BAR / max(float(longest), 1e-12)

    def bar(contribution: float) -> dict[str, float]:
        length = abs(contribution) * scale
        return {"x": round(_HALF_BAR - (length if contribution < 0 else 0), 1), "width": round(length, 1)}

    return [
        {
            "wafer": names[row],
            "probability": float(scores.rows["probability"].iloc[row]),
            "alarm": bool(scores.rows["faulty"].iloc[row]),
            "cluster": int(scores.rows["cluster"].iloc[row]),
            "base": float(evidence.base[row]),
            "sensors": [{**sensor, "bar": bar(sensor["contribution"])} for sensor in evidence.of(row)],
            "strongest": float(evidence.contribution[row].sum()),
            "others": {"contribution": float(evidence.others[row]), "bar": bar(float(evidence.others[row]))},
            "margin": float(scores.margin[row]),
        }
        for row in chosen.tolist()
    ]


def _missing(bundle: Bundle, wafers: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    gaps = readings_of(bundle, wafers).isna()
    used = set(bundle.explainer.sensors.tolist())
    nowhere = [str(sensor) for sensor in gaps.columns[gaps.all()]] if len(gaps) else []
    shares = gaps.mean(axis=1).to_numpy(dtype=np.float64)
    worst = np.argsort(-shares, kind="stable")[:LABELLED].tolist()
    matters = [sensor for sensor in nowhere if sensor in used]
    return {
        "sensors": len(gaps.columns),
        "nowhere": len(nowhere),
        "used": _shortened(matters),
        "unused": _shortened([sensor for sensor in nowhere if sensor not in used]),
        "absent": _shortened(sorted(set(bundle.optional).difference(map(str, wafers.columns)))),
        "quantiles": np.quantile(shares, [0, 0.5, 1]).tolist() if len(shares) else [],
        "mean": float(shares.mean()) if len(shares) else math.nan,
        "worst": [{"wafer": names[row], "share": float(shares[row])} for row in worst if shares[row] > 0],
    }


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


# --- The map ---


def _map(bundle: Bundle, scores: Scores, names: Sequence[str], order: NDArray[np.intp]) -> dict[str, Any]:
    """Place the training wafers and the batch on the first two principal components, in pixels."""
    trained = bundle.training_map
    known = np.column_stack([trained.x, trained.y]).astype(np.float64)
    batch = scores.coordinates.astype(np.float64)
    seen = known if len(known) else batch
    if not len(seen):
        return {}
    # A few far outliers would make everything else a dot: they are drawn at the edge, and counted.
    low, high = np.quantile(seen, [0.005, 0.995], axis=0)
    margin = 0.15 * (high - low) + 1e-9
    low, high = low - margin, high + margin
    right, bottom = _MAP_WIDTH - _MAP_LABELS, _MAP_HEIGHT - _MAP_BOTTOM
    start, size = np.array([_MAP_LEFT, bottom]), np.array([right - _MAP_LEFT, 10 - bottom])

    def place(points: Floats) -> Floats:
        shares = np.clip((points - low) / (high - low), 0, 1)
        placed: Floats = np.round(start + shares * size, 1)
        return placed

    clusters, old, new = np.asarray(trained.cluster), place(known), place(batch)
    labels = scores.rows["cluster"].to_numpy()
    alarm = scores.rows["faulty"].to_numpy(dtype=np.bool_)
    outside = ((batch < low) | (batch > high)).any(axis=1)
    shown = np.zeros(len(batch), dtype=np.bool_)
    shown[order[:LISTED]] = True
    groups = []
    for cluster in range(len(bundle.model.clusterer_.centers_)):
        mine = clusters == cluster
        passed, faulty = mine & (trained.faulty == 0), mine & (trained.faulty == 1)
        here = shown & (labels == cluster)
        groups.append(
            {
                "cluster": cluster,
                "legend": _marks(cluster, 5, np.array([[9.0, 9.0]])),
                "passed": _marks(cluster, 2.2, old[passed]),
                "faulty": _marks(cluster, 2.8, old[faulty]),
                "quiet": _marks(cluster, 6, new[here & ~alarm]),
                "alarms": _marks(cluster, 6, new[here & alarm]),
                "batch": int((labels == cluster).sum()),
                "batch_alarms": int(((labels == cluster) & alarm).sum()),
            }
        )
    return {
        "width": _MAP_WIDTH,
        "height": _MAP_HEIGHT,
        "left": _MAP_LEFT,
        "right": right,
        "bottom": bottom,
        "groups": groups,
        "labels": _labels(new, names, order[:LABELLED].tolist(), right),
        "x_ticks": [
            {"at": float(place(np.array([[tick, low[1]]]))[0, 0]), "value": f"{tick:g}"}
            for tick in _ticks(low[0], high[0])
        ],
        "y_ticks": [
            {"at": float(place(np.array([[low[0], tick]]))[0, 1]), "value": f"{tick:g}"}
            for tick in _ticks(low[1], high[1])
        ],
        "trained": len(known),
        "outside": int(outside.sum()),
    }


def _marks(cluster: int, radius: float, points: Floats) -> str:
    """Return one SVG path that draws the cluster's mark at every point."""
    corners = _CORNERS[cluster % len(_CORNERS)]
    if not corners:
        arc = f"a{radius} {radius} 0 1 0"
        return "".join(f"M{x - radius:.1f} {y:g}{arc} {2 * radius} 0{arc} {-2 * radius} 0z" for x, y in points.tolist())
    # Relative steps after the first corner are the same for every point.
    steps = np.diff(np.array(corners), axis=0) * radius
    rest = "".join(f"l{x:.2f} {y:.2f}" for x, y in steps.tolist()) + "z"
    first = np.array(corners[0]) * radius
    return "".join(f"M{x:.1f} {y:.1f}{rest}" for x, y in (points + first).tolist())


def _labels(points: Floats, names: Sequence[str], chosen: Sequence[int], right: float) -> list[dict[str, Any]]:
    """Write names in a column beside the map, in the order of their height, so that none hides another."""
    labels, lowest = [], 14.0
    for row in sorted(chosen, key=lambda row: float(points[row, 1])):
        x, y = points[row].tolist()
        lowest = min(max(y, lowest), _MAP_HEIGHT - _MAP_BOTTOM)
        name = names[row] if len(names[row]) <= 18 else f"{names[row][:17]}…"
        labels.append({"x": x, "y": y, "text_x": right + 14, "text_y": lowest, "name": name})
        lowest += 16
    return labels


def _ticks(low: float, high: float) -> list[float]:
    step = _rounded_up((high - low) / 6)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


# --- The bundle ---


def _card(bundle: Bundle, version: int, model_name: str, against_rule: bool) -> dict[str, Any]:
    """Put the bundle's card in the order and the words of a page; what was not recorded is said to be so."""
    card, model = bundle.card, bundle.model
    config = model.config or ModelConfig()
    quality = card.get("quality") or {}
    wafers, faults = card.get("wafers"), card.get("faults")
    share = faults / wafers if wafers and faults is not None else math.nan
    batches = [str(name) for name in card.get("batches") or ()]
    return {
        "model_name": model_name,
        "version": version,
        "contract_version": bundle.contract_version,
        "sensors": len(model.feature_names_in_),
        "used_sensors": len(bundle.explainer.sensors),
        "optional": ", ".join(bundle.optional),
        "policy": str(card.get("policy") or config.policy),
        "threshold": float(model.threshold_),
        "batches": batches,
        "wafers": wafers,
        "faults": faults,
        "share": share,
        "table_hash": card.get("table_hash"),
        "basis": _basis(card),
        "unproven": _unproven(card, against_rule),
        "protocols": [
            {"name": _protocol(name), "meaning": PROTOCOLS.get(name, "")} for name in _known_first(quality, PROTOCOLS)
        ],
        "quality": _quality(quality, share),
        "clusters": _clusters(bundle),
        "members": [
            {
                "name": member.replace("_", " "),
                "learners": len(learners),
                "slope": float(model.slopes_[member]),
            }
            for member, learners in model.members_.learners.items()
        ],
        "limits": _limits(bundle, quality, config),
        "config": [
            {"name": name, "value": "unset" if value is None else value, "meaning": _meaning(name)}
            for name, value in (card.get("config") or config.model_dump()).items()
        ],
        "strongest": [_sensor(entry) for entry in card.get("strongest_sensors") or ()],
    }


def _basis(card: Mapping[str, Any]) -> str:
    """Say what the figures rest on: numbers of faults and of folds."""
    faults, folds = card.get("faults"), card.get("folds")
    return f"{_count(faults)} faults, folds {_count(folds)}"


def _unproven(card: Mapping[str, Any], against_rule: bool) -> str:
    """Say why the model has not been shown to have skill; empty where it has, or where nothing is recorded."""
    reasons = [AGAINST_RULE] if against_rule else []
    auc, faults = ((card.get("quality") or {}).get("repeated_k_fold") or {}).get("auc"), card.get("faults")
    if auc is not None and faults is not None and (why := why_unproven(_estimate(auc), faults)):
        reasons += [why, f"AUC {_estimate(auc)} under repeated k-fold"]
    return "; ".join(reasons)


def _sensor(entry: str | Mapping[str, Any]) -> dict[str, str]:
    if isinstance(entry, str):
        return {"sensor": entry, "figures": ""}
    figures = (
        f"{name.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in entry.items()
        if name != "sensor"
    )
    return {"sensor": str(entry.get("sensor")), "figures": ", ".join(figures)}


def _meaning(name: str) -> str:
    field = ModelConfig.model_fields.get(name)
    return (field.description or "") if field else ""


def _protocol(name: str) -> str:
    return name.replace("_", " ").replace("k fold", "k-fold").capitalize()


def _known_first(names: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    return [name for name in known if name in names] + [name for name in names if name not in known]


def _estimate(values: Mapping[str, Any] | None) -> Estimate:
    if values is None:
        return Estimate(math.nan, reason="not measured")
    low, high, spread = (_number(values.get(name)) for name in ("low", "high", "spread"))
    return Estimate(_number(values.get("value")), low, high, spread, values.get("reason") or "no reason recorded")


def _quality(quality: Mapping[str, Mapping[str, Any]], share: float) -> list[dict[str, Any]]:
    protocols = _known_first(quality, PROTOCOLS)
    measured: dict[str, None] = dict.fromkeys(metric for protocol in protocols for metric in quality[protocol])
    rows = []
    for name in _known_first(measured, METRICS):
        metric = METRICS.get(name)
        chance = metric.without_skill(share) if metric and 0 < share < 1 else math.nan
        estimates = [_estimate(quality[protocol].get(name)) for protocol in protocols]
        rows.append(
            {
                "title": metric.title if metric else name,
                "meaning": metric.meaning if metric else "",
                "better": metric.direction if metric else "",
                "without_skill": "" if math.isnan(chance) else f"{chance:.3f}",
                "estimates": [
                    {"text": str(estimate), "spread": "" if math.isnan(estimate.spread) else f"{estimate.spread:.3f}"}
                    for estimate in estimates
                ],
            }
        )
    return rows


def _clusters(bundle: Bundle) -> list[dict[str, Any]]:
    recorded = {entry.get("cluster"): entry for entry in bundle.card.get("clusters") or ()}
    return [
        {
            "cluster": cluster,
            "wafers": recorded.get(cluster, {}).get("wafers"),
            "faulty": recorded.get(cluster, {}).get("faulty_wafers"),
            "weight": float(bundle.model.cluster_weights_[cluster]),
            "own": members is not None,
        }
        for cluster, members in enumerate(bundle.model.cluster_members_)
    ]


def _limits(bundle: Bundle, quality: Mapping[str, Mapping[str, Any]], config: ModelConfig) -> list[dict[str, str]]:
    """Say what the model cannot do, with figures where there are any."""
    measured = [
        f"AUC {_estimate(quality[name].get('auc'))} under {_protocol(name).lower()}"
        for name in _known_first(quality, PROTOCOLS)
    ]
    figures = f" Measured: {'; '.join(measured)}." if measured else " Its quality over time is not recorded."
    without = [str(cluster) for cluster, members in enumerate(bundle.model.cluster_members_) if members is None]
    optional = f" Only {', '.join(bundle.optional)} may be left out." if bundle.optional else ""
    return [
        {
            "title": "It does not follow a line that drifts.",
            "text": "It knows the line as it was when the training wafers were made. Figures from wafers of all "
            "times mixed may promise more than the future keeps; those in time order are the ones to plan with."
            + figures,
        },
        {
            "title": "It does not know causes.",
            "text": "Contributions say which readings moved the probability, and correlation is not cause: a sensor "
            "may only go along with what went wrong.",
        },
        {
            "title": "It does not know new sensors.",
            "text": f"It reads the {len(bundle.model.feature_names_in_)} sensors of contract "
            f"{bundle.contract_version} and refuses files with others.{optional} A missing reading is filled in, and "
            "the probability is then less certain than it looks.",
        },
        {
            "title": "It does not know every cluster equally well.",
            "text": (
                f"Clusters {', '.join(without)} had too few faults for models of their own and are "
                "decided by the global ones."
                if without
                else "Every cluster has models of its own; those of a cluster with few faults weigh little against "
                "the global ones."
            ),
        },
        {
            "title": "It does not refuse wafers unlike those it was trained on.",
            "text": "They get the nearest cluster and a probability like any other. Readings beyond "
            f"{config.clip:g} standard deviations count as {config.clip:g}, so an extreme one may be understated.",
        },
        {
            "title": "Its probabilities hold at the fault rate it was trained on.",
            "text": "Where faults become more or less frequent, the order of the wafers may hold while the "
            "probabilities, and the share of wafers above the threshold, do not.",
        },
    ]

"""Whether a newly trained model replaces the one that predicts.

Belongs here: the rules, on out-of-fold results alone. Carrying a decision out does not.

Two models are compared wafer by wafer on what both predicted without having been fitted on it, by repeated
k-fold: log loss decides, since the probability is what the line acts on; AUC and average precision may only
veto. A model also has to know more than the share of faults. That is the share among the compared wafers
themselves: no constant does better on them, so whoever beats it beats every share that could have been known
before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wafer_assets.domain.evaluation import TRUSTED_FAULTS, Estimate, paired_difference

MIN_FAULTS = TRUSTED_FAULTS
"""Faulty wafers, and passed ones, to judge by."""

MIN_COMMON_SHARE = 0.5
"""Share of the challenger's wafers that the champion must know: the rest would decide without having been asked."""

PROTOCOL = "repeated_k_fold"


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of a promotion.

    Attributes
    ----------
    name : str
        Short and stable, for records.
    passed : bool
        Whether it holds.
    estimate : Estimate
        A difference: the challenger's figure minus what it is held against.
    meaning : str
        The condition, for people.
    """

    name: str
    passed: bool
    estimate: Estimate
    meaning: str

    @property
    def figure(self) -> str:
        """The difference with its interval; differences of log loss need a fourth digit."""
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        if math.isnan(value):
            return f"undefined ({self.estimate.reason})"
        if math.isnan(low):
            return f"{value:+.4f} ({self.estimate.reason})"
        return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"

    @property
    def sentence(self) -> str:
        """The condition, the figure and what follows."""
        return f"{self.meaning}: {self.figure}, {'passed' if self.passed else 'not passed'}."


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a challenger, and why.

    Attributes
    ----------
    promote : bool
        Whether the challenger becomes champion.
    reasons : tuple of str
        Sentences for people, with the figures.
    gates : tuple of Gate
        Every condition that could be measured.
    wafers, faults : int
        Numbers of wafers, and of faulty ones among them, that challenger and champion are compared on; of the
        challenger alone where there is no champion.
    """

    promote: bool
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]
    wafers: int
    faults: int

    @property
    def basis(self) -> str:
        """What the decision rests on, in words: to be stated wherever its figures are shown."""
        return f"{self.faults:,} of {self.wafers:,} compared wafers faulty"

    def as_dict(self) -> dict[str, Any]:
        """Return the decision as plain JSON values; an undefined number is None."""
        return {
            "promote": self.promote,
            "reasons": list(self.reasons),
            "wafers": self.wafers,
            "faults": self.faults,
            "gates": [
                {"name": gate.name, "passed": gate.passed, "meaning": gate.meaning, **gate.estimate.as_dict()}
                for gate in self.gates
            ],
        }


def decide(
    challenger: pd.DataFrame, champion: pd.DataFrame | None, *, seed: int, clearly_better: bool = False
) -> Decision:
    """Decide whether a challenger becomes champion.

    Parameters
    ----------
    challenger : DataFrame of shape (n_tested, ...)
        Out-of-fold rows (`Evaluation.out_of_fold`); only those of repeated k-fold are looked at.
    champion : DataFrame of shape (n_tested, ...) or None
        The same of the current champion, whose wafers and repeats may be others; None for the first model.
    seed : int
        Of the bootstrap.
    clearly_better : bool
        Whether the whole interval of the log loss's difference must favour the challenger, not only the
        difference itself.

    Returns
    -------
    Decision
        Not to promote where too few wafers, or too few common ones, are there to judge by.
    """
    own = _prepared(challenger)
    if reason := _too_few(own):
        return _kept(reason, (), own)
    first = champion is None
    against_chance = paired_difference(own, _constant(own), seed=seed)
    gates = [
        _lower(
            "log_loss_below_base_rate",
            against_chance["log_loss"],
            "Log loss minus that of the base rate must lie below zero",
            whole=first,
        )
    ]
    if champion is None:
        gates.append(
            _gate(
                "auc_above_chance",
                against_chance["auc"],
                _low(against_chance["auc"]) > 0,
                "AUC minus one half must lie above zero with its whole interval",
            )
        )
        return _decided("There is no champion yet: the first model must beat the base rate", gates, own)

    left, right, corrected = _common(own, _prepared(champion))
    if reason := _not_comparable(left, own, corrected):
        return _kept(reason, tuple(gates), left)
    difference = paired_difference(left, right, seed=seed)
    gates += [
        _lower(
            "log_loss",
            difference["log_loss"],
            "Log loss minus the champion's must lie below zero",
            whole=clearly_better,
        ),
        *(
            _gate(
                name,
                difference[name],
                _high(difference[name]) >= 0,
                f"{title} minus the champion's must not lie below zero with its whole interval",
            )
            for name, title in (("auc", "AUC"), ("average_precision", "Average precision"))
        ),
    ]
    return _decided("Challenger and champion are compared wafer by wafer", gates, left)


# --- Results to compare ---


def _prepared(frame: pd.DataFrame) -> pd.DataFrame:
    rows: pd.DataFrame = frame[frame["protocol"] == PROTOCOL]
    return rows.sort_values(["repeat", "row"], ignore_index=True)


def _wafers(frame: pd.DataFrame) -> pd.Series[int]:
    """Return the outcome of every wafer, by wafer and in time order."""
    return frame.drop_duplicates("wafer").set_index("wafer")["faulty"]


def _constant(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the results of the model that knows the share of faults and nothing else."""
    once: pd.DataFrame = frame[frame["repeat"] == frame["repeat"].min()]
    return once.assign(probability=frame["faulty"].mean(), alarm=False)


def _common(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return both results reduced to the wafers that they agree on, in the order of `a`; and how many they do not."""
    left, right = _wafers(a), _wafers(b)
    shared = left.index[left.index.isin(right.index)]
    agreed = shared[left[shared].to_numpy() == right[shared].to_numpy()]
    row = pd.Series(np.arange(len(agreed)), index=agreed)

    def reduced(frame: pd.DataFrame) -> pd.DataFrame:
        kept = frame[frame["wafer"].isin(agreed)]
        return kept.assign(row=row.loc[kept["wafer"]].to_numpy())

    return reduced(a), reduced(b), len(shared) - len(agreed)


def _too_few(frame: pd.DataFrame) -> str:
    """Say why no figure of these results could be trusted; empty where it can."""
    outcomes = _wafers(frame)
    faults = int(outcomes.sum())
    if min(faults, len(outcomes) - faults) >= MIN_FAULTS:
        return ""
    return (
        f"Not comparable: {faults} faulty and {len(outcomes) - faults} passed wafers, of which {MIN_FAULTS} each are "
        "wanted for an interval to be trusted. Train on more wafers, or decide by hand with `wafer models promote`."
    )


def _not_comparable(common: pd.DataFrame, own: pd.DataFrame, corrected: int) -> str:
    """Say why the two results cannot be compared; empty where they can."""
    shared, all_wafers = len(_wafers(common)), len(_wafers(own))
    left_out = f" ({corrected} more were corrected in between)" if corrected else ""
    if shared < MIN_COMMON_SHARE * all_wafers:
        return (
            f"Not comparable: the champion was evaluated on {shared} of the challenger's {all_wafers} wafers"
            f"{left_out}, and {MIN_COMMON_SHARE:.0%} are wanted. Decide by hand with `wafer models promote`."
        )
    return _too_few(common)


# --- Conditions ---


def _low(estimate: Estimate) -> float:
    # Enough faults are there, so no interval means that every draw gives the very same value.
    return estimate.value if math.isnan(estimate.low) else estimate.low


def _high(estimate: Estimate) -> float:
    return estimate.value if math.isnan(estimate.high) else estimate.high


def _gate(name: str, estimate: Estimate, passed: bool, meaning: str) -> Gate:
    return Gate(name, bool(passed), estimate, meaning)


def _lower(name: str, estimate: Estimate, meaning: str, *, whole: bool) -> Gate:
    limit = _high(estimate) if whole else estimate.value
    return _gate(name, estimate, limit < 0, f"{meaning} with its whole interval" if whole else meaning)


def _decided(basis: str, gates: list[Gate], frame: pd.DataFrame) -> Decision:
    outcomes = _wafers(frame)
    wafers, faults = len(outcomes), int(outcomes.sum())
    failed = sum(not gate.passed for gate in gates)
    verdict = (
        f"No better: {failed} of {len(gates)} conditions do not hold." if failed else "Better: all conditions hold."
    )
    return Decision(
        not failed,
        (verdict, f"{basis}, on {wafers} wafers of which {faults} are faulty.", *(gate.sentence for gate in gates)),
        tuple(gates),
        wafers,
        faults,
    )


def _kept(reason: str, gates: tuple[Gate, ...], frame: pd.DataFrame) -> Decision:
    outcomes = _wafers(frame)
    return Decision(False, (reason, *(gate.sentence for gate in gates)), gates, len(outcomes), int(outcomes.sum()))

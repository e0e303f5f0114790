"""Suspicions: what somebody should look at in a file that keeps the contract, and what a person must decide on.

What follows from the file alone is a warning; where the labels are probably wrong, the file is held.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from schemas.loader import BatchSchema
from wafer_assets.domain.contract.reasons import Findings, Reason, listed, shown

# What tools and databases write for "no reading".
_CODES = np.array([float(f"{sign}{code}") for code in ("999", "9999", "99999", "999999") for sign in "+-"])
_CODE_CELLS = 5
"""So many cells of a number that stands far off are no chance."""

HISTORY = 300
"""Labelled wafers from which on a line's own fault rate counts, rather than the one that it declares."""
BURST = 8.0
"""Odds of a fault so many times the usual ones still happen: faults come in bouts."""
IMPLAUSIBLE = 1e-4
"""A file is held where not even a bout would have as many faults, in one file of ten thousand."""
CONTRADICTED = 0.05
"""A file is held where more than this share of the wafers known from other batches have another label now."""


@dataclass(frozen=True, slots=True)
class History:
    """What a line's accepted labelled batches say, without the one in question.

    Attributes
    ----------
    wafers, faulty : int
        How many there are, and how many of them are faulty.
    labels : mapping of str to bool
        Whether each known wafer is faulty, of those that the file holds too.
    """

    wafers: int = 0
    faulty: int = 0
    labels: Mapping[str, bool] | None = None


def find_suspicions(
    name: str, wafers: Sequence[str], readings: np.ndarray, schema: BatchSchema, warnings: Findings
) -> None:
    """Note what somebody should look at.

    Parameters
    ----------
    name : str
        The file's name.
    wafers : sequence of str
        Ids.
    readings : ndarray of shape (wafers, sensors)
        In schema order.
    schema : BatchSchema
        The contract.
    warnings : Findings
        Takes them.
    """
    moment = schema.batch_time(name)
    if moment is not None and moment > datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1):
        warnings.add("file_name_future", f"{moment:%-d %B %Y}")
    if wafers[0] in ("0", "1") and len(wafers) > 1:
        start = int(wafers[0])
        if list(wafers) == [str(number) for number in range(start, start + len(wafers))]:
            found = f"{start} to {start + len(wafers) - 1}"
            warnings.add("wafer_ids_row_numbers", found, column=schema.wafer, count=len(wafers))
    if len({wafer.casefold() for wafer in wafers}) < len(wafers):
        _find_similar(wafers, schema, warnings)
    _find_codes(readings, schema, warnings)


def _find_similar(wafers: Sequence[str], schema: BatchSchema, warnings: Findings) -> None:
    first: dict[str, str] = {}
    for wafer in wafers:
        other = first.setdefault(wafer.casefold(), wafer)
        if other != wafer:
            warnings.add("wafer_ids_similar", f"{shown(other)} and {shown(wafer)}", kind="", column=schema.wafer)


def _find_codes(readings: np.ndarray, schema: BatchSchema, warnings: Findings) -> None:
    """Find numbers such as 9999 that stand in several columns whose other values are quite different."""
    magnitudes = np.abs(readings)
    for code in _CODES[::2]:
        if np.count_nonzero(magnitudes == code) < _CODE_CELLS:
            continue
        for value in (code, -code):
            cells = readings == value
            columns = np.flatnonzero(cells.any(axis=0))
            if np.count_nonzero(cells) < _CODE_CELLS or len(columns) < 2:
                continue
            others = np.where(cells | np.isnan(readings), 0.0, magnitudes)[:, columns].max(axis=0)
            if np.count_nonzero(others < code / 2) * 2 > len(columns):
                count = int(np.count_nonzero(cells))
                found = (
                    f"{value:g} stands in {count:,} cells of {len(columns):,} columns, of otherwise quite other numbers"
                )
                column = schema.sensors[int(columns[0])]
                warnings.add("reading_code_probable", found, column=column, count=count)


def find_holds(frame: pd.DataFrame, schema: BatchSchema, history: History = History()) -> tuple[Reason, ...]:
    """Say why an accepted labelled file should wait for a person; nothing where it need not.

    Parameters
    ----------
    frame : DataFrame
        As `Accepted` holds it.
    schema : BatchSchema
        The contract.
    history : History
        Of the line; by default, nothing is known.

    Returns
    -------
    tuple of Reason
        With codes of `HOLDS`.
    """
    if "faulty" not in frame:
        return ()
    findings = Findings(schema)
    faulty, wafers = int(frame["faulty"].sum()), len(frame)
    rate = history.faulty / history.wafers if history.wafers >= HISTORY else schema.fault_rate
    if rate and is_implausible(faulty, wafers, rate):
        found = f"{faulty:,} of {wafers:,} wafers are faulty; about 1 in {max(round(1 / rate), 2):,} is usual"
        findings.add("fault_rate_implausible", found, column=schema.label, count=faulty)
    known = history.labels or {}
    held = [
        wafer
        for wafer, label in zip(frame["wafer"], frame["faulty"], strict=True)
        if wafer in known and known[wafer] != bool(label)
    ]
    if len(held) > CONTRADICTED * len(known):
        found = f"{len(held):,} of the {len(known):,} wafers that other batches hold too, such as {listed(held[:3])}"
        findings.add("labels_contradict", found, column=schema.label, count=len(held))
    return findings.reasons()


def is_implausible(faulty: int, wafers: int, rate: float) -> bool:
    """Return whether so many faulty wafers are more than a bout of faults explains.

    Parameters
    ----------
    faulty, wafers : int
        Of a file.
    rate : float
        The line's usual share of faulty wafers, above 0.

    Returns
    -------
    bool
        Whether a file of a line with `BURST` times the usual odds has as many in fewer than `IMPLAUSIBLE` of all cases.
    """
    odds = BURST * rate / (1 - rate) if rate < 1 else math.inf
    bout = odds / (1 + odds) if odds < math.inf else 1.0
    if faulty <= bout * wafers:
        return False
    return _at_least(faulty, wafers, bout) < IMPLAUSIBLE


def _at_least(successes: int, trials: int, probability: float) -> float:
    """Return the chance of at least so many successes, by the terms of the binomial distribution."""
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(count + 1)
            - math.lgamma(trials - count + 1)
            + count * math.log(probability)
            + (trials - count) * math.log1p(-probability)
        )
        for count in range(successes, trials + 1)
    )

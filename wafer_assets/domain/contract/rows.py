"""Rows: every cell of a sheet judged, and what the columns then hold."""

import math
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import numpy as np
import pandas as pd

from schemas.lines import WAFER_ID, is_storable_id
from schemas.loader import BatchSchema
from wafer_assets.domain.contract.cells import BLANKS, NUMBER, UNDECODED, Missing, Trouble, context_value, reading
from wafer_assets.domain.contract.formats import Sheet
from wafer_assets.domain.contract.reasons import Findings, listed, shown

# An empty column of a sensor with a declared share of readings is refused where fewer than one file in so many of this
# size would have one: ten wafers at a share of a half, 66 at a tenth. Without a share, any empty column is.
BY_CHANCE = 1 / 1_000
MAX_KNOWN = 100_000  # texts
CONTEXT_TYPES = {"text": "object", "number": "float64", "time": "datetime64[us]"}
# A long number as spreadsheets show it.
_SHORTENED = re.compile(r"[0-9](?:[.,][0-9]+)?E\+?[0-9]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a sheet, each column for itself.

    Attributes
    ----------
    wafers : list of str
        Ids.
    lines : list of int
        What findings call each row.
    readings : ndarray of shape (rows, sensors)
        In the order of the sensors asked for.
    faulty : list of bool
        Empty where there is no label.
    context : DataFrame of shape (rows, n_context)
        Context columns.
    """

    wafers: list[str]
    lines: list[int]
    readings: np.ndarray
    faulty: list[bool]
    context: pd.DataFrame


def read_rows(
    sheet: Sheet,
    columns: Mapping[int, str],
    sensors: Sequence[tuple[int, str]],
    schema: BatchSchema,
    findings: Findings,
) -> Rows:
    """Read the rows of a sheet, and note everything in them that breaks the contract."""
    wafer_place, label_place = (
        next((place for place, name in columns.items() if name == wanted), None)
        for wanted in (schema.wafer, schema.label)
    )
    contexts = {name: place for place, name in columns.items() if name in schema.context}
    ids, labels, missing = _Ids(schema, findings), _Labels(schema, findings), Missing.of(schema)
    readings, context = array("d"), {name: list[str]() for name in contexts}
    lines: list[int] = []
    known: dict[str, float] = {}  # texts that were read already: most come often
    for line, cells in sheet.rows:
        lines.append(line)
        if wafer_place is not None:
            ids.add(cells[wafer_place], line)
        values = [known.get(cells[place]) for place, _ in sensors]
        for number in [number for number, value in enumerate(values) if value is None]:
            place, name = sensors[number]
            values[number] = value = _read(cells[place], line, name, missing, sheet.decimal, findings)
            if len(known) < MAX_KNOWN and value != math.inf:
                known[cells[place]] = value
        readings.extend(cast("list[float]", values))
        if label_place is not None:
            labels.add(cells[label_place], line)
        for name, place in contexts.items():
            context[name].append(cells[place])
    ids.tell()
    labels.tell()
    if sheet.whole:
        _check_batch_size(len(lines), schema, findings)
    table = np.array(readings).reshape(len(lines), len(sensors))
    return Rows(ids.wafers, lines, table, labels.faulty, read_context(context, lines, schema, findings))


def _read(cell: str, line: int, column: str, missing: Missing, decimal: str, findings: Findings) -> float:
    """Return the value of a cell, infinity where something is wrong with it, which is told."""
    value = reading(cell, missing, decimal)
    if isinstance(value, Trouble):
        _tell_trouble(value, cell, line, column, findings)
        return math.inf
    return value


def _tell_trouble(trouble: Trouble, cell: str, line: int, column: str, findings: Findings) -> None:
    if UNDECODED.search(cell):
        return
    text = cell.strip(BLANKS)
    found = f"{shown(cell)}, {trouble.explanation}" if trouble.explanation else shown(cell)
    # One code is one mistake, wherever it stands; so is one kind of spelling.
    kind = text if trouble.code in ("reading_missing_code", "reading_failed") else trouble.explanation or "?"
    findings.add(trouble.code, found, kind=kind, row=line, column=column, remedy=trouble.remedy)


def _check_batch_size(n_rows: int, schema: BatchSchema, findings: Findings) -> None:
    if n_rows == 0:
        findings.add("csv_no_rows", "a header only")
    elif n_rows < schema.min_wafers:
        findings.add("batch_size", f"{n_rows:,} wafers, at least {schema.min_wafers:,} agreed")
    elif schema.max_wafers is not None and n_rows > schema.max_wafers:
        findings.add("batch_size", f"{n_rows:,} wafers, at most {schema.max_wafers:,} agreed")


class _Ids:
    """Collects the ids of the wafers, and tells once what is wrong with all of them."""

    def __init__(self, schema: BatchSchema, findings: Findings) -> None:
        self.wafers: list[str] = []
        self._schema, self._findings = schema, findings
        self._fits = re.compile(schema.wafer_id.pattern).fullmatch
        self._line_of: dict[str, int] = {}
        self._suspects: list[tuple[int, str]] = []

    def add(self, wafer: str, line: int) -> None:
        if not wafer.strip(BLANKS):
            self._tell("wafer_id_missing", shown(wafer), "", line)
        elif wafer in self._line_of or not is_storable_id(wafer) or self._fits(wafer) is None:
            self._suspects.append((line, wafer))
        self.wafers.append(wafer)
        self._line_of.setdefault(wafer, line)

    def tell(self) -> None:
        """Tell what is wrong, once all ids are known."""
        shortened = [(line, wafer) for line, wafer in self._suspects if _SHORTENED.fullmatch(wafer)]
        if shortened and 2 * len(shortened) >= len(self.wafers) - 1:
            found = f"{shown(shortened[0][1])}{' and others like it' if len(set(self.wafers)) > 1 else ' on every row'}"
            self._tell("wafer_id_shortened", found, "", self._line_of[shortened[0][1]], len(self.wafers))
            return
        for line, wafer in self._suspects:
            if UNDECODED.search(wafer):
                continue
            if self._line_of[wafer] < line:
                self._tell(
                    "wafer_id_repeated",
                    f"{shown(wafer)}, also on {self._findings.unit} {self._line_of[wafer]}",
                    wafer,
                    line,
                )
            else:
                found, kind = self._unsafe(wafer)
                self._tell("wafer_id_unsafe", found, kind, line)

    def _unsafe(self, wafer: str) -> tuple[str, str]:
        """Say what is wrong with an id, and which mistake it is an instance of."""
        if wafer != wafer.strip():
            twin = self._line_of.get(wafer.strip())
            found = f"{shown(wafer)} has a blank at an end"
            return (f"{found} and is otherwise that of {self._findings.unit} {twin}" if twin else found), "blank"
        odd = sorted({char for char in wafer if not (char.isascii() and (char.isalnum() or char in "._-"))})
        if odd and self._schema.wafer_id.pattern == WAFER_ID:
            names = {" ": "a blank"}
            return f"{shown(wafer)} holds {listed([names.get(char, shown(char)) for char in odd][:4])}", "".join(odd)
        if len(wafer) > 64:
            return f"{shown(wafer)} has {len(wafer):,} characters", "long"
        return f"{shown(wafer)} does not match {self._schema.wafer_id.pattern}", "form"

    def _tell(self, code: str, found: str, kind: str, line: int, count: int = 1) -> None:
        self._findings.add(code, found, kind=kind, row=line, column=self._schema.wafer, count=count)


class _Labels:
    """Collects the labels, and tells once in which way they are not as agreed."""

    def __init__(self, schema: BatchSchema, findings: Findings) -> None:
        self.faulty: list[bool] = []
        self._schema, self._findings = schema, findings
        self._values = {float(text): outcome for text, outcome in schema.label_values.items() if NUMBER.fullmatch(text)}
        self._unknown: list[tuple[int, str]] = []
        self._known: Counter[str] = Counter()

    def add(self, cell: str, line: int) -> None:
        text = cell.strip(BLANKS)
        outcome = self._schema.label_values.get(text)
        if outcome is None and NUMBER.fullmatch(text):
            outcome = self._values.get(float(text))  # 1.0 is 1
        if outcome is not None:
            self._known[outcome] += 1
        elif not text:
            self._findings.add("label_missing", shown(cell), kind="", row=line, column=self._schema.label)
        elif not UNDECODED.search(cell):
            self._unknown.append((line, text))
        self.faulty.append(outcome == "faulty")

    def tell(self) -> None:
        """Tell another coding from single mistakes."""
        if not self._unknown:
            return
        spellings = [text for text, _ in Counter(text for _, text in self._unknown).most_common()]
        line, column = self._unknown[0][0], self._schema.label
        if len(spellings) <= 3 and (len(self._unknown) > 1 or not self._known["passed"]):
            known = listed([*map(shown, self._schema.label_values)])
            also = "; others may mean something else too" if self._known else ""
            found = f"labels are {listed([*map(shown, spellings)])}, and the contract knows {known}{also}"
            self._findings.add("label_coding", found, row=line, column=column, count=len(self._unknown))
            return
        for row, text in self._unknown:
            self._findings.add("label_unknown", shown(text), kind="", row=row, column=column)


def read_context(
    cells: Mapping[str, Sequence[str]], lines: Sequence[int], schema: BatchSchema, findings: Findings
) -> pd.DataFrame:
    """Read the cells of the context columns."""
    missing = Missing.of(schema)
    frame = pd.DataFrame(np.empty((len(lines), 0)))
    for name in schema.columns if cells else ():
        if name not in cells:
            continue
        kind = schema.context[name].type
        values: list[str | float | datetime | None] = []
        for line, cell in zip(lines, cells[name], strict=True):
            try:
                values.append(context_value(cell.strip(BLANKS), kind, missing))
            except (ValueError, OverflowError):
                values.append(None)
                if not UNDECODED.search(cell):
                    findings.add("context_invalid", shown(cell), kind=name, row=line, column=name)
            else:
                if values[-1] is None and name == schema.order_column:
                    remedy = "Give it: the wafers of this line are ordered by it."
                    findings.add("context_invalid", shown(cell), kind=name, row=line, column=name, remedy=remedy)
        frame[name] = pd.Series(values, dtype=CONTEXT_TYPES[kind])
    return frame


def may_be_empty(sensor: str, n_wafers: int, schema: BatchSchema) -> bool:
    """Return whether it says nothing against a sensor that none of so many wafers has a reading."""
    if sensor in schema.optional_columns:
        return True
    share = schema.shares.get(sensor)
    return share is not None and (1 - share) ** n_wafers >= BY_CHANCE


def find_empty(sensors: Sequence[str], readings: np.ndarray, schema: BatchSchema, findings: Findings) -> None:
    """Note the sensors without any reading, among readings of shape (sensors, wafers)."""
    n_wafers = readings.shape[1]
    places = np.flatnonzero(np.isnan(readings).all(axis=1)).tolist() if n_wafers else []
    empty: dict[float | None, list[str]] = {}
    for name in [sensors[place] for place in places if not may_be_empty(sensors[place], n_wafers, schema)]:
        empty.setdefault(schema.shares.get(name), []).append(name)
    for share, names in empty.items():
        have = f"{listed(names)} {'has' if len(names) == 1 else 'have'}"
        have = f"{len(names):,} columns: {have}" if len(names) > 4 else have
        expected = f", though expected on {share:.0%} of them or more" if share else ""
        wafers = f"any of the {n_wafers:,} wafers" if n_wafers > 1 else "the only wafer"
        found = f"{have} no reading on {wafers}{expected}"
        findings.add("column_empty", found, column=names[0], count=len(names))


def outside(
    sensors: Sequence[str], readings: np.ndarray, ranges: Mapping[str, tuple[float, float]]
) -> list[tuple[int, int]]:
    """Return the wafers and sensors, by place, of readings of shape (sensors, wafers) outside of their ranges."""
    places = [place for place, name in enumerate(sensors) if name in ranges]
    if not places:
        return []
    low, high = np.array([ranges[sensors[place]] for place in places]).T[:, :, np.newaxis]
    ranged = readings[places]
    beyond = np.isfinite(ranged) & ((ranged < low) | (ranged > high))
    return [(wafer, places[column]) for wafer, column in np.argwhere(beyond.T).tolist()]


def find_outside(
    code: str,
    sensors: Sequence[str],
    readings: np.ndarray,
    ranges: Mapping[str, tuple[float, float]],
    lines: Sequence[int],
    findings: Findings,
) -> None:
    """Note the readings outside of their ranges, once a sensor."""
    for wafer, place in outside(sensors, readings, ranges):
        low, high = ranges[sensors[place]]
        found = f"{float(readings[place, wafer])!r}, not within {low:g} to {high:g}"
        findings.add(code, found, kind=sensors[place], row=lines[wafer], column=sensors[place])

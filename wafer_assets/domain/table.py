"""The wafer table: batch frames merged into one frame in time order, and its content hash.

Belongs here: what holds for every wafer table. Checking a batch is `contract`, learning from a table `training`.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd

from schemas.lines import ORDER_COLUMN
from schemas.loader import batch_time

# Rows and columns moved at a time, so that ordering and hashing need no second table.
ROW_CHUNK = 2_048
COLUMN_CHUNK = 32
GROWTH = 1.25

NOT_SENSORS = ("wafer", "batch", "order", "faulty")

NaturalKey = tuple[tuple[str | tuple[int, str], ...], str]


class EmptyTableError(ValueError):
    """There is no accepted batch to build a table from."""

    code = "no_accepted_batches"

    def __init__(self) -> None:
        super().__init__("No batch has been accepted. Ingest batch files, or see why they were quarantined.")


class ContractGrewError(ValueError):
    """A batch was stored before the contract got a sensor that every file must have.

    Attributes
    ----------
    sensors
        Names of the sensors.
    """

    code = "contract_grew"

    def __init__(self, sensors: Sequence[str]) -> None:
        more = f" and {len(sensors) - 3} more" if len(sensors) > 3 else ""
        super().__init__(f"it was stored without {', '.join(sensors[:3])}{more}, which the contract wants now")
        self.sensors = tuple(sensors)


def natural_key(wafer_id: str) -> NaturalKey:
    """Return the sort key of a wafer id, which puts `Wafer-9` before `Wafer-10`.

    Runs of digits compare as numbers and everything else as text without regard to case. So ids with the same
    text come in the order of their numbers, and ids without a number in alphabetical order.

    Parameters
    ----------
    wafer_id : str
        Any text.

    Returns
    -------
    tuple
        Different for different ids, so that any set of them has one order.
    """
    parts: list[str | tuple[int, str]] = []
    for place, part in enumerate(re.split(r"([0-9]+)", wafer_id.casefold())):
        # Without leading zeros, numbers compare by length and then as text, however long they are.
        digits = part.lstrip("0")
        parts.append((len(digits), digits) if place % 2 else part)
    return tuple(parts), wafer_id


def wafer_table(
    frames: Iterable[tuple[str, pd.DataFrame]],
    base: pd.DataFrame | None = None,
    *,
    order: str = "wafer_id",
    time_of: Callable[[str], datetime | None] = batch_time,
    overlaps: "dict[str, Overlap] | None" = None,
) -> tuple[pd.DataFrame, int]:
    """Merge batch frames into one row per wafer, in time order.

    Where several batches hold the same wafer, the one with the latest time stamp in its name wins, or the
    last name in alphabetical order among those of the same time. The order in which the batches come does
    not matter, and only one of them is held beside the table.

    Parameters
    ----------
    frames : iterable of (str, DataFrame)
        Batch names and batch frames as `contract.Accepted` holds them, all with the same columns.
    base : DataFrame, optional
        Table of other batches, to which these are added: the result is that of all of them.
    order : str
        What the order of wafers in time is, as the line declares: ``wafer_id``; ``batch_stamp``, the time in the name
        of the wafer's batch; or ``column:<name>``, a sensor, or else what the frames have as ``order``, wafers without
        a value last. Wafers that are equal in this come in the order of their ids.
    time_of : callable
        Returns the time stamp in the name of a batch, None where it has none; by default that of any line with names
        like ``wafer_28012020_051011.csv``.
    overlaps : dict, optional
        Takes what each batch superseded, added to what it holds of it.

    Returns
    -------
    table : DataFrame of shape (n_wafers, ...)
        ``wafer``, ``batch``, maybe ``order``, the sensors (float64) and, for labelled frames, ``faulty`` (int8).
    superseded : int
        How many rows lost to a later batch, without those that had lost in `base`.

    Raises
    ------
    EmptyTableError
        If there is no frame.
    ValueError
        If the frames differ in their columns, or have not the one that orders them.
    """
    merged = None if base is None else _GrowingTable.of(base, time_of)
    for batch, frame in frames:
        if merged is None:
            merged = _GrowingTable(list(frame.columns), time_of)
        merged.add(batch, frame)
    if merged is None:
        raise EmptyTableError
    if overlaps is not None:
        for batch, overlap in merged.overlaps.items():
            before = overlaps.get(batch, Overlap(0, 0))
            overlaps[batch] = Overlap(before.wafers + overlap.wafers, before.relabelled + overlap.relabelled)
    return merged.in_time_order(order), merged.superseded


class Overlap(NamedTuple):
    """What a batch superseded of other batches.

    Attributes
    ----------
    wafers
        How many of its wafers an earlier batch holds too.
    relabelled
        To how many of these it gives another label.
    """

    wafers: int
    relabelled: int


class _GrowingTable:
    """Wafers in the order of their arrival, in arrays that grow and whose rows later batches overwrite."""

    def __init__(self, columns: list[str], time_of: Callable[[str], datetime | None]) -> None:
        self.superseded = 0
        self.overlaps: dict[str, Overlap] = {}
        self._columns = columns
        self._time_of = time_of
        self._sensors = [column for column in columns if column not in NOT_SENSORS]
        self._rows: dict[str, int] = {}
        self._owners: list[tuple[datetime, str]] = []
        self._faulty: list[int] = []
        self._orders: list[float] = []
        self._readings = np.empty((0, len(self._sensors)))

    @classmethod
    def of(cls, table: pd.DataFrame, time_of: Callable[[str], datetime | None]) -> "_GrowingTable":
        """Return what merging the table's batches had led to."""
        merged = cls(list(table.columns.drop("batch")), time_of)
        owners = {batch: (time_of(batch) or datetime.min, batch) for batch in table["batch"].unique()}
        merged._rows = {wafer: row for row, wafer in enumerate(table["wafer"])}
        merged._owners = [owners[batch] for batch in table["batch"]]
        merged._readings = np.empty((len(table), len(merged._sensors)))
        for column, sensor in enumerate(merged._sensors):
            merged._readings[:, column] = table[sensor]
        merged._faulty = table["faulty"].tolist() if "faulty" in table else []
        merged._orders = table["order"].tolist() if "order" in table else []
        return merged

    def add(self, batch: str, frame: pd.DataFrame) -> None:
        if list(frame.columns) != self._columns:
            raise ValueError(f"Batch {batch} has other columns than the batches before it. Ingest it again.")
        labels = frame["faulty"].tolist() if "faulty" in frame else []
        sources, targets = self._take_rows(batch, frame["wafer"].tolist(), labels)
        if len(self._rows) > len(self._readings):
            capacity = max(len(self._rows), int(len(self._readings) * GROWTH))
            self._readings.resize((capacity, len(self._sensors)), refcheck=False)
        self._readings[targets] = sensor_readings(frame).to_numpy()[sources]
        for name, held in (("faulty", self._faulty), ("order", self._orders)):
            if name in self._columns:
                values = frame[name].tolist()
                held += [0] * (len(self._rows) - len(held))
                for source, target in zip(sources, targets, strict=True):
                    held[target] = values[source]

    def _take_rows(self, batch: str, wafers: list[str], labels: list[int]) -> tuple[list[int], list[int]]:
        """Decide which of a batch's rows go where in the arrays."""
        sources: list[int] = []
        targets: list[int] = []
        owner = (self._time_of(batch) or datetime.min, batch)
        for source, wafer in enumerate(wafers):
            target = self._rows.setdefault(wafer, len(self._rows))
            if target == len(self._owners):
                self._owners.append(owner)
            else:
                self.superseded += 1
                later = max(owner, self._owners[target])[1]
                known = self.overlaps.get(later, Overlap(0, 0))
                changed = bool(labels) and self._faulty[target] != labels[source]
                self.overlaps[later] = Overlap(known.wafers + 1, known.relabelled + changed)
                if owner <= self._owners[target]:
                    continue
                self._owners[target] = owner
            sources.append(source)
            targets.append(target)
        return sources, targets

    def in_time_order(self, by: str) -> pd.DataFrame:
        wafers = list(self._rows)
        order = sorted(range(len(wafers)), key=lambda row: natural_key(wafers[row]))
        if by == "batch_stamp":
            order.sort(key=self._owners.__getitem__)
        elif by.startswith(ORDER_COLUMN):
            values = self._values(by.removeprefix(ORDER_COLUMN))
            order.sort(key=lambda row: (math.isnan(values[row]), values[row]))
        self._readings.resize((len(wafers), len(self._sensors)), refcheck=False)
        for start in range(0, len(self._sensors), COLUMN_CHUNK):
            columns = slice(start, start + COLUMN_CHUNK)
            self._readings[:, columns] = self._readings[order, columns]
        table = pd.DataFrame(self._readings, columns=self._sensors, copy=False)
        table.insert(0, "wafer", [wafers[row] for row in order])
        table.insert(1, "batch", [self._owners[row][1] for row in order])
        if self._orders:
            table.insert(2, "order", np.array(self._orders, dtype=float)[order])
        if self._faulty:
            table["faulty"] = np.array(self._faulty, dtype=np.int8)[order]
        return table

    def _values(self, column: str) -> list[float]:
        """Return the values of a sensor, or else those that the frames have as ``order``."""
        if column in self._sensors:
            return list(self._readings[: len(self._rows), self._sensors.index(column)])
        if "order" not in self._columns:
            raise ValueError(f"The frames have no column {column} to order the wafers by. Ingest the batches again.")
        return self._orders


def sensor_names(frame: pd.DataFrame) -> list[str]:
    """Return the names of the sensor columns of a batch frame or a wafer table, in their order."""
    return [str(name) for name in frame.columns if name not in NOT_SENSORS]


def aligned(frame: pd.DataFrame, sensors: Sequence[str], optional: Collection[str]) -> pd.DataFrame:
    """Give a batch frame the sensors of the present contract.

    Parameters
    ----------
    frame : DataFrame of shape (n_wafers, ...)
        A batch frame that kept an earlier version of the contract, or the present one.
    sensors : sequence of str
        Of the present contract, in its order.
    optional : collection of str
        Those that a file may leave out: they become missing readings.

    Returns
    -------
    DataFrame of shape (n_wafers, ...)
        `frame` itself where its sensors are these.

    Raises
    ------
    ContractGrewError
        If it has no column for a sensor that is not optional.
    """
    there = sensor_names(frame)
    if there == [*sensors]:
        return frame
    lacking = [name for name in sensors if name not in set(there).union(optional)]
    if lacking:
        raise ContractGrewError(lacking)
    before = [name for name in ("wafer", "order") if name in frame]
    after = [name for name in ("faulty",) if name in frame]
    return frame.reindex(columns=[*before, *sensors, *after])


def sensor_readings(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the sensor columns of a batch frame or a wafer table, shape (n_wafers, n_sensors)."""
    return frame.drop(columns=[*NOT_SENSORS], errors="ignore")


def frame_hash(frame: pd.DataFrame) -> str:
    """Hash the content of a batch frame or a wafer table.

    It covers the names and the order of columns and rows and every text, label and reading (exact float64,
    all missing values alike), and nothing of how pandas holds them. It stays the same from release to release.

    Parameters
    ----------
    frame : DataFrame of shape (n_wafers, ...)
        Maybe ``wafer``, ``batch``, ``order`` and ``faulty``; all other columns are sensors.

    Returns
    -------
    str
        The SHA-256, 64 hexadecimal digits.
    """
    texts = [list(frame.columns), *(frame[name].tolist() for name in ("wafer", "batch") if name in frame)]
    digest = hashlib.sha256(json.dumps(texts).encode())
    if "order" in frame:
        digest.update(frame["order"].to_numpy(dtype="<f8").tobytes())
    if "faulty" in frame:
        digest.update(frame["faulty"].to_numpy(dtype="int8").tobytes())
    for start in range(0, len(frame), ROW_CHUNK):
        rows = frame.iloc[start : start + ROW_CHUNK]
        readings = sensor_readings(rows).to_numpy(dtype="<f8", copy=True)
        readings[np.isnan(readings)] = np.nan
        digest.update(np.ascontiguousarray(readings).data)
    return digest.hexdigest()

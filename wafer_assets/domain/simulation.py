"""A simulated fab: wafers with known faults and their causes, as tables, good batch files and broken ones.

The same process stands behind every seed, as the same fab would: the seed draws wafers, not sensors. It has
the traits of real lines that make fault prediction hard: most sensors are noise, many are constant or rarely
taken, readings go missing, chambers differ, everything drifts, some sensors join late, and faults are rare.

Belongs here: making wafers and files. Checking and learning from them does not.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from schemas.loader import BatchSchema, Feed, load_schema

WAFERS_PER_BATCH = 100
FAULT_RATE = 0.06
# Optional sensors have no reading before this wafer.
COMMISSIONED_AT = 500
FIRST_WAFER_AT = datetime(2020, 1, 6, 6, 0, 0)
TIME_PER_WAFER = timedelta(minutes=7)

PROCESS_SEED = 590
CHAMBER_SHARES = (0.5, 0.3, 0.2)
CONSTANT_SHARE = 116 / 590
RARE_SHARE = 20 / 590
MISSING_RATE = 0.012
SENSORS_PER_MECHANISM = 5
N_COMMON_MECHANISMS = 2
N_FACTORS = 8
NOISE = 0.8
DECIMALS = 4


@dataclass(frozen=True, slots=True)
class SimulatedBatch:
    """A good batch file.

    Attributes
    ----------
    name : str
        The file's name.
    content : bytes
        The whole file.
    causes : dict of str -> tuple of str
        Each faulty wafer's id, with the sensors whose readings the fault shifted.
    """

    name: str
    content: bytes
    causes: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class BrokenBatch:
    """A batch file that the contract refuses.

    Attributes
    ----------
    name : str
        The file's name.
    content : bytes
        The whole file.
    codes : frozenset of str
        The codes of all reasons against it, keys of `contract.REASONS`.
    """

    name: str
    content: bytes
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Mechanism:
    """A way for wafers to become faulty: the sensors it shifts, and in which direction (1 or -1)."""

    sensors: np.ndarray
    directions: np.ndarray


@dataclass(frozen=True, slots=True)
class _Process:
    """The fab: how each of the sensors behaves, in standard deviations around its location."""

    location: np.ndarray
    scale: np.ndarray
    constant: np.ndarray
    optional: np.ndarray
    missing_rate: np.ndarray
    loadings: np.ndarray
    chambers: np.ndarray
    drift: np.ndarray
    common: tuple[_Mechanism, ...]
    of_chamber: tuple[_Mechanism, ...]


@dataclass(frozen=True, slots=True)
class _Wafers:
    """Drawn wafers: readings of shape (wafers, sensors), which are faulty, and the sensors that shifted."""

    readings: np.ndarray
    faulty: np.ndarray
    shifted: dict[int, np.ndarray]


@cache
def _process(sensors: tuple[str, ...], optional: tuple[str, ...]) -> _Process:
    rng = np.random.default_rng(PROCESS_SEED)
    n = len(sensors)
    is_optional = np.isin(sensors, optional)
    location = rng.choice([-1.0, 1.0], n, p=[0.1, 0.9]) * 10.0 ** rng.uniform(-1, 4, n)
    kinds = rng.permutation(np.flatnonzero(~is_optional))
    n_constant, n_rare = round(n * CONSTANT_SHARE), round(n * RARE_SHARE)
    constant, rare, usual = np.split(kinds, [n_constant, n_constant + n_rare])
    missing_rate = np.full(n, MISSING_RATE)
    missing_rate[rare] = rng.uniform(0.6, 0.9, n_rare)
    n_mechanisms = N_COMMON_MECHANISMS + len(CHAMBER_SHARES)
    mechanisms = tuple(
        _Mechanism(shifted, rng.choice([-1.0, 1.0], SENSORS_PER_MECHANISM))
        for shifted in np.resize(usual, (n_mechanisms, SENSORS_PER_MECHANISM))
    )
    return _Process(
        location=np.round(location, DECIMALS),
        scale=np.maximum(np.abs(location) * rng.uniform(0.01, 0.2, n), 0.01),
        constant=np.isin(np.arange(n), constant),
        optional=is_optional,
        missing_rate=missing_rate,
        loadings=rng.normal(0, 0.6 / np.sqrt(N_FACTORS), (N_FACTORS, n)),
        chambers=rng.normal(0, 2, (len(CHAMBER_SHARES), n)) * (rng.random(n) < 0.3),
        drift=rng.normal(0, 0.6, (3, n)) * (rng.random((3, n)) < 0.3),
        common=mechanisms[:N_COMMON_MECHANISMS],
        of_chamber=mechanisms[N_COMMON_MECHANISMS:],
    )


def _draw(
    process: _Process,
    first_wafer: int,
    n_wafers: int,
    seed: int,
    fault_rate: float,
    *,
    complete: bool = False,
) -> _Wafers:
    """Draw the wafers of one batch; with `complete`, no reading is missing."""
    rng = np.random.default_rng([seed, first_wafer])
    numbers = np.arange(first_wafer, first_wafer + n_wafers)
    n_sensors = len(process.location)
    chambers = rng.choice(len(CHAMBER_SHARES), n_wafers, p=CHAMBER_SHARES)
    # A slow cycle, a slower one, and wear that maintenance resets.
    drift = np.column_stack(
        [np.sin(2 * np.pi * numbers / 900), np.sin(2 * np.pi * numbers / 3700), numbers % 400 / 200 - 1]
    )
    readings = rng.standard_normal((n_wafers, n_sensors)) * NOISE
    readings += rng.standard_normal((n_wafers, N_FACTORS)) @ process.loadings
    readings += process.chambers[chambers]
    readings += drift @ process.drift

    faulty = rng.random(n_wafers) < fault_rate
    shifted: dict[int, np.ndarray] = {}
    for wafer in np.flatnonzero(faulty):
        mechanisms = (*process.common, process.of_chamber[chambers[wafer]])
        mechanism = mechanisms[rng.choice(len(mechanisms), p=[0.25, 0.25, 0.5])]
        readings[wafer, mechanism.sensors] += mechanism.directions * rng.uniform(2.5, 4.5)
        shifted[int(wafer)] = mechanism.sensors

    readings *= process.scale
    readings += process.location
    np.round(readings, DECIMALS, out=readings)
    readings[:, process.constant] = process.location[process.constant]
    if not complete:
        _lose_readings(readings, numbers, shifted, process, rng)
    return _Wafers(readings, faulty, shifted)


def _lose_readings(
    readings: np.ndarray,
    numbers: np.ndarray,
    shifted: dict[int, np.ndarray],
    process: _Process,
    rng: np.random.Generator,
) -> None:
    """Make readings missing, but not those that show a fault, nor all of a column that must not be empty."""
    missing = rng.random(readings.shape) < process.missing_rate
    for wafer, sensors in shifted.items():
        missing[wafer, sensors] = False
    missing[0] &= process.optional | ~missing.all(axis=0)
    missing |= (numbers < COMMISSIONED_AT)[:, None] & process.optional
    readings[missing] = np.nan


def _batch_name(first_wafer: int) -> str:
    time = FIRST_WAFER_AT + first_wafer * TIME_PER_WAFER
    return f"wafer_{time:%d%m%Y_%H%M%S}.csv"


def simulate_table(n_wafers: int, *, seed: int, fault_rate: float = FAULT_RATE, first_wafer: int = 1) -> pd.DataFrame:
    """Simulate a wafer table of the training feed.

    It holds exactly the wafers that `simulate_batches` puts into files of 100 with the same seed.

    Parameters
    ----------
    n_wafers : int
        Number of rows.
    seed : int
        Draws the wafers.
    fault_rate : float
        Expected share of faulty wafers.
    first_wafer : int
        Number of the first wafer, which decides where the line is in its drift.

    Returns
    -------
    DataFrame of shape (n_wafers, n_sensors + 3)
        ``wafer``, ``batch``, the sensors (float64, NaN where missing) and ``faulty`` (int8), in time order.
    """
    schema = load_schema("training")
    process = _process(schema.sensors, schema.optional_columns)
    readings = np.empty((n_wafers, len(schema.sensors)))
    faulty = np.empty(n_wafers, dtype=np.int8)
    batches: list[str] = []
    for start in range(0, n_wafers, WAFERS_PER_BATCH):
        size = min(WAFERS_PER_BATCH, n_wafers - start)
        drawn = _draw(process, first_wafer + start, size, seed, fault_rate)
        readings[start : start + size] = drawn.readings
        faulty[start : start + size] = drawn.faulty
        batches += [_batch_name(first_wafer + start)] * size
    table = pd.DataFrame(readings, columns=list(schema.sensors), copy=False)
    table.insert(0, "wafer", [f"Wafer-{number}" for number in range(first_wafer, first_wafer + n_wafers)])
    table.insert(1, "batch", batches)
    table["faulty"] = faulty
    return table


def simulate_batches(
    n_batches: int,
    wafers_per_batch: int = WAFERS_PER_BATCH,
    *,
    feed: Feed,
    schema: BatchSchema | None = None,
    seed: int,
    fault_rate: float = FAULT_RATE,
    first_wafer: int = 1,
) -> Iterator[SimulatedBatch]:
    """Simulate batch files that keep the contract, in time order.

    Parameters
    ----------
    n_batches, wafers_per_batch : int
        How many files of how many wafers.
    feed : {"training", "prediction"}
        The feed they are for; only training files are labelled.
    schema : BatchSchema, optional
        The contract to keep; by default the feed's shipped one.
    seed : int
        Draws the wafers.
    fault_rate : float
        Expected share of faulty wafers.
    first_wafer : int
        Number of the first wafer. Prediction files that follow the training files start after their last one.

    Yields
    ------
    SimulatedBatch
        In time order.
    """
    schema = schema or load_schema(feed)
    process = _process(schema.sensors, schema.optional_columns)
    for batch in range(n_batches):
        first = first_wafer + batch * wafers_per_batch
        drawn = _draw(process, first, wafers_per_batch, seed, fault_rate)
        ids = [f"Wafer-{first + wafer}" for wafer in range(wafers_per_batch)]
        causes = {
            ids[wafer]: tuple(schema.sensors[sensor] for sensor in sensors) for wafer, sensors in drawn.shifted.items()
        }
        yield SimulatedBatch(_batch_name(first), _csv(ids, drawn, schema), causes)


def _first_key(mapping: Mapping[str, str], value: str, default: str) -> str:
    return next((key for key, held in mapping.items() if held == value), default)


def _csv(ids: list[str], wafers: _Wafers, schema: BatchSchema) -> bytes:
    """Write a batch file as the partner does: with the alias of a header where the schema has one."""
    headers = [_first_key(schema.header_aliases, column, column) for column in schema.columns]
    readings = iter(wafers.readings.T)
    columns: dict[str, pa.Array] = {}
    for name, kind in schema.columns.items():
        if kind == "varchar":
            columns[name] = pa.array(ids)
        elif kind == "float":
            columns[name] = pa.array(next(readings), from_pandas=True)
        else:
            passed, faulty = (_first_key(schema.label_values, outcome, "") for outcome in ("passed", "faulty"))
            columns[name] = pa.array(np.where(wafers.faulty, faulty, passed))
    file = io.BytesIO()
    file.write(",".join(headers).encode() + b"\n")
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    pyarrow.csv.write_csv(pa.table(columns), file, options)
    return file.getvalue()


def broken_batches(schema: BatchSchema, seed: int) -> Iterator[BrokenBatch]:
    """Make a small batch file for every reason the contract can refuse a file of this schema for.

    Parameters
    ----------
    schema : BatchSchema
        The contract to break.
    seed : int
        Draws the wafers of the file that is then broken.

    Yields
    ------
    BrokenBatch
        With a name of its own.
    """
    wafers = _draw(_process(schema.sensors, schema.optional_columns), 1, 4, seed, FAULT_RATE, complete=True)
    good = _csv(["Wafer-1", "Wafer-2", "Wafer-3", "Wafer-4"], wafers, schema)
    for number, (codes, content) in enumerate(_broken_contents(good, schema)):
        yield BrokenBatch(f"wafer_01012019_0000{number:02}.csv", content, frozenset(codes))
    yield BrokenBatch("wafer_31022020_250000.csv", good, frozenset({"file_name_invalid"}))


def _broken_contents(good: bytes, schema: BatchSchema) -> Iterator[tuple[set[str], bytes]]:
    """Yield the codes and the content of files with a good name."""
    columns = list(schema.columns)
    wafer = columns.index(schema.wafer)
    sensor = columns.index(next(name for name in schema.sensors if name not in schema.optional_columns))
    rows = [line.split(",") for line in good.decode().splitlines()]
    header, *wafers = rows

    def with_cell(row: int, column: int, text: str) -> bytes:
        return _text([*rows[:row], _replaced(rows[row], column, text), *rows[row + 1 :]])

    yield {"file_empty"}, b""
    yield {"file_too_large"}, good.ljust(schema.max_file_size + 1, b"\n")
    yield {"encoding_not_utf8"}, good.replace(b"Wafer-2", "Wafer-½".encode("latin-1"))
    yield {"encoding_binary"}, good.replace(b"Wafer-2", b"Wafer-\0")
    yield {"format_other"}, _zipped(good)
    yield {"file_cut_off"}, good + bytes(512)
    yield {"csv_malformed"}, with_cell(4, wafer, '"Wafer-4')
    yield {"csv_delimiter"}, good.replace(b",", b";")
    yield {"csv_ragged_row"}, _text([*rows[:-1], rows[-1][:-1]])
    yield {"csv_no_rows"}, _text([header])
    yield {"csv_decimal_comma"}, _text([header, *(",".join(row).replace(".", ",").split(",") for row in wafers)])
    yield {"csv_trailing_delimiter"}, _text([[*row, ""] for row in rows])
    yield {"csv_header_missing"}, _text(wafers)
    yield {"csv_preamble"}, _text([["Tester: T7"], *rows])
    yield {"csv_header_repeated"}, _text([*rows[:3], header, *rows[3:]])
    yield {"row_not_a_wafer"}, _text([*rows, ["Total wafers: 4"]])
    yield {"column_row_numbers"}, _text([["", *header], *([str(number), *row] for number, row in enumerate(wafers))])
    yield {"column_missing"}, _text([_without(row, sensor) for row in rows])
    yield {"column_unexpected"}, _text([[*header, "Lot"], *([*row, "1"] for row in wafers)])
    yield {"column_repeated"}, _text([[*row, row[sensor]] for row in rows])
    yield {"column_renamed"}, with_cell(0, sensor, columns[sensor].replace("-", " - "))
    yield {"column_empty"}, _text([header, *(_replaced(row, sensor, "") for row in wafers)])
    yield {"reading_not_a_number"}, with_cell(2, sensor, '"1,024.5"')
    yield {"reading_not_finite"}, with_cell(2, sensor, "1e400")
    yield {"reading_missing_code"}, with_cell(2, sensor, "NaN")
    yield {"reading_failed"}, with_cell(2, sensor, "#DIV/0!")
    yield {"reading_underflow"}, with_cell(2, sensor, "1e-99999")
    yield {"wafer_id_missing"}, with_cell(2, wafer, "")
    yield {"wafer_id_unsafe"}, with_cell(2, wafer, "=cmd()|'/c calc'!A1")
    yield {"wafer_id_repeated"}, with_cell(2, wafer, "Wafer-1")
    yield {"wafer_id_shortened"}, _text([header, *(_replaced(row, wafer, "1.23457E+11") for row in wafers)])
    if schema.label is not None:
        label = columns.index(schema.label)
        yield {"label_missing"}, with_cell(2, label, "")
        yield (
            {"label_unknown"},
            _text([header, *(_replaced(row, label, "-1") for row in wafers[1:]), _replaced(wafers[0], label, "3")]),
        )
        yield {"label_coding"}, _text([header, *(_replaced(row, label, "0") for row in wafers)])
        yield {"labels_absent"}, _text([_without(row, label) for row in rows])
    else:
        yield {"labels_unexpected"}, _text([[*header, schema.label_names[0]], *([*row, "1"] for row in wafers)])
    yield {"reading_missing_code", "wafer_id_repeated"}, _text([*rows, _replaced(rows[1], sensor, "NaN")])


def _replaced(row: list[str], column: int, text: str) -> list[str]:
    return [*row[:column], text, *row[column + 1 :]]


def _without(row: list[str], column: int) -> list[str]:
    return row[:column] + row[column + 1 :]


def _text(rows: list[list[str]]) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()


def _zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("wafer.csv"), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()

"""The quick reader: settles CSV files that keep the contract, and none that needs a word of explanation."""

import re
from collections.abc import Container, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from schemas.lines import is_storable_id
from schemas.loader import BatchSchema
from wafer_assets.domain.contract.cells import Missing
from wafer_assets.domain.contract.reasons import Findings
from wafer_assets.domain.contract.rows import Rows, find_outside, may_be_empty, outside, read_context

_MARK = b"\xef\xbb\xbf"
_ZEROS = b"0" * 100


def read_quickly(content: bytes, schema: BatchSchema, warnings: Findings) -> Rows | None:
    """Read a file that keeps the contract; None for any other, or one in an unusual spelling.

    Parameters
    ----------
    content : bytes
        The whole file, unpacked.
    schema : BatchSchema
        The contract.
    warnings : Findings
        Takes readings outside of their usual range.

    Returns
    -------
    Rows or None
        With the readings of all sensors, in schema order.
    """
    names, table = _parse(content, schema) or ([], None)
    if table is None or not schema.min_wafers <= table.num_rows <= (schema.max_wafers or table.num_rows):
        return None
    sensors, readings = schema.sensors, _readings(content, table, set(names), schema)
    if readings is None or outside(sensors, readings, schema.valid):
        return None
    if _may_underflow(content):
        return None
    wafers: list[str] = table.column(schema.wafer).to_pylist()
    fits = re.compile(schema.wafer_id.pattern).fullmatch
    if len(set(wafers)) < len(wafers) or not all(is_storable_id(wafer) and fits(wafer) for wafer in wafers):
        return None
    labels: list[str] = [] if schema.label is None else table.column(schema.label).to_pylist()
    outcomes = [schema.label_values.get(label) for label in labels]
    lines = _lines_of_rows(content) if schema.context or schema.usual else [0] * len(wafers)
    if None in outcomes or len(lines) != len(wafers):
        return None
    unexplained = Findings(schema)
    context = _context(table, lines, schema, unexplained)
    if unexplained:
        return None
    find_outside("reading_unusual", sensors, readings, schema.usual, lines, warnings)
    return Rows(wafers, lines, readings.T, [outcome == "faulty" for outcome in outcomes], context)


def _may_underflow(content: bytes) -> bool:
    """Return whether a number may be too small for a float64, which Arrow reads as 0 without a word."""
    if _ZEROS in content:
        return True
    text = np.frombuffer(content, dtype=np.uint8)
    minus = np.flatnonzero(text[1:-4] == ord("-")) + 1
    exponents = minus[(text[minus - 1] | 0x20) == ord("e")]
    # Only an exponent of three digits or more can be too small, unless there are many zeros in front of it.
    following = text[exponents[:, np.newaxis] + np.arange(1, 4)]
    return bool(((following >= ord("0")) & (following <= ord("9"))).all(axis=1).any())


def _context(table: pa.Table, lines: Sequence[int], schema: BatchSchema, findings: Findings) -> pd.DataFrame:
    return read_context({name: table.column(name).to_pylist() for name in schema.context}, lines, schema, findings)


def _parse(content: bytes, schema: BatchSchema) -> tuple[list[str], pa.Table] | None:
    """Parse a file with the schema's columns, which are named, in their types; None for any other or unusual one."""
    header = content.removeprefix(_MARK).partition(b"\n")[0].removesuffix(b"\r")
    delimiter = schema.delimiter
    if b'"' in content or b"\r" in header or header.count(delimiter.encode()) >= len(schema.columns):
        return None
    sensors = set(schema.sensors)
    try:
        headers = header.decode().split(delimiter)
        names = [schema.column_of(name, position) for position, name in enumerate(headers)]
        absent = schema.columns.keys() - set(names)
        if len(names) + len(absent) != len(schema.columns) or not absent.issubset(schema.optional_columns):
            return None
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.float64() if name in sensors else pa.string() for name in names},
                null_values=["", *schema.missing],
                decimal_point=schema.decimal,
            ),
        )
    except (UnicodeDecodeError, pa.ArrowException):
        return None
    return names, table


def _readings(content: bytes, table: pa.Table, names: Container[str], schema: BatchSchema) -> np.ndarray | None:
    """Return the readings, shape (sensors, wafers); None where one may break the contract."""
    sensors = schema.sensors
    present = [name for name in sensors if name in names]
    if not present or not table.num_rows:
        return None
    (batch,) = table.select(present).combine_chunks().to_batches()
    readings = np.array(batch.to_tensor(null_to_nan=True, row_major=False).to_numpy().T)
    if len(present) < len(sensors):
        readings, some = np.full((len(sensors), table.num_rows), np.nan), readings
        readings[[place for place, name in enumerate(sensors) if name in names]] = some
    measured = ~np.isnan(readings)
    if np.isinf(readings).any():
        return None
    # Arrow reads `nan` as a number: only empty cells may be none.
    if b"nan" in content.lower():
        nulls = sum(column.null_count for column in batch.columns) + (len(sensors) - len(present)) * table.num_rows
        if np.count_nonzero(measured) + nulls != readings.size:
            return None
    if schema.missing:
        measured &= ~np.isin(readings, Missing.of(schema).values)
        readings[~measured] = np.nan
    empty = np.flatnonzero(~measured.any(axis=1)).tolist()
    return readings if all(may_be_empty(sensors[place], table.num_rows, schema) for place in empty) else None


def _lines_of_rows(content: bytes) -> list[int]:
    """Return the line numbers of the rows below the header of a file without quotes."""
    return [number for number, line in enumerate(re.split(rb"\r\n|\r|\n", content), 1) if line][1:]

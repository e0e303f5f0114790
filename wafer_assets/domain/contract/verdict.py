"""The verdict on a batch file: its name and bytes in; a normalised frame, or every reason for refusal out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from schemas.loader import MEGABYTE, BatchSchema
from wafer_assets.domain.contract.columns import match_columns
from wafer_assets.domain.contract.formats import Sheet, is_as_declared, json_sheet, parquet_sheet, unpacked
from wafer_assets.domain.contract.layout import csv_sheet
from wafer_assets.domain.contract.quick import read_quickly
from wafer_assets.domain.contract.reasons import Findings, Reason, Unit, shown
from wafer_assets.domain.contract.rows import Rows, find_empty, find_outside, read_rows
from wafer_assets.domain.contract.suspicions import find_suspicions


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """A file that keeps the contract.

    Attributes
    ----------
    frame : DataFrame of shape (n_wafers, ...)
        ``wafer`` (str), the sensors in schema order (float64, NaN where missing) and, for training files,
        ``faulty`` (int8: 1 faulty, 0 passed); one row per wafer, in the file's order. After ``wafer`` there is
        ``order`` (float64) where a context column orders the wafers in time: its number, or seconds since 1970.
    context : DataFrame of shape (n_wafers, n_context)
        The context columns in schema order and the same rows: str or None, float64, or datetime64 in UTC.
    warnings : tuple of Reason
        What somebody should look at, with codes of `WARNINGS`.
    """

    frame: pd.DataFrame
    context: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that breaks the contract.

    Attributes
    ----------
    reasons : tuple of Reason
        At least one, in the order of `REASONS`: one per mistake, `MAX_REASONS_PER_CODE` of a code at most, and one
        that counts the rest.
    """

    reasons: tuple[Reason, ...]


def check_object(name: str, size: int, schema: BatchSchema) -> tuple[Reason, ...]:
    """Check what is known before a file is read.

    Parameters
    ----------
    name : str
        The file's name, without any folder.
    size : int
        In bytes.
    schema : BatchSchema
        The contract of the line's feed.

    Returns
    -------
    tuple of Reason
        Why not to read the file; empty where nothing speaks against it.
    """
    findings = Findings(schema)
    _check_object(name, size, schema, findings)
    return findings.reasons()


def validate(name: str, content: bytes, schema: BatchSchema) -> Accepted | Refused:
    """Check a batch file against the contract; never raises, whatever the name and the bytes.

    Parameters
    ----------
    name : str
        The file's name, without any folder.
    content : bytes
        The whole file.
    schema : BatchSchema
        The contract of the line's feed.

    Returns
    -------
    Accepted or Refused
        The normalised frame, or all reasons against the file.
    """
    findings, warnings = Findings(schema, _UNITS.get(schema.format, "line")), Findings(schema)
    _check_object(name, len(content), schema, findings)
    if "file_empty" in findings or "file_too_large" in findings:
        return Refused(findings.reasons())
    rows = _read(content, schema, findings, warnings)
    if findings or rows is None:
        return Refused(findings.reasons())
    find_suspicions(name, rows.wafers, rows.readings, schema, warnings)
    return _accepted(rows, warnings.reasons(), schema)


_UNITS: dict[str, Unit] = {"json": "wafer", "jsonl": "wafer", "parquet": "row"}


def _check_object(name: str, size: int, schema: BatchSchema, findings: Findings) -> None:
    if (problem := schema.file_names.problem_of(name)) is not None:
        findings.add("file_name_invalid", f"{shown(name)}: {problem}" if problem else shown(name))
    if size == 0:
        findings.add("file_empty", "0 bytes")
    elif size > schema.max_file_size:
        findings.add("file_too_large", f"{size / MEGABYTE:,.1f} MB, at most {schema.max_file_size_mb} MB")


def _read(content: bytes, schema: BatchSchema, findings: Findings, warnings: Findings) -> Rows | None:
    """Read a file in the format of its contract; None where there is something against it."""
    packed = schema.format == "csv.gz"
    unpackable = not packed or is_as_declared(content, schema, findings)
    inner = (unpacked(content, schema, findings) if packed else content) if unpackable else None
    if inner is None:
        return None
    # The quick parser settles good files; the careful one decides about all others and can explain itself.
    if schema.format in ("csv", "csv.gz") and (quick := read_quickly(inner, schema, warnings)) is not None:
        return quick
    sheet = _sheet(inner, schema if not packed else schema.model_copy(update={"format": "csv"}), findings)
    return None if sheet is None else _read_sheet(sheet, schema, findings, warnings)


def _sheet(content: bytes, schema: BatchSchema, findings: Findings) -> Sheet | None:
    if not is_as_declared(content, schema, findings):
        return None
    if schema.format == "parquet":
        return parquet_sheet(content, schema, findings)
    text = _decode(content, findings)
    if text is None:
        return None
    return csv_sheet(text, schema, findings) if schema.format == "csv" else json_sheet(text, schema, findings)


def _decode(content: bytes, findings: Findings) -> str | None:
    """Decode a text; what is not UTF-8 is told here and escaped, None where it is no text at all."""
    written = content.rstrip(b"\0")
    if nuls := len(content) - len(written):
        row = written.rstrip(b"\r\n").count(b"\n") + 1
        if not written:
            findings.add("encoding_binary", f"{nuls:,} NUL bytes and nothing else")
            return None
        found = f"{nuls:,} NUL bytes stand behind this line: the disk was not written to the end"
        findings.add("file_cut_off", found, row=row)
    if b"\0" in written:
        place = written.index(b"\0")
        found = f"a NUL byte behind {shown(written[max(place - 12, 0) : place].decode(errors='replace'))}"
        findings.add("encoding_binary", found, row=written.count(b"\n", 0, place) + 1)
        return None
    try:
        return written.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        start = max(content.rfind(b",", 0, error.start), content.rfind(b"\n", 0, error.start)) + 1
        cell = content[start : error.start + 8].partition(b",")[0].partition(b"\n")[0]
        found = f"{shown(cell.decode('cp1252', errors='replace'))} is probably Windows-1252"
        findings.add("encoding_not_utf8", found, row=row)
        return written.decode("utf-8-sig", errors="surrogateescape")


def _read_sheet(sheet: Sheet, schema: BatchSchema, findings: Findings, warnings: Findings) -> Rows | None:
    """Read a sheet cell by cell and report everything that breaks the contract; None where anything does."""
    columns = match_columns(sheet, schema, findings)
    if columns is None:
        return None
    known = set(schema.sensors)
    places = [(place, name) for place, name in columns.items() if name in known]
    sensors = [name for _, name in places]
    rows = read_rows(sheet, columns, places, schema, findings)
    readings = rows.readings.T
    if sheet.whole:
        find_empty(sensors, readings, schema, findings)
    find_outside("reading_invalid", sensors, readings, schema.valid, rows.lines, findings)
    if findings:
        return None
    find_outside("reading_unusual", sensors, readings, schema.usual, rows.lines, warnings)
    in_schema_order = np.full((len(rows.lines), len(schema.sensors)), np.nan)
    place_of = {name: place for place, name in enumerate(sensors)}
    for place, name in enumerate(schema.sensors):
        if name in place_of:
            in_schema_order[:, place] = rows.readings[:, place_of[name]]
    return Rows(rows.wafers, rows.lines, in_schema_order, rows.faulty, rows.context)


def _accepted(rows: Rows, warnings: Sequence[Reason], schema: BatchSchema) -> Accepted:
    """Assemble what an accepted file is."""
    frame = pd.DataFrame(rows.readings, columns=list(schema.sensors), copy=False)
    frame.insert(0, "wafer", pd.Series(rows.wafers, dtype=object))
    if schema.order_column is not None:
        values = rows.context[schema.order_column]
        is_time = schema.context[schema.order_column].type == "time"
        frame.insert(1, "order", values.astype("int64") / 1e6 if is_time else values)
    if schema.label is not None:
        frame["faulty"] = np.array(rows.faulty, dtype=np.int8)
    return Accepted(frame, rows.context, tuple(warnings))

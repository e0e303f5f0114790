"""The file contract: a batch file's name and bytes in, a normalised frame or every reason for refusal out.

Belongs here: what a partner's file must look like beyond its schema, which is `schemas`, and what is said of one
that does not. Where files come from and where they go does not.

Every reason has a stable code that stores, checks and people refer to; codes are added, never renamed. How a
cell is read:

- Only an empty cell (blanks count as empty) is a missing value. `NA`, `NaN`, `null` and the like are
  refused: a failed computation must not pass for a reading that was not taken.
- A reading is a finite decimal number in ASCII, such as `-12.5` or `1.2e-3`, that becomes the nearest
  float64; blanks around it, as around a label, are ignored.
- A wafer id is taken as written and must match `WAFER_ID`.
- Columns may come in any order; the frame has them in schema order.
"""

import csv
import io
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from schemas.loader import MEGABYTE, BatchSchema

# Safe as a document id, in a path, in a log line and in a spreadsheet, where = + - @ would start a formula.
WAFER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
BLANKS = " \t"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A file of 100,000 bad cells gets this many reasons per code, and one that counts the rest.
MAX_REASONS_PER_CODE = 20
# Unknown headers compared with the missing ones; the rest of a header of millions is only counted.
MAX_UNEXPECTED_COLUMNS = 10_000

CLAUSES: Mapping[str, str] = MappingProxyType(
    {
        "file_name": "The name is wafer_<DDMMYYYY>_<HHMMSS>.csv with a real date and time.",
        "file_size": "The file is neither empty nor larger than the schema allows.",
        "encoding": "The file is text in UTF-8.",
        "csv_syntax": "The file is comma-separated: a header, then rows of the header's width.",
        "columns": "The columns are exactly those of the schema.",
        "empty_columns": "Every column that is not optional has at least one reading.",
        "readings": "Every reading is empty or a finite number.",
        "wafer_ids": "Every wafer has an id that is safe to store, once.",
        "labels": "Every wafer of a training file is labelled passed or faulty.",
    }
)


@dataclass(frozen=True, slots=True)
class ReasonKind:
    """One way to break the contract.

    Attributes
    ----------
    code : str
        Stable name, for stores, checks and people.
    clause : str
        Key of `CLAUSES`: the clause it breaks.
    title : str
        What is wrong, for people.
    remedy : str
        What the partner should do.
    """

    code: str
    clause: str
    title: str
    remedy: str


REASONS: Mapping[str, ReasonKind] = MappingProxyType(
    {
        code: ReasonKind(code, clause, title, remedy)
        for code, clause, title, remedy in (
            (
                "file_name_invalid",
                "file_name",
                "the file name breaks the contract",
                "Name it wafer_<DDMMYYYY>_<HHMMSS>.csv, for example wafer_28012020_051011.csv.",
            ),
            ("file_empty", "file_size", "the file is empty", "Send the file again."),
            (
                "file_too_large",
                "file_size",
                "the file is too large",
                "Split it into batches of about 100 wafers, or raise MaxFileSizeMB in the schema.",
            ),
            ("encoding_not_utf8", "encoding", "the file is not UTF-8", "Save it as UTF-8."),
            (
                "encoding_binary",
                "encoding",
                "the file is binary",
                "Send plain comma-separated text; archives, spreadsheets and UTF-16 are not read.",
            ),
            (
                "csv_malformed",
                "csv_syntax",
                "the line is not valid CSV",
                "Repair its quotes; lines after this one were not checked.",
            ),
            ("csv_delimiter", "csv_syntax", "fields are not separated by commas", "Export with commas."),
            (
                "csv_ragged_row",
                "csv_syntax",
                "the row is not as wide as the header",
                "Give every row one cell per column.",
            ),
            (
                "csv_no_rows",
                "csv_syntax",
                "there is no wafer below the header",
                "Send the file with its rows.",
            ),
            ("column_missing", "columns", "the column is missing", "Add it; empty if nothing was measured."),
            ("column_unexpected", "columns", "the column is not in the schema", "Remove it."),
            ("column_repeated", "columns", "the column is there more than once", "Keep one."),
            ("column_renamed", "columns", "the column has another name", "Restore the name."),
            (
                "column_empty",
                "empty_columns",
                "the column has no reading in the whole file",
                "Check the sensor; list it in OptionalColumns of the schema if it is not in use yet.",
            ),
            (
                "reading_not_a_number",
                "readings",
                "the cell is not a number",
                "Write a plain decimal number, or nothing where none was measured.",
            ),
            (
                "reading_not_finite",
                "readings",
                "the number is not finite",
                "Write a number that a float64 can hold, or nothing where none was measured.",
            ),
            ("wafer_id_missing", "wafer_ids", "the wafer has no id", "Give its id."),
            (
                "wafer_id_unsafe",
                "wafer_ids",
                "the wafer id is not safe to store",
                "Use up to 64 ASCII letters, digits, '.', '_' and '-', a letter or digit first.",
            ),
            (
                "wafer_id_repeated",
                "wafer_ids",
                "the wafer is there more than once",
                "Keep one row per wafer.",
            ),
            ("label_missing", "labels", "the wafer has no label", "Label it -1 (passed) or 1 (faulty)."),
            ("label_unknown", "labels", "the label is unknown", "Label it -1 (passed) or 1 (faulty)."),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file is refused: one finding.

    Attributes
    ----------
    code : str
        Key of `REASONS`.
    row : int or None
        Line of the file as an editor numbers it, from 1; None where no line is to blame.
    column : str or None
        Column by its name in the schema or, where it has none, in the file; None where no column is to blame.
    found : str
        What was found, escaped and shortened: safe to print and to store.
    remedy : str
        What to do.
    """

    code: str
    row: int | None
    column: str | None
    found: str
    remedy: str

    @property
    def message(self) -> str:
        """One sentence for people."""
        place = [f"line {self.row}"] if self.row is not None else []
        place += [f"column {self.column}"] if self.column is not None else []
        where = f"{', '.join(place)}: " if place else ""
        return f"{where}{REASONS[self.code].title}: found {self.found}. {self.remedy}"

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the fields and ``message``, as plain JSON values for stores and reports."""
        return asdict(self) | {"message": self.message}


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """A file that keeps the contract.

    Attributes
    ----------
    frame : DataFrame of shape (n_wafers, ...)
        ``wafer`` (str), the sensors in schema order (float64, NaN where missing) and, for training files,
        ``faulty`` (int8: 1 faulty, 0 passed); one row per wafer, in the file's order.
    """

    frame: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that breaks the contract.

    Attributes
    ----------
    reasons : tuple of Reason
        At least one, in the order of `REASONS`; `MAX_REASONS_PER_CODE` of a code at most, and one that counts
        the rest.
    """

    reasons: tuple[Reason, ...]


class _Findings:
    """Collects reasons, capped per code."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Reason]] = {}
        self._more: Counter[str] = Counter()

    def add(
        self,
        code: str,
        found: str,
        *,
        row: int | None = None,
        column: str | None = None,
        remedy: str | None = None,
    ) -> None:
        kept = self._kept.setdefault(code, [])
        if len(kept) < MAX_REASONS_PER_CODE:
            kept.append(Reason(code, row, column, found, remedy or REASONS[code].remedy))
        else:
            self._more[code] += 1

    def count(self, code: str, times: int) -> None:
        """Count findings of a code that has reasons enough."""
        self._more[code] += times

    def __contains__(self, code: str) -> bool:
        return code in self._kept

    def __bool__(self) -> bool:
        return bool(self._kept)

    def reasons(self) -> tuple[Reason, ...]:
        reasons: list[Reason] = []
        for code, kind in REASONS.items():
            reasons += self._kept.get(code, [])
            if more := self._more[code]:
                reasons.append(Reason(code, None, None, f"{more:,} more like these", kind.remedy))
        return tuple(reasons)


def check_object(name: str, size: int, schema: BatchSchema) -> tuple[Reason, ...]:
    """Check what is known before a file is read.

    Parameters
    ----------
    name : str
        The file's name, without any folder.
    size : int
        In bytes.
    schema : BatchSchema
        The line's contract.

    Returns
    -------
    tuple of Reason
        Why not to read the file; empty where nothing speaks against it.
    """
    findings = _Findings()
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
        The line's contract.

    Returns
    -------
    Accepted or Refused
        The normalised frame, or all reasons against the file.
    """
    findings = _Findings()
    _check_object(name, len(content), schema, findings)
    if "file_empty" in findings or "file_too_large" in findings:
        return Refused(findings.reasons())
    text = _decode(content, findings)
    if "encoding_binary" in findings:
        return Refused(findings.reasons())
    # The quick parser settles good files; the careful one decides about all others and can explain itself.
    frame = _read_quickly(content, schema)
    if frame is None:
        frame = _read_carefully(text, schema, findings)
    return Refused(findings.reasons()) if findings else Accepted(frame)


def _check_object(name: str, size: int, schema: BatchSchema, findings: _Findings) -> None:
    if schema.batch_time(name) is None:
        findings.add("file_name_invalid", _shown(name))
    if size == 0:
        findings.add("file_empty", "0 bytes")
    elif size > schema.max_file_size:
        findings.add("file_too_large", f"{size / MEGABYTE:,.1f} MB, at most {schema.max_file_size_mb} MB")


def _shown(text: str) -> str:
    """Quote a text from outside so that it can be printed and stored, shortened to 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _decode(content: bytes, findings: _Findings) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        findings.add("encoding_not_utf8", repr(content[error.start : error.start + 8]), row=row)
        text = content.decode("utf-8-sig", errors="replace")
    if "\0" in text:
        findings.add("encoding_binary", repr(content[:8]))
    return text


def _frame(wafers: Sequence[str], readings: np.ndarray, faulty: Sequence[bool], schema: BatchSchema) -> pd.DataFrame:
    """Assemble the batch frame from readings of shape (sensors, wafers)."""
    frame = pd.DataFrame(readings.T, columns=list(schema.sensors), copy=False)
    frame.insert(0, "wafer", pd.Series(wafers, dtype=object))
    if schema.label is not None:
        frame["faulty"] = np.array(faulty, dtype=np.int8)
    return frame


def _parse_quickly(content: bytes, schema: BatchSchema) -> pa.Table | None:
    """Parse a file with the schema's columns in their types; None for any other, or one in an unusual spelling."""
    header = content.removeprefix(BYTE_ORDER_MARK).partition(b"\n")[0].removesuffix(b"\r")
    if b'"' in content or b"\r" in header or header.count(b",") != len(schema.columns) - 1:
        return None
    try:
        headers = header.decode().split(",")
        names = [schema.column_of(name, position) for position, name in enumerate(headers)]
        if set(names) != set(schema.columns):
            return None
        return pyarrow.csv.read_csv(
            pa.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={
                    name: pa.float64() if kind == "float" else pa.string() for name, kind in schema.columns.items()
                },
                null_values=[""],
            ),
        )
    except (UnicodeDecodeError, pa.ArrowException):
        return None


def _read_quickly(content: bytes, schema: BatchSchema) -> pd.DataFrame | None:
    """Read a file that keeps the contract; None for any other, or one in an unusual spelling."""
    table = _parse_quickly(content, schema)
    if table is None:
        return None
    readings = np.empty((len(schema.sensors), table.num_rows))
    missing = 0
    for values, sensor in zip(readings, schema.sensors, strict=True):
        column = table.column(sensor)
        if column.null_count == table.num_rows and sensor not in schema.optional_columns:
            return None
        missing += column.null_count
        values[:] = column.to_numpy()
    # Arrow reads `nan` and `inf` as numbers: only empty cells may fail to be finite.
    if np.isfinite(readings).sum() + missing != readings.size:
        return None
    wafers: list[str] = table.column(schema.wafer).to_pylist()
    if len(set(wafers)) < len(wafers) or not all(map(WAFER_ID.fullmatch, wafers)):
        return None
    labels: list[str] = [] if schema.label is None else table.column(schema.label).to_pylist()
    outcomes = [schema.label_values.get(label) for label in labels]
    if None in outcomes:
        return None
    return _frame(wafers, readings, [outcome == "faulty" for outcome in outcomes], schema)


def _read_carefully(text: str, schema: BatchSchema, findings: _Findings) -> pd.DataFrame:
    """Read any text cell by cell and report everything that breaks the contract.

    The frame is worth keeping only if nothing was reported, here or before.
    """
    rows = _rows(text, findings)
    line, header = next(rows, (1, []))
    if not header:
        if "csv_malformed" not in findings:
            findings.add("file_empty", "blank lines only")
        return pd.DataFrame()
    if len(header) == 1 and re.search(r"[;\t|]", header[0]):
        findings.add("csv_delimiter", _shown(header[0]), row=line)
        return pd.DataFrame()
    columns = _match_columns(header, line, schema, findings)
    sensors = [(place, name) for place, name in columns.items() if schema.columns[name] == "float"]
    wafers, readings, faulty = _read_rows(rows, len(header), columns, sensors, schema, findings)
    if len(readings):
        for (_, name), empty in zip(sensors, np.isnan(readings).all(axis=0).tolist(), strict=True):
            if empty and name not in schema.optional_columns:
                findings.add("column_empty", f"no value in {len(readings):,} rows", column=name)
    if findings:
        return pd.DataFrame()
    place_of = {name: place for place, (_, name) in enumerate(sensors)}
    in_schema_order = np.ascontiguousarray(readings.T[[place_of[name] for name in schema.sensors]])
    return _frame(wafers, in_schema_order, faulty, schema)


def _read_rows(
    rows: Iterator[tuple[int, list[str]]],
    width: int,
    columns: Mapping[int, str],
    sensors: Sequence[tuple[int, str]],
    schema: BatchSchema,
    findings: _Findings,
) -> tuple[list[str], np.ndarray, list[bool]]:
    """Read the rows that fit the header: ids, readings of shape (rows, sensors) and labels."""
    wafer_place, label_place = (
        next((place for place, name in columns.items() if name == wanted), None)
        for wanted in (schema.wafer, schema.label)
    )
    lines_of: dict[str, int] = {}
    readings = array("d")
    faulty: list[bool] = []
    n_rows = n_fitting = 0
    for line, cells in rows:
        n_rows += 1
        if len(cells) != width:
            findings.add("csv_ragged_row", f"{len(cells):,} cells instead of {width:,}", row=line)
            continue
        n_fitting += 1
        if wafer_place is not None:
            _check_wafer(cells[wafer_place], line, schema, findings, lines_of)
        readings.extend(_reading(cells[place], line, name, findings) for place, name in sensors)
        if label_place is not None:
            faulty.append(_is_faulty(cells[label_place], line, schema, findings))
    if n_rows == 0 and "csv_malformed" not in findings:
        findings.add("csv_no_rows", "a header only")
    return list(lines_of), np.array(readings).reshape(n_fitting, len(sensors)), faulty


def _rows(text: str, findings: _Findings) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of every row that is not blank, up to the first that is not CSV."""
    reader = csv.reader(io.StringIO(text, newline=None), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            findings.add("csv_malformed", str(error), row=line)
            return
        if cells:
            yield line, cells


def _match_columns(header: list[str], line: int, schema: BatchSchema, findings: _Findings) -> dict[int, str]:
    """Map places in the header to columns of the schema, those of repeated and renamed headers included."""
    columns: dict[int, str] = {}
    unexpected: dict[int, str] = {}
    unexplained = 0
    missing = dict.fromkeys(schema.columns)
    for place, written in enumerate(header):
        name = schema.column_of(written, place)
        if name not in schema.columns:
            if len(unexpected) < MAX_UNEXPECTED_COLUMNS:
                unexpected[place] = written
            else:
                unexplained += 1
            continue
        if name not in missing:
            findings.add("column_repeated", f"again in place {place + 1:,}", row=line, column=name)
        missing.pop(name, None)
        columns[place] = name

    spellings = {_spelling(name): name for name in missing}
    in_order = list(schema.columns) if len(header) == len(schema.columns) else []
    for place, written in unexpected.items():
        name = spellings.get(_spelling(written)) or (in_order[place] if written and in_order else "")
        if name in missing:
            del missing[name]
            columns[place] = name
            remedy = f"Rename it to {name}."
            findings.add("column_renamed", _shown(written), row=line, column=name, remedy=remedy)
        else:
            column = _shown(written)[1:-1] or f"in place {place + 1:,}"
            findings.add("column_unexpected", _shown(written), row=line, column=column)
    findings.count("column_unexpected", unexplained)
    for name in missing:
        findings.add("column_missing", "no such header", row=line, column=name)
    return columns


def _spelling(header: str) -> str:
    """Reduce a header to what survives a careless export: `Sensor - 5` and `sensor_5` are the same."""
    return re.sub(r"[\W_]", "", header).casefold()


def _check_wafer(wafer: str, line: int, schema: BatchSchema, findings: _Findings, lines_of: dict[str, int]) -> None:
    if not wafer.strip(BLANKS):
        findings.add("wafer_id_missing", _shown(wafer), row=line, column=schema.wafer)
    elif wafer in lines_of:
        first = f"{_shown(wafer)}, also on line {lines_of[wafer]}"
        findings.add("wafer_id_repeated", first, row=line, column=schema.wafer)
    else:
        if WAFER_ID.fullmatch(wafer) is None:
            findings.add("wafer_id_unsafe", _shown(wafer), row=line, column=schema.wafer)
        lines_of[wafer] = line


def _reading(cell: str, line: int, column: str, findings: _Findings) -> float:
    """Return the value of a cell, NaN where it is empty and infinity where it is no finite number."""
    text = cell.strip(BLANKS)
    if not text:
        return math.nan
    if NUMBER.fullmatch(text) is None:
        finite = text.lstrip("+-").lower() not in ("inf", "infinity")
        code = "reading_not_a_number" if finite else "reading_not_finite"
        findings.add(code, _shown(cell), row=line, column=column)
        return math.inf
    value = float(text)
    if math.isinf(value):
        findings.add("reading_not_finite", _shown(cell), row=line, column=column)
    return value


def _is_faulty(cell: str, line: int, schema: BatchSchema, findings: _Findings) -> bool:
    text = cell.strip(BLANKS)
    if not text:
        findings.add("label_missing", _shown(cell), row=line, column=schema.label)
    elif text not in schema.label_values:
        findings.add("label_unknown", _shown(cell), row=line, column=schema.label)
    return schema.label_values.get(text) == "faulty"

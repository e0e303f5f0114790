"""The file contract: a batch file's name and bytes in, a normalised frame or every reason for refusal out.

Belongs here: what a partner's file must look like beyond its schema, which is `schemas`, and what is said of one
that does not. Where files come from and where they go does not.

Every reason has a stable code that stores, checks and people refer to; codes are added, never renamed. How a
cell is read:

- Only an empty cell (blanks count as empty) is a missing value, and what the line declares to mean one. Any other `NA`,
  `NaN`, `null` and the like are refused: a failed computation must not pass for a reading that was not taken.
- A reading is a finite decimal number in ASCII, such as `-12.5` or `1.2e-3`, that becomes the nearest
  float64; blanks around it, as around a label, are ignored.
- A wafer id is taken as written and must match the line's pattern.
- Columns may come in any order; the frame has them in schema order, with those that may be absent.
- A sensor without any reading is taken for broken where that would be no chance: see `BY_CHANCE`.
"""

import csv
import io
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from schemas.lines import WAFER_ID, is_storable_id
from schemas.loader import MEGABYTE, BatchSchema

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
BLANKS = " \t"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A file of 100,000 bad cells gets this many reasons per code, and one that counts the rest.
MAX_REASONS_PER_CODE = 20
# Unknown headers compared with the missing ones; the rest of a header of millions is only counted.
MAX_UNEXPECTED_COLUMNS = 10_000
# An empty column of a sensor with a declared share of readings is refused where fewer than one file in so many of this
# size would have one: ten wafers at a share of a half, 66 at a tenth. Without a share, any empty column is.
BY_CHANCE = 1 / 1_000
MAX_CONTEXT_LENGTH = 200
CONTEXT_TYPES = {"text": "object", "number": "float64", "time": "datetime64[us]"}

CLAUSES: Mapping[str, str] = MappingProxyType(
    {
        "file_name": "The name has the form that the line declares, with a real date and time.",
        "file_size": "The file is neither empty nor too large, and has as many wafers as agreed.",
        "encoding": "The file is text in UTF-8.",
        "csv_syntax": "The file is comma-separated: a header, then rows of the header's width.",
        "columns": "The columns are exactly those of the schema.",
        "empty_columns": "Every column that is not optional has a reading, unless it has none by chance.",
        "readings": "Every reading is empty or a finite number in its valid range; every context value can be read.",
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
                "Name it as the line declares.",
            ),
            ("file_empty", "file_size", "the file is empty", "Send the file again."),
            (
                "file_too_large",
                "file_size",
                "the file is too large",
                "Split it into batches of about 100 wafers, or raise files.max_size_mb in the line's line.yaml.",
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
            (
                "batch_size",
                "file_size",
                "the number of wafers is not as agreed",
                "Send as many wafers per file as agreed, or change files.wafers in the line's line.yaml.",
            ),
            ("column_missing", "columns", "the column is missing", "Add it; empty if nothing was measured."),
            ("column_unexpected", "columns", "the column is not in the schema", "Remove it."),
            ("column_repeated", "columns", "the column is there more than once", "Keep one."),
            ("column_renamed", "columns", "the column has another name", "Restore the name."),
            (
                "column_empty",
                "empty_columns",
                "the column has no reading in the whole file",
                "Check the sensor; declare it optional in the line's line.yaml if it is not in use yet.",
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
            (
                "reading_invalid",
                "readings",
                "the reading is outside its valid range",
                "Check the sensor and the unit; send nothing where the reading is none.",
            ),
            (
                "context_invalid",
                "readings",
                "the context value cannot be read",
                "Write a value of the declared type, or nothing where there is none.",
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
            ("label_missing", "labels", "the wafer has no label", "Label it as the line declares."),
            ("label_unknown", "labels", "the label is unknown", "Label it as the line declares."),
        )
    }
)


WARNINGS: Mapping[str, ReasonKind] = MappingProxyType(
    {
        "reading_unusual": ReasonKind(
            "reading_unusual", "readings", "the reading is outside its usual range", "Look at the sensor."
        )
    }
)
"""What is said of files that keep the contract; the codes are apart from those of `REASONS`."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding: why a file is refused, or what it is accepted with.

    Attributes
    ----------
    code : str
        Key of `REASONS`, or of `WARNINGS`.
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
        return f"{where}{(REASONS.get(self.code) or WARNINGS[self.code]).title}: found {self.found}. {self.remedy}"

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
        ``faulty`` (int8: 1 faulty, 0 passed); one row per wafer, in the file's order. After ``wafer`` there is
        ``order`` (float64) where a context column orders the wafers in time: its number, or seconds since 1970.
    context : DataFrame of shape (n_wafers, n_context)
        The context columns in schema order and the same rows: str or None, float64, or datetime64 in UTC.
    warnings : tuple of Reason
        What somebody should look at, with codes of `WARNINGS`; capped like reasons.
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
        At least one, in the order of `REASONS`; `MAX_REASONS_PER_CODE` of a code at most, and one that counts
        the rest.
    """

    reasons: tuple[Reason, ...]


class _Findings:
    """Collects findings about a file, capped per code."""

    def __init__(self, schema: BatchSchema, kinds: Mapping[str, ReasonKind] = REASONS) -> None:
        self._schema, self._kinds = schema, kinds
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
            kept.append(Reason(code, row, column, found, remedy or self._remedy(code)))
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
        for code in self._kinds:
            reasons += self._kept.get(code, [])
            if more := self._more[code]:
                reasons.append(Reason(code, None, None, f"{more:,} more like these", self._remedy(code)))
        return tuple(reasons)

    def _remedy(self, code: str) -> str:
        """Return what to do, in the words of the line where it depends on the line."""
        schema = self._schema
        if code == "file_name_invalid":
            return f"Name it {schema.file_names.form}, for example {schema.file_names.example}."
        if code in ("label_missing", "label_unknown"):
            spellings = {outcome: label for label, outcome in reversed(list(schema.label_values.items()))}
            return f"Label it {spellings['passed']} (passed) or {spellings['faulty']} (faulty)."
        if code == "wafer_id_unsafe" and schema.wafer_id.pattern != WAFER_ID:
            pattern = schema.wafer_id.pattern
            return f"Write an id like {schema.wafer_id.example}: at most 64 printable characters that match {pattern}."
        return self._kinds[code].remedy


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
    findings = _Findings(schema)
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
    findings = _Findings(schema)
    _check_object(name, len(content), schema, findings)
    if "file_empty" in findings or "file_too_large" in findings:
        return Refused(findings.reasons())
    text = _decode(content, findings)
    if "encoding_binary" in findings:
        return Refused(findings.reasons())
    # The quick parser settles good files; the careful one decides about all others and can explain itself.
    accepted = _read_quickly(content, schema) or _read_carefully(text, schema, findings)
    return Refused(findings.reasons()) if findings or accepted is None else accepted


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


@dataclass(frozen=True, slots=True)
class _Missing:
    """What means that nothing was measured, beside the empty cell."""

    spellings: frozenset[str]
    values: tuple[float, ...]

    @classmethod
    def of(cls, schema: BatchSchema) -> "_Missing":
        values = tuple(float(text) for text in schema.missing if NUMBER.fullmatch(text))
        return cls(frozenset(schema.missing), values)


def _accepted(
    wafers: Sequence[str],
    readings: np.ndarray,
    faulty: Sequence[bool],
    context: pd.DataFrame,
    warnings: tuple[Reason, ...],
    schema: BatchSchema,
) -> Accepted:
    """Assemble what an accepted file is, from readings of shape (sensors, wafers)."""
    frame = pd.DataFrame(readings.T, columns=list(schema.sensors), copy=False)
    frame.insert(0, "wafer", pd.Series(wafers, dtype=object))
    if schema.order_column is not None:
        values = context[schema.order_column]
        is_time = schema.context[schema.order_column].type == "time"
        frame.insert(1, "order", values.astype("int64") / 1e6 if is_time else values)
    if schema.label is not None:
        frame["faulty"] = np.array(faulty, dtype=np.int8)
    return Accepted(frame, context, warnings)


def _parse_quickly(content: bytes, schema: BatchSchema) -> pa.Table | None:
    """Parse a file with the schema's columns in their types; None for any other, or one in an unusual spelling."""
    header = content.removeprefix(BYTE_ORDER_MARK).partition(b"\n")[0].removesuffix(b"\r")
    if b'"' in content or b"\r" in header or header.count(b",") >= len(schema.columns):
        return None
    sensors = set(schema.sensors)
    try:
        headers = header.decode().split(",")
        names = [schema.column_of(name, position) for position, name in enumerate(headers)]
        absent = schema.columns.keys() - set(names)
        if len(names) + len(absent) != len(schema.columns) or not absent.issubset(schema.optional_columns):
            return None
        return pyarrow.csv.read_csv(
            pa.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.float64() if name in sensors else pa.string() for name in names},
                null_values=["", *schema.missing],
            ),
        )
    except (UnicodeDecodeError, pa.ArrowException):
        return None


def _read_quickly(content: bytes, schema: BatchSchema) -> Accepted | None:
    """Read a file that keeps the contract; None for any other, or one in an unusual spelling."""
    table = _parse_quickly(content, schema)
    if table is None or not schema.min_wafers <= table.num_rows <= (schema.max_wafers or table.num_rows):
        return None
    sensors, readings = schema.sensors, _readings(table, schema)
    if readings is None or _outside(sensors, readings, schema.valid):
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
    unexplained, warnings = _Findings(schema), _Findings(schema, WARNINGS)
    cells = {name: table.column(name).to_pylist() for name in schema.context}
    context = _context(cells, lines, schema, unexplained)
    if unexplained:
        return None
    _find_outside("reading_unusual", sensors, readings, schema.usual, lines, warnings)
    faulty = [outcome == "faulty" for outcome in outcomes]
    return _accepted(wafers, readings, faulty, context, warnings.reasons(), schema)


def _readings(table: pa.Table, schema: BatchSchema) -> np.ndarray | None:
    """Return the readings, shape (sensors, wafers); None where one may break the contract."""
    sensors, present = schema.sensors, set(table.column_names)
    readings = np.full((len(sensors), table.num_rows), np.nan)
    missing = 0
    for values, sensor in zip(readings, sensors, strict=True):
        if sensor in present:
            column = table.column(sensor)
            missing += column.null_count
            values[:] = column.to_numpy()
        else:
            missing += table.num_rows
    measured = np.isfinite(readings)
    # Arrow reads `nan` and `inf` as numbers: only empty cells may fail to be finite.
    if np.count_nonzero(measured) + missing != readings.size:
        return None
    if schema.missing:
        measured &= ~np.isin(readings, _Missing.of(schema).values)
        readings[~measured] = np.nan
    empty = np.flatnonzero(~measured.any(axis=1)).tolist()
    return readings if all(_may_be_empty(sensors[place], table.num_rows, schema) for place in empty) else None


def _lines_of_rows(content: bytes) -> list[int]:
    """Return the line numbers of the rows below the header of a file without quotes."""
    return [number for number, line in enumerate(re.split(rb"\r\n|\r|\n", content), 1) if line][1:]


def _may_be_empty(sensor: str, n_wafers: int, schema: BatchSchema) -> bool:
    """Return whether it says nothing against a sensor that none of so many wafers has a reading."""
    if sensor in schema.optional_columns:
        return True
    share = schema.shares.get(sensor)
    return share is not None and (1 - share) ** n_wafers >= BY_CHANCE


def _outside(
    sensors: Sequence[str], readings: np.ndarray, ranges: Mapping[str, tuple[float, float]]
) -> list[tuple[int, int]]:
    """Return the wafers and sensors, by place, of readings of shape (sensors, wafers) outside of their ranges."""
    places = [place for place, name in enumerate(sensors) if name in ranges]
    if not places:
        return []
    low, high = np.array([ranges[sensors[place]] for place in places]).T[:, :, np.newaxis]
    ranged = readings[places]
    outside = np.isfinite(ranged) & ((ranged < low) | (ranged > high))
    return [(wafer, places[column]) for wafer, column in np.argwhere(outside.T).tolist()]


def _find_outside(
    code: str,
    sensors: Sequence[str],
    readings: np.ndarray,
    ranges: Mapping[str, tuple[float, float]],
    lines: Sequence[int],
    findings: _Findings,
) -> None:
    for wafer, place in _outside(sensors, readings, ranges):
        low, high = ranges[sensors[place]]
        found = f"{float(readings[place, wafer])!r}, not within {low:g} to {high:g}"
        findings.add(code, found, row=lines[wafer], column=sensors[place])


def _context(
    cells: Mapping[str, Sequence[str]], lines: Sequence[int], schema: BatchSchema, findings: _Findings
) -> pd.DataFrame:
    """Read the cells of the context columns."""
    missing = _Missing.of(schema)
    frame = pd.DataFrame(np.empty((len(lines), 0)))
    for name in schema.columns if cells else ():
        if name not in cells:
            continue
        kind = schema.context[name].type
        values: list[str | float | datetime | None] = []
        for line, cell in zip(lines, cells[name], strict=True):
            try:
                values.append(_context_value(cell.strip(BLANKS), kind, missing))
            except (ValueError, OverflowError):
                values.append(None)
                findings.add("context_invalid", _shown(cell), row=line, column=name)
            else:
                if values[-1] is None and name == schema.order_column:
                    remedy = "Give it: the wafers of this line are ordered by it."
                    findings.add("context_invalid", _shown(cell), row=line, column=name, remedy=remedy)
        frame[name] = pd.Series(values, dtype=CONTEXT_TYPES[kind])
    return frame


def _context_value(text: str, kind: str, missing: _Missing) -> str | float | datetime | None:
    """Return what a context cell says, None where it says nothing."""
    if not text or text in missing.spellings:
        return None
    if kind == "number":
        if NUMBER.fullmatch(text) is None or math.isinf(value := float(text)):
            raise ValueError
        return None if value in missing.values else value
    if kind == "time":
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    if not text.isprintable() or len(text) > MAX_CONTEXT_LENGTH:
        raise ValueError
    return text


def _read_carefully(text: str, schema: BatchSchema, findings: _Findings) -> Accepted | None:
    """Read any text cell by cell and report everything that breaks the contract; None where anything does."""
    rows = _rows(text, findings)
    line, header = next(rows, (1, []))
    if not header:
        if "csv_malformed" not in findings:
            findings.add("file_empty", "blank lines only")
        return None
    if len(header) == 1 and re.search(r"[;\t|]", header[0]):
        findings.add("csv_delimiter", _shown(header[0]), row=line)
        return None
    columns = _match_columns(header, line, schema, findings)
    known = set(schema.sensors)
    places = [(place, name) for place, name in columns.items() if name in known]
    sensors = [name for _, name in places]
    read = _read_rows(rows, len(header), columns, places, schema, findings)
    readings = read.readings.T
    n_wafers = readings.shape[1]
    if n_wafers:
        for name, empty in zip(sensors, np.isnan(readings).all(axis=1).tolist(), strict=True):
            if empty and not _may_be_empty(name, n_wafers, schema):
                expected = f", expected on {schema.shares[name]:.0%} of the wafers" if name in schema.shares else ""
                findings.add("column_empty", f"no value in {n_wafers:,} rows{expected}", column=name)
    _find_outside("reading_invalid", sensors, readings, schema.valid, read.lines, findings)
    context = _context(read.context, read.lines, schema, findings)
    if findings:
        return None
    warnings = _Findings(schema, WARNINGS)
    _find_outside("reading_unusual", sensors, readings, schema.usual, read.lines, warnings)
    in_schema_order = np.full((len(schema.sensors), n_wafers), np.nan)
    place_of = {name: place for place, name in enumerate(sensors)}
    for values, name in zip(in_schema_order, schema.sensors, strict=True):
        if name in place_of:
            values[:] = readings[place_of[name]]
    return _accepted(read.wafers, in_schema_order, read.faulty, context, warnings.reasons(), schema)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that fit the header, each column for itself; readings are of shape (rows, sensors)."""

    wafers: list[str]
    lines: list[int]
    readings: np.ndarray
    faulty: list[bool]
    context: dict[str, list[str]]


def _read_rows(
    rows: Iterator[tuple[int, list[str]]],
    width: int,
    columns: Mapping[int, str],
    sensors: Sequence[tuple[int, str]],
    schema: BatchSchema,
    findings: _Findings,
) -> _Rows:
    """Read the rows that fit the header."""
    wafer_place, label_place = (
        next((place for place, name in columns.items() if name == wanted), None)
        for wanted in (schema.wafer, schema.label)
    )
    contexts = {name: place for place, name in columns.items() if name in schema.context}
    missing = _Missing.of(schema)
    lines_of: dict[str, int] = {}
    readings = array("d")
    faulty: list[bool] = []
    context: dict[str, list[str]] = {name: [] for name in contexts}
    lines: list[int] = []
    n_rows = 0
    for line, cells in rows:
        n_rows += 1
        if len(cells) != width:
            findings.add("csv_ragged_row", f"{len(cells):,} cells instead of {width:,}", row=line)
            continue
        lines.append(line)
        if wafer_place is not None:
            _check_wafer(cells[wafer_place], line, schema, findings, lines_of)
        readings.extend(_reading(cells[place], line, name, missing, findings) for place, name in sensors)
        if label_place is not None:
            faulty.append(_is_faulty(cells[label_place], line, schema, findings))
        for name, place in contexts.items():
            context[name].append(cells[place])
    if "csv_malformed" not in findings:
        _check_batch_size(n_rows, schema, findings)
    return _Rows(list(lines_of), lines, np.array(readings).reshape(len(lines), len(sensors)), faulty, context)


def _check_batch_size(n_rows: int, schema: BatchSchema, findings: _Findings) -> None:
    if n_rows == 0:
        findings.add("csv_no_rows", "a header only")
    elif n_rows < schema.min_wafers:
        findings.add("batch_size", f"{n_rows:,} wafers, at least {schema.min_wafers:,} agreed")
    elif schema.max_wafers is not None and n_rows > schema.max_wafers:
        findings.add("batch_size", f"{n_rows:,} wafers, at most {schema.max_wafers:,} agreed")


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
    # Optional columns may be absent; where others are, the header is broken and all of it is told.
    for name in missing if missing.keys() - set(schema.optional_columns) else ():
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
        if not is_storable_id(wafer) or re.fullmatch(schema.wafer_id.pattern, wafer) is None:
            findings.add("wafer_id_unsafe", _shown(wafer), row=line, column=schema.wafer)
        lines_of[wafer] = line


def _reading(cell: str, line: int, column: str, missing: _Missing, findings: _Findings) -> float:
    """Return the value of a cell, NaN where nothing was measured and infinity where it is no finite number."""
    text = cell.strip(BLANKS)
    if not text or text in missing.spellings:
        return math.nan
    if NUMBER.fullmatch(text) is None:
        finite = text.lstrip("+-").lower() not in ("inf", "infinity")
        code = "reading_not_a_number" if finite else "reading_not_finite"
        findings.add(code, _shown(cell), row=line, column=column)
        return math.inf
    value = float(text)
    if math.isinf(value):
        findings.add("reading_not_finite", _shown(cell), row=line, column=column)
    return math.nan if value in missing.values else value


def _is_faulty(cell: str, line: int, schema: BatchSchema, findings: _Findings) -> bool:
    text = cell.strip(BLANKS)
    if not text:
        findings.add("label_missing", _shown(cell), row=line, column=schema.label)
    elif text not in schema.label_values:
        findings.add("label_unknown", _shown(cell), row=line, column=schema.label)
    return schema.label_values.get(text) == "faulty"

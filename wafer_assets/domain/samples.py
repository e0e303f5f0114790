"""Reading sample files of a line that is not declared yet: which format they have, and their cells by column.

Belongs here: what can be read without a declaration. What follows from it is `inference`; the readers of formats other
than CSV, with their limits, are the contract's.
"""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from schemas.lines import FileFormat
from schemas.loader import load_schema
from wafer_assets.domain.contract.formats import is_as_declared, json_sheet, parquet_sheet, unpacked
from wafer_assets.domain.contract.reasons import Findings

MAX_SIZE_MB = 100

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WITH_COMMA = re.compile(r"([+-]?[0-9]*),([0-9]+(?:[eE][+-]?[0-9]+)?)")
_UNNAMED = ("", "Unnamed: 0")  # the second is what pandas makes of the first
_DELIMITERS = (",", ";", "\t", "|")


class InferenceError(ValueError):
    """Nothing can be inferred from the files; says which, what was found and what to do."""

    code = "not_inferable"


@dataclass(frozen=True, slots=True)
class Layout:
    """How files are written.

    Attributes
    ----------
    format
        One that a line may declare.
    delimiter, decimal
        Of CSV files.
    """

    format: FileFormat = "csv"
    delimiter: str = ","
    decimal: str = "."


@dataclass(frozen=True, slots=True)
class Sample:
    """A file's cells by column, without blanks around them; `aliases` names a first column that has no name."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    wafers: int
    aliases: Mapping[str, str]


def base_name(name: str) -> str:
    """Return the name of a file without its folders."""
    return name.rpartition("/")[2]


def as_number(text: str) -> float | None:
    """Return the finite number that a text with a decimal point is; None if it is none."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def read_samples(files: Mapping[str, bytes]) -> tuple[Layout, list[Sample]]:
    """Read sample files of one line.

    Parameters
    ----------
    files : mapping of str -> bytes
        Names, whose endings say the format, and contents.

    Returns
    -------
    Layout
        How all of them are written.
    list of Sample
        Numbers with a decimal comma have a point here.

    Raises
    ------
    InferenceError
        If a file cannot be read, or is written in another way than the first one.
    """
    form = _format_of(next(iter(files)))
    tables = {name: _rows(name, content, form) for name, content in files.items()}
    (first, (delimiter, _)), *others = tables.items()
    for name, (other, _) in others:
        if other != delimiter:
            raise InferenceError(
                f"{name!r} is separated by {other!r} and {first!r} by {delimiter!r}. Give files of one line, all "
                "written in one way."
            )
    decimal = (
        "," if delimiter != "," and _has_commas(cells for _, (_, *rows) in tables.values() for cells in rows) else "."
    )
    samples = [_sample(name, _with_points(rows) if decimal == "," else rows) for name, (_, rows) in tables.items()]
    return Layout(form, delimiter, decimal), samples


def _format_of(name: str) -> FileFormat:
    formats: tuple[FileFormat, ...] = get_args(FileFormat)
    return next((form for form in formats if name.lower().endswith(f".{form}")), "csv")


def _rows(name: str, content: bytes, form: FileFormat) -> tuple[str, list[list[str]]]:
    """Return the delimiter, and the header and at least one row."""
    # Of the contract, only what follows counts: there is none yet.
    schema = load_schema("prediction").model_copy(
        update={"format": form, "columns": {}, "max_file_size_mb": MAX_SIZE_MB}
    )
    findings = Findings(schema)
    delimiter, rows = ",", list[list[str]]()
    if is_as_declared(content, schema, findings):
        if form == "csv.gz":
            content = unpacked(content, schema, findings) or b""
        if form == "parquet":
            sheet = parquet_sheet(content, schema, findings)
        elif form in ("json", "jsonl"):
            sheet = json_sheet(_text(name, content), schema, findings)
        else:
            sheet = None
            delimiter, rows = (",", rows) if findings else _csv_rows(name, _text(name, content))
        if sheet is not None:
            rows = [[cell.strip(" \t") for cell in row] for row in (sheet.header, *(cells for _, cells in sheet.rows))]
    if findings:
        raise InferenceError(f"{name!r}: {findings.reasons()[0].message}")
    if len(rows) < 2:
        raise InferenceError(f"{name!r} holds {len(rows)} lines: a header and at least one wafer are wanted.")
    return delimiter, rows


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InferenceError(f"{name!r} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from None


def _csv_rows(name: str, text: str) -> tuple[str, list[list[str]]]:
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)  # of equals, the comma
    try:
        read = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
        return delimiter, [[cell.strip(" \t") for cell in row] for row in read if row]
    except csv.Error as error:
        raise InferenceError(f"{name!r} is no readable CSV file ({error}). Export it again.") from None


def _has_commas(rows: Iterator[Sequence[str]]) -> bool:
    """Return whether numbers have a decimal comma, and none a point."""
    commas = False
    for cell in (cell for row in rows for cell in row):
        if "." in cell and as_number(cell) is not None:
            return False
        commas = commas or _WITH_COMMA.fullmatch(cell) is not None
    return commas


def _with_points(rows: list[list[str]]) -> list[list[str]]:
    header, *others = rows
    return [
        header,
        *([_WITH_COMMA.sub(r"\1.\2", cell) if _WITH_COMMA.fullmatch(cell) else cell for cell in row] for row in others),
    ]


def _sample(name: str, table: list[list[str]]) -> Sample:
    header, *rows = table
    aliases: dict[str, str] = {}
    if all(as_number(each) is not None for each in header):
        raise InferenceError(f"{name!r} has no header: its first line holds numbers. Name the columns there.")
    if header[0] in _UNNAMED:
        named = "Wafer"
        while named in header:
            named += "-id"
        aliases[header[0]], header[0] = named, named
    repeated = [each for each, count in Counter(header).items() if count > 1 or not each]
    if repeated:
        raise InferenceError(
            f"{name!r} has a column {repeated[0]!r} without a name of its own. Name every column once."
        )
    for place, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InferenceError(
                f"{name!r}, wafer {place}: {len(row)} cells where the header has {len(header)}. Export it again."
            )
    columns = {each: tuple(row[place] for row in rows) for place, each in enumerate(header)}
    return Sample(name, columns, len(rows), aliases)

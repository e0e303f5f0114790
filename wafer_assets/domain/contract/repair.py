"""Repairs: a CSV file written anew as its contract says, where that cannot change a reading, an id or a label.

Separators, decimal marks, UTF-16, the spelling of headers, rows of units, separators at the ends of lines and blank
lines say nothing of a wafer. Whatever else is wrong stays as it is, for a person to see to.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.loader import BatchSchema
from wafer_assets.domain.contract.cells import BLANKS
from wafer_assets.domain.contract.columns import Names, spelling
from wafer_assets.domain.contract.layout import csv_sheet, is_blank, records
from wafer_assets.domain.contract.reasons import Findings, shown

_REPAIRABLE = frozenset({"csv_delimiter", "csv_trailing_delimiter", "row_not_a_wafer"})
_WIDE = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Repaired:
    """A file that was written anew.

    Attributes
    ----------
    content : bytes
        The repaired copy.
    done : tuple of str
        What was done, a sentence each.
    """

    content: bytes
    done: tuple[str, ...]


def repair(content: bytes, schema: BatchSchema) -> Repaired | None:
    """Mend what can be mended without changing a value.

    Parameters
    ----------
    content : bytes
        A file that breaks the contract.
    schema : BatchSchema
        The contract, of CSV files.

    Returns
    -------
    Repaired or None
        None where there is nothing to mend, or where a row could not be kept.
    """
    text, done = _decoded(content)
    if schema.format != "csv" or text is None or len(content) > schema.max_file_size:
        return None
    findings = Findings(schema)
    sheet = csv_sheet(text, schema, findings)
    if sheet is None:
        return None
    rows = list(sheet.rows)
    told = findings.reasons()
    # What is no wafer and no unit may be one after all: a row that is left out must be of no value.
    units = all(reason.found.startswith("units") for reason in told if reason.code == "row_not_a_wafer")
    if not sheet.whole or not units or any(reason.code not in _REPAIRABLE for reason in told):
        return None
    if sheet.decimal != schema.decimal and not _is_proven(sheet.decimal, schema.decimal, rows):
        return None
    done += [_said(reason.code, reason.found, reason.row) for reason in told]
    header, renamed = _renamed(sheet.header, schema)
    done += renamed
    if any(not line or is_blank(line) for line in _lines(text)):
        done.append("left out the blank lines")
    if not done:
        return None
    cells = ([_with_decimal(cell, sheet.decimal, schema.decimal) for cell in row] for _, row in rows)
    file = io.StringIO()
    csv.writer(file, delimiter=schema.delimiter, lineterminator="\n").writerows([header, *cells])
    return Repaired(file.getvalue().encode(), tuple(done))


def _is_proven(written: str, wanted: str, rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Return whether a sign can be no other than the decimal one: three digits behind it could be a group."""
    cells = [cell.strip(BLANKS) for _, row in rows for cell in row]
    number = r"[+-]?[0-9]*{}([0-9]+)(?:[eE][+-]?[0-9]+)?"
    behind = [match[1] for cell in cells if (match := re.fullmatch(number.format(re.escape(written)), cell))]
    others = any(re.fullmatch(number.format(re.escape(wanted)), cell) for cell in cells)
    return any(len(digits) != 3 for digits in behind) and not others


def _decoded(content: bytes) -> tuple[str | None, list[str]]:
    """Decode a text in an encoding that it names itself."""
    try:
        if content.startswith(_WIDE):
            return content.decode("utf-16"), ["saved UTF-16 as UTF-8"]
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return None, []


def _said(code: str, found: str, row: int | None) -> str:
    if code == "csv_delimiter":
        return f"wrote it with the agreed separators: {found}"
    if code == "csv_trailing_delimiter":
        return "removed the separators at the ends of lines"
    return f"left out line {row}: {found}"


def _renamed(header: list[str], schema: BatchSchema) -> tuple[list[str], list[str]]:
    """Give headers that are spelt a little differently their names, where that leaves no doubt."""
    names = Names.of(schema)
    known = [schema.column_of(written, place) for place, written in enumerate(header)]
    wanted = [names.spellings.get(spelling(written), "") for written in header]
    new = [
        column
        if name not in schema.columns and column and known.count(column) == 0 and wanted.count(column) == 1
        else ""
        for name, column in zip(known, wanted, strict=True)
    ]
    changed = [(written, column) for written, column in zip(header, new, strict=True) if column]
    said = [f"renamed {len(changed):,} columns, such as {shown(changed[0][0])} to {changed[0][1]}"] if changed else []
    return [column or written for written, column in zip(header, new, strict=True)], said


def _lines(text: str) -> list[list[str]]:
    """Return the blank lines of a text, and its rows of separators alone."""
    blank: list[list[str]] = [[] for line in re.split(r"\r\n|\r|\n", text.rstrip("\r\n")) if not line.strip()]
    return blank + [cells for _, cells in records(text, ",") if is_blank(cells)]


def _with_decimal(cell: str, written: str, wanted: str) -> str:
    number = re.fullmatch(rf"\s*[+-]?[0-9]*{re.escape(written)}[0-9]+(?:[eE][+-]?[0-9]+)?\s*", cell)
    return cell.replace(written, wanted) if written != wanted and number else cell

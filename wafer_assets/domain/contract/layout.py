"""The layout of a CSV file: which separator, which line is the header, and which lines are no wafers.

A file that was written in another way is diagnosed as a whole first, and then read as what it is, so that people are
told its one cause, and what is wrong besides.
"""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from schemas.loader import BatchSchema
from wafer_assets.domain.contract.cells import BLANKS, FAILED, MISSING_CODES, is_number
from wafer_assets.domain.contract.columns import Names
from wafer_assets.domain.contract.formats import Sheet
from wafer_assets.domain.contract.reasons import Findings, shown

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
HEADER_AMONG = 30  # rows
SAMPLE = 50  # rows
BYTE_ORDER_MARK = "\ufeff"

# What testers and spreadsheets write beside a line that is no wafer.
_NO_WAFERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "specification limits",
        re.compile(
            "(?:[lu](?:c|s)?l|(?:low?|lower|hi|high|upper)[ _]?(?:limits?|spec)?|limits?|min|max|target|nominal)[.:]?",
            re.IGNORECASE,
        ),
    ),
    ("units", re.compile("units?|einheit(?:en)?[.:]?", re.IGNORECASE)),
    (
        "statistics",
        re.compile("mean|avg|average|median|std(?:[. _]?dev)?|stdev|sigma|totals?|sum|count[.:]?", re.IGNORECASE),
    ),
    ("types", re.compile("d?types?|varchar[.:]?", re.IGNORECASE)),
)


def csv_sheet(text: str, schema: BatchSchema, findings: Findings) -> Sheet | None:
    """Find the table in a text; None where there is none that can be read.

    Parameters
    ----------
    text : str
        The whole file, decoded.
    schema : BatchSchema
        The contract.
    findings : Findings
        Takes what is wrong with the layout, now or while the sheet's rows are read.

    Returns
    -------
    Sheet or None
        Header and rows of the table.
    """
    names = Names.of(schema)
    delimiter, decimal = schema.delimiter, schema.decimal
    start = _find_header(text, delimiter, names)
    if start is None:
        try:
            next(records(text, delimiter), None)
            findings.add("file_empty", "blank lines only")
        except NotCsvError as error:
            findings.add("csv_malformed", str(error), row=error.line)
        return None
    if not start.found:
        for other in DELIMITERS:
            attempt = _find_header(text, other, names) if other != delimiter else None
            if attempt is not None and attempt.found and len(attempt.header) > 1:
                start, delimiter, decimal = attempt, other, _decimal_of(attempt, schema)
                _tell_delimiter(delimiter, decimal, schema, start.line, findings)
                break
        else:
            if not _may_be_a_header(start, schema, findings):
                return None
    # A hint for a spreadsheet goes with the separators that it speaks of.
    if start.above and not (delimiter != schema.delimiter and start.above[0][1][0].lower().startswith("sep=")):
        _tell_preamble(start, findings)
    return _Table(text, delimiter, decimal, start, schema, names, findings).sheet()


@dataclass(slots=True)
class _Start:
    """Where a table seems to begin.

    Attributes
    ----------
    found
        Whether this row knows names of the contract.
    line, header
        Of the header.
    skipped
        How many rows to pass over, the header included.
    above
        The rows above it that are not blank.
    below
        The first rows below it.
    """

    found: bool
    line: int
    header: list[str]
    skipped: int
    above: list[tuple[int, list[str]]] = field(default_factory=list)
    below: list[list[str]] = field(default_factory=list)


def _find_header(text: str, delimiter: str, names: Names) -> _Start | None:
    """Find the row that looks most like a header, the first one where none does; None in a blank text."""
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in records(text, delimiter):
            rows.append(row)
            if len(rows) == HEADER_AMONG:
                break
    except NotCsvError:
        pass  # told when the rows are read
    written = [(place, line, cells) for place, (line, cells) in enumerate(rows) if not is_blank(cells)]
    if not written:
        return _blank(rows)
    found = next((entry for entry in written if names.are_in(entry[2])), None)
    place, line, header = found or written[0]
    above = [(number, cells) for other, number, cells in written if other < place]
    return _Start(found is not None, line, header, place + 1, above, [cells for _, cells in rows[place + 1 :]])


def _blank(rows: Sequence[tuple[int, list[str]]]) -> _Start | None:
    """Return a header of nothing but separators, which some files have."""
    first = next(((place, line, cells) for place, (line, cells) in enumerate(rows) if len(cells) > 1), None)
    return _Start(False, first[1], first[2], first[0] + 1) if first else None


class NotCsvError(ValueError):
    """A record that is not CSV: what was read before it stands."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of every record that is not an empty line.

    Raises
    ------
    NotCsvError
        At the first record that is not CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise NotCsvError(line, _in_words(str(error), text)) from None
        if cells:
            yield line, cells


def _in_words(error: str, text: str) -> str:
    """Say what the CSV parser means."""
    if "unexpected end of data" in error:
        return "a quotation mark is opened and never closed"
    if "field larger than" in error:
        closed = ": is a quotation mark never closed?" if '"' in text else ""
        return f"a cell has more than {csv.field_size_limit():,} characters{closed}"
    return error


def is_blank(cells: Sequence[str]) -> bool:
    """Return whether a row holds nothing."""
    return not any(cell.strip(BLANKS) for cell in cells)


def _written(cells: Sequence[str]) -> int:
    """Return how far the last cell that is not blank is."""
    return next((place for place in range(len(cells), 0, -1) if cells[place - 1].strip(BLANKS)), 0)


def _decimal_of(start: _Start, schema: BatchSchema) -> str:
    """Return the decimal sign of numbers that other separators separate."""
    cells = [cell.strip(BLANKS) for row in start.below for cell in row]
    commas = sum(bool(re.fullmatch(r"[+-]?[0-9]*,[0-9]+", cell)) for cell in cells)
    points = sum(bool(re.fullmatch(r"[+-]?[0-9]*\.[0-9]+", cell)) for cell in cells)
    return schema.decimal if commas == points else "," if commas > points else "."


def _tell_delimiter(delimiter: str, decimal: str, schema: BatchSchema, line: int, findings: Findings) -> None:
    wanted = DELIMITERS[schema.delimiter]
    found = f"{DELIMITERS[delimiter]} separate the fields, not {wanted}"
    remedy = f"Export with {wanted}"
    signs = {",": "comma", ".": "point"}
    if decimal != schema.decimal:
        found += f", and a {signs[decimal]} is the decimal sign, not a {signs[schema.decimal]}"
        remedy += f" and with the {signs[schema.decimal]} as decimal sign"
    remedy += ", or declare files.delimiter and files.decimal in the line's line.yaml."
    findings.add("csv_delimiter", found, row=line, remedy=remedy)


def _tell_preamble(start: _Start, findings: Findings) -> None:
    (first, cells), count = start.above[0], len(start.above)
    text = ",".join(cells)
    if count == 1 and text.lower().startswith("sep="):
        found = f"{shown(text)}, a hint for a spreadsheet, stands above the header on line {start.line}"
    elif all(cells[0].lstrip().startswith(("#", "//", "%", ";")) for _, cells in start.above):
        found = f"a comment, {shown(text)}, stands above the header on line {start.line}"
    else:
        found = f"the header is on line {start.line}, and above it {shown(text)}"
    last = f" 1 to {start.line - 1}" if start.line > 2 else " 1"
    remedy = f"The header must be on line 1. Remove line{'s' if start.line > 2 else ''}{last}."
    findings.add("csv_preamble", found, row=first, remedy=remedy, count=count)


def _may_be_a_header(start: _Start, schema: BatchSchema, findings: Findings) -> bool:
    """Tell a header of foreign names from a first row that is a wafer, or no table at all."""
    cells = [cell.strip(BLANKS) for cell in start.header]
    words = cells[0].split() if len(cells) == 1 else []
    if len(words) > max(2, len(schema.columns) // 4):
        numbers = sum(map(is_number, words)) > len(words) / 2
        also = ", and there is no header" if numbers else ""
        remedy = f"Export with {DELIMITERS[schema.delimiter]}{' and a header' if numbers else ''}."
        findings.add("csv_delimiter", f"blanks separate the fields{also}", row=start.line, remedy=remedy)
        return False
    written = [cell for cell in cells if is_number(cell, schema.decimal)]
    integers = [int(cell) for cell in written if cell.isascii() and cell.isdigit() and len(cell) < 9]
    counted = len(integers) == len(written) > 1 and all(b - a == 1 for a, b in itertools.pairwise(integers))
    if len(written) * 2 >= len([cell for cell in cells if cell]) > 1 and not counted:
        row = ", ".join(shown(cell) for cell in cells[:3])
        findings.add("csv_header_missing", f"the first line is a wafer: {row}, ...", row=start.line)
        return False
    return True


class _Table:
    """The rows below a header, each as wide as it, without those that are no wafers."""

    def __init__(
        self,
        text: str,
        delimiter: str,
        decimal: str,
        start: _Start,
        schema: BatchSchema,
        names: Names,
        findings: Findings,
    ) -> None:
        self._text, self._delimiter, self._start = text, delimiter, start
        self._schema, self._findings, self._names = schema, findings, names
        self._id = re.compile(schema.wafer_id.pattern)
        self._labels = [place for place, head in enumerate(start.header) if names.is_label(head)]
        self._decimal = decimal
        self._header = start.header
        self._cut_from = 0  # cells of a row, without those behind trailing separators
        self._ends_in_a_line = text.endswith(("\n", "\r"))

    def sheet(self) -> Sheet | None:
        """Return the table, once the widths of all its rows are known."""
        header, start = self._header, self._start
        widths, longest, self._last = self._survey()
        if not widths and not self._ends_in_a_line and self._is_cut_header():
            found = f"the file ends within the header, after {len(header):,} of {len(self._schema.columns):,} names"
            self._findings.add("file_cut_off", found, row=start.line)
            return None
        self._width = self._row_width(widths, longest)
        wide = [width for width in widths if width > 1.2 * len(header)]
        if self._delimiter == "," and len(header) > 2 and wide and len(wide) == len(widths):
            found = f"rows have {min(wide):,} to {max(wide):,} cells, the header {len(header):,}"
            self._findings.add("csv_decimal_comma", found, row=start.line + 1, count=sum(widths.values()))
            return None
        below = [row[: len(self._header)] for row in start.below if len(row) == self._width]
        sample = [row for row in below if not is_blank(row) and self._no_wafer(row) is None][:SAMPLE]
        sheet = Sheet(self._header, start.line, iter(()), sample, self._decimal)
        sheet.rows = self._rows(sheet)
        return sheet

    def _survey(self) -> tuple[Counter[int], Counter[int], int]:
        """Return how many rows have which width, how far their last cells that are not blank are, and the last line."""
        widths: Counter[int] = Counter()
        longest: Counter[int] = Counter()
        last = self._start.line
        try:
            for line, cells in self._below():
                if is_blank(cells):
                    continue
                widths[len(cells)] += 1
                longest[len(cells)] = max(longest[len(cells)], _written(cells))
                last = line
        except NotCsvError:
            pass  # told when the rows are read
        return widths, longest, last

    def _below(self) -> Iterator[tuple[int, list[str]]]:
        for number, row in enumerate(records(self._text, self._delimiter)):
            if number >= self._start.skipped:
                yield row

    def _is_cut_header(self) -> bool:
        written = self._header
        begun = [name for name in self._names.columns if written[-1] and name.startswith(written[-1])]
        return len(written) < len(self._schema.columns) and (
            bool(begun) or self._schema.column_of(written[-1], len(written) - 1) in self._schema.columns
        )

    def _row_width(self, widths: Counter[int], longest: Counter[int]) -> int:
        """Return the width of rows, and shorten a header that ends with a separator as all rows do."""
        header, total = self._header, sum(widths.values())
        wide = len(header)
        name = DELIMITERS[self._delimiter].removesuffix("s")
        if total and widths[wide] == total and (extra := wide - max(_written(header), longest[wide])):
            found = f"every line ends with a {name}: an extra, empty column at the end"
            if extra > 1:
                found = f"every line ends with {extra:,} {name}s: extra, empty columns at the end"
            self._findings.add("csv_trailing_delimiter", found, row=self._start.line, count=total + 1)
            self._header = header[:-extra]
        elif total and widths[wide + 1] == total and longest[wide + 1] <= wide:
            found = f"all {total:,} rows end with a {name} and so have one cell more than the header"
            self._findings.add("csv_trailing_delimiter", found, row=self._start.line + 1, count=total)
            return wide + 1
        return wide

    def _rows(self, sheet: Sheet) -> Iterator[tuple[int, list[str]]]:
        width, header = self._width, self._header
        try:
            for line, cells in self._below():
                if cells[0].startswith(BYTE_ORDER_MARK):
                    found = "the line begins with a byte order mark, as a file does"
                    self._findings.add("csv_header_repeated", found, kind="", row=line)
                    cells[0] = cells[0].removeprefix(BYTE_ORDER_MARK)
                if is_blank(cells):
                    continue
                if cells[: len(header)] == header and line > self._start.line:
                    self._findings.add("csv_header_repeated", "the header comes again", kind="", row=line)
                elif (what := self._no_wafer(cells)) is not None:
                    self._findings.add("row_not_a_wafer", what, kind=what.partition(":")[0], row=line)
                elif len(cells) != width or self._is_cut(line, cells):
                    self._tell_width(line, cells)
                    sheet.whole = False
                else:
                    yield line, cells[: len(header)]
        except NotCsvError as error:
            self._findings.add("csv_malformed", str(error), row=error.line)
            sheet.whole = False

    def _is_cut(self, line: int, cells: Sequence[str]) -> bool:
        """Return whether the last row ends where a label has begun."""
        label_last = self._names.is_label(self._header[-1])
        return line == self._last and not self._ends_in_a_line and label_last and cells[-1] in ("+", "-")

    def _tell_width(self, line: int, cells: Sequence[str]) -> None:
        width = self._width
        if line == self._last and not self._ends_in_a_line and len(cells) <= width:
            if len(cells) < width:
                found = f"the last line ends after {len(cells):,} of {width:,} cells"
            else:
                found = f"the last line ends with {shown(cells[-1])}, the beginning of a label"
            self._findings.add("file_cut_off", found, row=line)
            return
        found = f"{len(cells):,} cells instead of {width:,}"
        kind = "more" if len(cells) > width else "fewer"
        remedy = None
        if len(cells) == width + 1 and any(cell.strip(BLANKS) and not cell.strip(" 0123456789") for cell in cells):
            remedy = "Give every row one cell per column; a decimal comma makes two cells of one number."
        self._findings.add("csv_ragged_row", found, kind=kind, row=line, remedy=remedy)

    def _no_wafer(self, cells: Sequence[str]) -> str | None:
        """Say what a row is that is no wafer; None where it may be one."""
        if any(
            place < len(cells) and cells[place].strip(BLANKS) in self._schema.label_values for place in self._labels
        ):
            return None
        first = next(text for text in (cell.strip(BLANKS) for cell in cells) if text)
        what = next((what for what, words in _NO_WAFERS if words.fullmatch(first)), None)
        if what is not None:
            return f"{what}: {shown(first)}"
        written = [text for text in (cell.strip(BLANKS) for cell in cells) if text]
        few = len(self._header) > 2 and len(written) <= max(1, self._width // 20)
        if (
            few
            and not self._id.fullmatch(cells[0].strip(BLANKS))
            and (len(cells) != self._width or cells[0].strip(BLANKS))
        ):
            return f"a remark or a total: {shown(first)}"
        if len(cells) == self._width:
            others = [text for text in (cell.strip(BLANKS) for cell in cells[1:]) if text]
            if not any(map(_is_a_word, others[:10])):
                return None
            words = [text for text in others if _is_a_word(text)]
            if len(words) * 10 >= 9 * len(others) and len(words) * 2 >= len(cells) - 2:
                return f"units or a description of columns: {', '.join(map(shown, words[:3]))}"
        return None


def _is_a_word(text: str) -> bool:
    return not re.match(r"[0-9+\-.,(<>=#'\"]", text) and text.casefold() not in MISSING_CODES | FAILED

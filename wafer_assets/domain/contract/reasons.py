"""Reasons: every way to break the contract, and the one sentence that a person reads of each mistake.

Every reason has a stable code that stores, checks and people refer to; codes are added, never renamed. One mistake gets
one reason, with where it begins and how often it occurs, however many cells show it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Literal

from schemas.lines import WAFER_ID
from schemas.loader import BatchSchema

# A file of 100,000 different mistakes gets this many reasons per code, and one that counts the rest.
MAX_REASONS_PER_CODE = 20
# Of the places of one mistake, the first is the reason's own and these are told beside it.
OTHER_PLACES = 3

Unit = Literal["line", "row", "wafer"]
"""How the rows of a file are numbered for people: lines of a text, rows of a table, or wafers of a list."""

CLAUSES: Mapping[str, str] = MappingProxyType(
    {
        "file_name": "The name has the form that the line declares, with a real date and time.",
        "file_size": "The file is neither empty nor too large, and has as many wafers as agreed.",
        "encoding": "The file is whole, in the format that the line declares, and its text is UTF-8.",
        "csv_syntax": "The file is one table: a header, then rows of the header's width that are wafers.",
        "columns": "The columns are exactly those of the schema.",
        "empty_columns": "Every column that is not optional has a reading, unless it has none by chance.",
        "readings": "Every reading is empty or a finite number in its valid range; every context value can be read.",
        "wafer_ids": "Every wafer has an id that is safe to store, once.",
        "labels": "Every wafer of a training file is labelled passed or faulty, as plausibly as the line's others.",
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


def _kinds(*kinds: tuple[str, str, str, str]) -> Mapping[str, ReasonKind]:
    return MappingProxyType({kind[0]: ReasonKind(*kind) for kind in kinds})


_PLAIN_NUMBER = "Write a plain decimal number, or nothing where none was measured."

REASONS = _kinds(
    ("file_name_invalid", "file_name", "the file name breaks the contract", "Name it as the line declares."),
    ("file_empty", "file_size", "the file is empty", "Send the file again."),
    (
        "file_too_large",
        "file_size",
        "the file is too large",
        "Split it into batches of about 100 wafers, or raise files.max_size_mb in the line's line.yaml.",
    ),
    (
        "format_other",
        "encoding",
        "the file has another format than the contract says",
        "Send it in the format of the contract.",
    ),
    (
        "file_cut_off",
        "encoding",
        "the file was cut off",
        "Send the file again, whole; do not complete it by hand.",
    ),
    ("encoding_not_utf8", "encoding", "the file is not UTF-8", "Save it as UTF-8."),
    (
        "encoding_binary",
        "encoding",
        "the file is binary",
        "Send the file in the format of the contract.",
    ),
    (
        "file_malformed",
        "encoding",
        "the file cannot be read",
        "Write the file again; nothing behind this place was checked.",
    ),
    (
        "csv_malformed",
        "csv_syntax",
        "the line is not valid CSV",
        "Repair its quotes; lines after this one were not checked.",
    ),
    ("csv_delimiter", "csv_syntax", "the fields are not separated as agreed", "Export with commas."),
    (
        "csv_decimal_comma",
        "csv_syntax",
        "decimal commas split the numbers",
        "Export again with the point as decimal sign.",
    ),
    (
        "csv_trailing_delimiter",
        "csv_syntax",
        "lines end with a separator",
        "Remove the separator at the end of the lines.",
    ),
    (
        "csv_header_missing",
        "csv_syntax",
        "there is no header",
        "Send the header as line 1.",
    ),
    (
        "csv_preamble",
        "csv_syntax",
        "the header is not on line 1",
        "The header must be on line 1. Remove the lines above it.",
    ),
    (
        "csv_header_repeated",
        "csv_syntax",
        "several files were joined",
        "Send the files one by one, or remove this line.",
    ),
    (
        "row_not_a_wafer",
        "csv_syntax",
        "the row is not a wafer",
        "Remove the row: nothing but wafers belongs below the header.",
    ),
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
    (
        "labels_absent",
        "columns",
        "the labels are missing",
        "Send them, or put the file into the prediction feed: files without labels belong there.",
    ),
    (
        "labels_unexpected",
        "columns",
        "the file holds labels",
        "Put the file into the training feed, or remove the column.",
    ),
    (
        "column_row_numbers",
        "columns",
        "a column of row numbers was added",
        "Export the table without its index.",
    ),
    (
        "column_missing",
        "columns",
        "the column is missing",
        "Send the column; its cells are empty where nothing was measured.",
    ),
    (
        "column_unexpected",
        "columns",
        "the column is not in the contract",
        "Remove it, or agree on it in the contract.",
    ),
    ("column_repeated", "columns", "the column is there more than once", "Keep one."),
    ("column_renamed", "columns", "the column has another name", "Restore the name."),
    (
        "column_empty",
        "empty_columns",
        "the column has no reading in the whole file",
        "Check the sensor and the export; declare it optional in the line's line.yaml if it is not in use yet.",
    ),
    (
        "reading_missing_code",
        "readings",
        "the cell holds a code for a missing value that the contract does not declare",
        "Leave the cell empty where nothing was measured, or agree on the code in the contract.",
    ),
    (
        "reading_failed",
        "readings",
        "the cell holds a failed computation, not a reading",
        "Send the reading itself, or leave the cell empty if there is none.",
    ),
    ("reading_not_a_number", "readings", "the cell is not a number", _PLAIN_NUMBER),
    (
        "reading_not_finite",
        "readings",
        "the number is not finite",
        "Send the reading itself, or nothing where none was measured.",
    ),
    (
        "reading_underflow",
        "readings",
        "the number is so small that it would be read as 0",
        "Write 0 if it is 0; otherwise check the unit and the program that made it.",
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
        "wafer_id_shortened",
        "wafer_ids",
        "the ids are long numbers that a spreadsheet has shortened",
        "Export again without opening the file in a spreadsheet.",
    ),
    (
        "wafer_id_unsafe",
        "wafer_ids",
        "the wafer id is not safe to store",
        "Use up to 64 ASCII letters, digits, '.', '_' and '-', a letter or digit first, or agree on the form of ids "
        "in the contract.",
    ),
    (
        "wafer_id_repeated",
        "wafer_ids",
        "the wafer is there more than once",
        "Keep one row per wafer.",
    ),
    ("label_coding", "labels", "the labels are coded in another way", "Label as the line declares."),
    ("label_missing", "labels", "the wafer has no label", "Label it as the line declares."),
    ("label_unknown", "labels", "the label is unknown", "Label it as the line declares."),
)
"""Why a file is refused."""

HOLDS = _kinds(
    (
        "fault_rate_implausible",
        "labels",
        "the share of faulty wafers is implausible",
        "Check the coding of the labels: are passed and faulty exchanged?",
    ),
    (
        "labels_contradict",
        "labels",
        "the labels contradict those of the same wafers in other batches",
        "Find out which labels are right.",
    ),
)
"""Why a file that keeps the contract waits for a person."""

WARNINGS = _kinds(
    ("reading_unusual", "readings", "the reading is outside its usual range", "Look at the sensor."),
    (
        "reading_code_probable",
        "readings",
        "the number is probably a code for a missing value",
        "Leave such cells empty, or agree on the code in the contract.",
    ),
    (
        "wafer_ids_row_numbers",
        "wafer_ids",
        "the ids are row numbers, so that every batch would hold the same wafers",
        "Send the wafers' own ids.",
    ),
    (
        "wafer_ids_similar",
        "wafer_ids",
        "two ids differ in nothing but their case",
        "Check whether these are two wafers.",
    ),
    (
        "file_name_future",
        "file_name",
        "the date in the file name lies in the future",
        "Check the clock of the sender.",
    ),
)
"""What is said of files that keep the contract."""

KINDS: Mapping[str, ReasonKind] = MappingProxyType({**REASONS, **HOLDS, **WARNINGS})
"""All of them: a code belongs to one."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding: why a file is refused or held, or what it is accepted with.

    Attributes
    ----------
    code : str
        Key of `KINDS`.
    row : int or None
        Where it begins: the line of a text as an editor numbers it, the row of a table or the wafer of a list, from 1;
        None where none is to blame.
    column : str or None
        Column by its name in the schema or, where it has none, in the file; None where no column is to blame.
    found : str
        What was found, escaped and shortened: safe to print and to store.
    remedy : str
        What to do.
    count : int
        How many cells, rows or columns show it.
    unit : {"line", "row", "wafer"}
        What `row` counts.
    """

    code: str
    row: int | None
    column: str | None
    found: str
    remedy: str
    count: int = 1
    unit: Unit = "line"

    @property
    def message(self) -> str:
        """One sentence for people."""
        place = [f"{self.unit} {self.row}"] if self.row is not None else []
        place += [f"{'key' if self.unit == 'wafer' else 'column'} {self.column}"] if self.column is not None else []
        where = f"{', '.join(place)}: " if place else ""
        return f"{where}{KINDS[self.code].title}: {self.found}. {self.remedy}"

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the fields and ``message``, as plain JSON values for stores and reports."""
        return asdict(self) | {"message": self.message}


@dataclass(slots=True)
class _Finding:
    """All places of one mistake."""

    found: str
    remedy: str
    row: int | None
    column: str | None
    count: int = 0
    columns: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)


class Findings:
    """Collects what is found in a file: every mistake once, with its places.

    Parameters
    ----------
    schema : BatchSchema
        The contract, which words some remedies.
    unit : {"line", "row", "wafer"}
        What the rows of findings count.
    """

    def __init__(self, schema: BatchSchema, unit: Unit = "line") -> None:
        self.unit = unit
        self._schema = schema
        self._found: dict[str, dict[str, _Finding]] = {}
        self._more: Counter[str] = Counter()

    def add(
        self,
        code: str,
        found: str,
        *,
        kind: str | None = None,
        row: int | None = None,
        column: str | None = None,
        remedy: str | None = None,
        count: int = 1,
    ) -> None:
        """Note a finding.

        Parameters
        ----------
        code : str
            Key of `KINDS`.
        found : str
            What was found, safe to print.
        kind : str, optional
            Findings of one code and kind are the same mistake; by default, what was found tells them apart.
        row, column, remedy, count
            As in `Reason`.
        """
        kinds = self._found.setdefault(code, {})
        name = found if kind is None else kind
        known = kinds.get(name)
        if known is None:
            if len(kinds) >= MAX_REASONS_PER_CODE:
                self._more[code] += count
                return
            known = kinds[name] = _Finding(found, remedy or self._remedy(code), row, column)
        elif len(known.others) < OTHER_PLACES:
            place = ", ".join(
                part for part in (f"{self.unit} {row}" if row else "", column if column != known.column else "") if part
            )
            known.others.append(f"{place} {found}" if place and found != known.found else place or found)
        known.count += count
        if column is not None:
            known.columns.add(column)

    def __contains__(self, code: str) -> bool:
        return code in self._found

    def __bool__(self) -> bool:
        return bool(self._found)

    def reasons(self) -> tuple[Reason, ...]:
        """Return a reason per mistake, in the order of `KINDS`."""
        reasons: list[Reason] = []
        for code in KINDS:
            for finding in self._found.get(code, {}).values():
                found = finding.found + _elsewhere(finding)
                reasons.append(
                    Reason(code, finding.row, finding.column, found, finding.remedy, finding.count, self.unit)
                )
            if more := self._more[code]:
                found = f"{more:,} more like these"
                reasons.append(Reason(code, None, None, found, self._remedy(code), more, self.unit))
        return tuple(reasons)

    def _remedy(self, code: str) -> str:
        """Return what to do, in the words of the line where it depends on the line."""
        schema = self._schema
        if code == "file_name_invalid":
            return f"Name it {schema.file_names.form}, for example {schema.file_names.example}."
        if code in ("label_missing", "label_unknown", "label_coding", "labels_absent") and schema.label_values:
            return _LABEL_REMEDIES[code].format(labels=labels_of(schema))
        if code == "wafer_id_unsafe" and schema.wafer_id.pattern != WAFER_ID:
            pattern = schema.wafer_id.pattern
            return f"Write an id like {schema.wafer_id.example}: at most 64 printable characters that match {pattern}."
        return KINDS[code].remedy


_LABEL_REMEDIES = {
    "label_missing": "Label it {labels}, or send the wafer when it is measured.",
    "label_unknown": "Label it {labels}, or leave the wafer out.",
    "label_coding": "Label every wafer {labels}, or agree on the coding in the contract.",
    "labels_absent": "Label every wafer {labels}; a file without labels belongs to the prediction feed.",
}


def labels_of(schema: BatchSchema) -> str:
    """Return how wafers are labelled, for people."""
    spellings = {outcome: label for label, outcome in reversed(list(schema.label_values.items()))}
    return f"{spellings['passed']} (passed) or {spellings['faulty']} (faulty)"


def _elsewhere(finding: _Finding) -> str:
    """Say where a mistake is found besides."""
    if not finding.others:
        return ""
    places = "; ".join(finding.others)
    columns = f" of {len(finding.columns):,} columns" if len(finding.columns) > 1 else ""
    if finding.count == len(finding.others) + 1 and not columns:
        return f"; also {places}"
    return f"; {finding.count:,} times in all{f', in cells{columns}' if columns else ''}: also {places}, ..."


def shown(text: str) -> str:
    """Quote a text from outside so that it can be printed and stored, shortened to 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def listed(names: list[str]) -> str:
    """Name a few things, and of many the first and the last."""
    if len(names) > 4:
        return f"{names[0]} to {names[-1]}"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

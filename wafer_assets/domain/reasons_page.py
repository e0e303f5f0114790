"""The page of all reasons, `docs/reasons.md`, made from the code: each with a file and what is said of it.

`python -m wafer_assets.domain.reasons_page` prints it.
"""

import gzip
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.lines import ContextColumn
from schemas.loader import BatchSchema, Feed, load_schema
from wafer_assets.domain.contract import (
    CLAUSES,
    HOLDS,
    REASONS,
    WARNINGS,
    Accepted,
    History,
    Reason,
    find_holds,
    validate,
)

HEADER = ",Sensor-1,Sensor-2,Good/Bad"
ROWS = ("Wafer-1,1.5,20,-1", "Wafer-2,1.7,21,-1", "Wafer-3,1.6,22,1")
COLUMNS = {"Wafer": "varchar", "Sensor-1": "float", "Sensor-2": "float"}
NAME = "wafer_28012020_051011.csv"


@dataclass(frozen=True, slots=True)
class Example:
    """A file that shows a reason.

    Attributes
    ----------
    content : bytes
        The file.
    shows : str
        What is printed of it; empty where its bytes are no text.
    name : str
        The file's name.
    feed : {"training", "prediction"}
        Where it was put.
    contract : mapping
        What the contract says otherwise.
    history : History
        What the line has seen.
    """

    content: bytes
    shows: str = ""
    name: str = NAME
    feed: Feed = "training"
    contract: Mapping[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)

    @property
    def schema(self) -> BatchSchema:
        """The contract of a line of two sensors."""
        columns = COLUMNS | ({"Output": "integer"} if self.feed == "training" else {})
        small = {"columns": columns, "optional_columns": (), "shares": {"Sensor-1": 0.9}, "max_file_size_mb": 1}
        return load_schema(self.feed).model_copy(update=small | dict(self.contract))


def reasons_of(example: Example) -> tuple[Reason, ...]:
    """Return everything that is said of an example."""
    result = validate(example.name, example.content, example.schema)
    if not isinstance(result, Accepted):
        return result.reasons
    return (*find_holds(result.frame, example.schema, example.history), *result.warnings)


def _lines(*lines: str, **options: Any) -> Example:
    text = "\n".join(lines) + "\n"
    return Example(text.encode(), text, **options)


def _with(old: str, new: str, **options: Any) -> Example:
    return _lines(*(line.replace(old, new) for line in (HEADER, *ROWS)), **options)


_FLIPPED = [f"Wafer-{number},1.5,{20 + number},{1 if number % 10 else -1}" for number in range(1, 13)]
_CODES = [f"Wafer-{number},{9999 if number % 2 else 1.5},{9999 if number % 3 else 20},-1" for number in range(1, 9)]
_LOT = dict(COLUMNS) | {"Etched": "varchar", "Output": "integer"}

EXAMPLES: Mapping[str, Example] = {
    "file_name_invalid": _lines(HEADER, *ROWS, name="wafer_04282020_051011.csv"),
    "file_empty": Example(b""),
    "file_too_large": Example(b"0" * 1_200_000),
    "format_other": Example(gzip.compress(b"Wafer,Sensor-1", mtime=0)),
    "file_cut_off": Example(
        "\n".join((HEADER, *ROWS[:2], "Wafer-3,1.")).encode(), "\n".join((HEADER, *ROWS[:2], "Wafer-3,1."))
    ),
    "encoding_not_utf8": Example("\n".join((HEADER, *ROWS)).replace("Wafer-2", "Wäfer-2").encode("latin-1")),
    "encoding_binary": Example("\n".join((HEADER, *ROWS)).replace("1.7", "1\0").encode()),
    "file_malformed": Example(
        b'[{"Wafer": "Wafer-1", "Sensor-1" 1.5}]',
        '[{"Wafer": "Wafer-1", "Sensor-1" 1.5}]',
        name=NAME,
        contract={"format": "json"},
    ),
    "csv_malformed": _with("Wafer-2", '"Wafer-2'),
    "csv_delimiter": _with(",", ";"),
    "csv_decimal_comma": _with(".", ","),
    "csv_trailing_delimiter": _lines(*(f"{line}," for line in (HEADER, *ROWS))),
    "csv_header_missing": _lines(*ROWS),
    "csv_preamble": _lines("Tester: T7", HEADER, *ROWS),
    "csv_header_repeated": _lines(HEADER, *ROWS[:2], HEADER, ROWS[2]),
    "row_not_a_wafer": _lines(HEADER, "Unit,mV,C,", *ROWS),
    "csv_ragged_row": _lines(HEADER, *ROWS[:2], "Wafer-3,1.6,22,1,7"),
    "csv_no_rows": _lines(HEADER),
    "batch_size": _lines(HEADER, *ROWS, contract={"max_wafers": 2}),
    "labels_absent": _lines(*(line.rpartition(",")[0] for line in (HEADER, *ROWS))),
    "labels_unexpected": _lines(HEADER, *ROWS, feed="prediction"),
    "column_row_numbers": _lines(f",{HEADER}", *(f"{number},{row}" for number, row in enumerate(ROWS))),
    "column_missing": _lines(
        ",Sensor-2,Good/Bad", *(",".join(row.split(",")[::2] + row.split(",")[3:]) for row in ROWS)
    ),
    "column_unexpected": _lines(f"{HEADER},Lot", *(f"{row},A7" for row in ROWS)),
    "column_repeated": _lines(f"{HEADER},Sensor-1", *(f"{row},1" for row in ROWS)),
    "column_renamed": _with("Sensor-", "sensor_"),
    "column_empty": _lines(HEADER, *(f"Wafer-{number},,20,-1" for number in range(1, 5))),
    "reading_missing_code": _with("1.7", "NaN"),
    "reading_failed": _with("1.7", "#DIV/0!"),
    "reading_not_a_number": _with("1.7", "1.7 mV"),
    "reading_not_finite": _with("1.7", "Infinity"),
    "reading_underflow": _with("1.7", "1e-99999"),
    "reading_invalid": _with("1.7", "-400", contract={"valid": {"Sensor-1": (0.0, 10.0)}}),
    "context_invalid": _lines(
        ",Sensor-1,Sensor-2,Etched,Good/Bad",
        "Wafer-1,1.5,20,28.01.2020,-1",
        contract={"columns": _LOT, "context": {"Etched": ContextColumn(type="time")}},
    ),
    "wafer_id_missing": _with("Wafer-2", ""),
    "wafer_id_shortened": _lines(HEADER, *(row.replace(row.split(",")[0], "1.23457E+11") for row in ROWS)),
    "wafer_id_unsafe": _with("Wafer-2", "LOT#A 1/25"),
    "wafer_id_repeated": _with("Wafer-2", "Wafer-1"),
    "label_coding": _lines(HEADER, *(row.rpartition(",")[0] + f",{number // 2}" for number, row in enumerate(ROWS))),
    "label_missing": _lines(HEADER, ROWS[0], "Wafer-2,1.7,21,", ROWS[2]),
    "label_unknown": _lines(HEADER, ROWS[0], "Wafer-2,1.7,21,3", ROWS[2]),
    "fault_rate_implausible": _lines(HEADER, *_FLIPPED),
    "labels_contradict": _lines(
        HEADER, *ROWS, history=History(labels={"Wafer-1": True, "Wafer-2": False, "Wafer-3": False})
    ),
    "reading_unusual": _with("1.7", "7.1", contract={"usual": {"Sensor-1": (1.0, 2.0)}}),
    "reading_code_probable": _lines(HEADER, *_CODES),
    "wafer_ids_row_numbers": _lines(HEADER, *(row.replace("Wafer-", "") for row in ROWS)),
    "wafer_ids_similar": _with("Wafer-2", "wafer-1"),
    "file_name_future": _lines(HEADER, *ROWS, name="wafer_28042099_051011.csv"),
}
"""A file for each code."""


def page() -> str:
    """Return the page, in Markdown."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield "# What is said of files"
    yield ""
    yield "Every reason why a file is refused or held, and every warning. This page is made from the code by"
    yield "`make reasons`; the examples are files of a line of two sensors, and what `wafer check` says of them."
    yield ""
    yield "One mistake gets one reason, with where it begins and how often it occurs. Codes are stable: they are added,"
    yield "never renamed."
    for title, kinds, meaning in (
        (
            "Refused",
            REASONS,
            "The file breaks the contract. It is kept in quarantine, and none of its wafers is stored.",
        ),
        (
            "Held",
            HOLDS,
            "The file keeps the contract, and its labels contradict what the line has seen. A person looks at it, and "
            "`wafer quarantine release BATCH --reason TEXT` lets it in.",
        ),
        ("Warnings", WARNINGS, "The file is accepted. The warnings stand beside the batch and in its run's metadata."),
    ):
        yield from ("", f"## {title}", "", meaning)
        for code, kind in kinds.items():
            yield from ("", f"### `{code}`", "", f"{kind.title.capitalize()}. *{CLAUSES[kind.clause]}*", "")
            yield from _example(code, EXAMPLES[code])
    yield ""


def _example(code: str, example: Example) -> Iterator[str]:
    if example.name != NAME:
        yield from (f"The file `{example.name}`:", "")
    if example.shows:
        yield from ("```text", *example.shows.rstrip("\n").split("\n"), "```", "")
    (reason,) = (reason for reason in reasons_of(example) if reason.code == code)
    yield f"> {_escaped(reason.message)}"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


if __name__ == "__main__":
    sys.stdout.write(page())

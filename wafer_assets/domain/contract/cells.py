"""Cells: what a text between two separators says, or why it says nothing that can be used.

- Only an empty cell (blanks count as empty) is a missing value, and what the line declares to mean one. Any other `NA`,
  `NaN`, `null` and the like are refused: a failed computation must not pass for a reading that was not taken.
- A reading is a finite decimal number in ASCII, such as `-12.5` or `1.2e-3`, that becomes the nearest float64, unless
  that is 0 and the number is not; blanks around it, as around a label, are ignored.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.loader import BatchSchema

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
BLANKS = " \t\xa0\u202f"
MAX_CONTEXT_LENGTH = 200
# Bytes that were not UTF-8, as `bytes.decode` escapes them: what is wrong with them is told of the file.
UNDECODED = re.compile("[\udc80-\udcff]")

MISSING_CODES = frozenset(
    {
        *("nan", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "null", "(null)", "<null>", "none", "nil", "nat", "\\n"),
        *("?", "-", "--", "---", "*", ".", "missing", "nodata", "no data", "not measured", "nd", "n.d.", "void"),
        *("blank", "empty", "undefined", "unknown"),
    }
)
FAILED = frozenset(
    {
        *(
            "#div/0!",
            "#value!",
            "#ref!",
            "#num!",
            "#name?",
            "#null!",
            "#error!",
            "#error",
            "#wert!",
            "#zahl!",
            "#bezug!",
        ),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "1.#snan", "-1.#snan", "1.#inf", "-1.#inf", "-nan", "-nan(ind)"),
        *("nan(ind)", "err", "error", "overflow", "ovfl"),
    }
)
INFINITE = frozenset({"inf", "infinity", "∞"})

_PLAIN = "Write plain decimal numbers."
_NO_SPREADSHEET = "Export again without opening the file in a spreadsheet."
_MONTHS = "jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez"
_EXPLANATIONS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), explanation, remedy)
    for pattern, explanation, remedy in (
        (r".*[\r\n].*", "the cell holds a line break", "Remove the line break."),
        (r"=.*", "a formula, not a number", _PLAIN),
        (r"[<>≤≥].*", "a limit, not a reading", "Agree on what to send beyond the limits, or leave the cell empty."),
        (r".*[\uff0b-\uff19].*", "the digits are full-width characters", _PLAIN),
        (r"[\u2010-\u2015\u2212][0-9.,e+-]+", "the minus is a typographic sign", _PLAIN),
        (r"\([0-9.,]+\)", "a number in parentheses", _PLAIN),
        (r"[+-]?[0-9]{1,3}(?:[,' \xa0\u202f][0-9]{3})+(?:\.[0-9]*)?", "the number is grouped in thousands", _PLAIN),
        (r"[+-]?[0-9.]*,[0-9]+(?:e[+-]?[0-9]+)?", "the decimal sign is a comma", "Write points as decimal signs."),
        (
            rf"[0-9]{{1,4}}[-./ ]*(?:{_MONTHS})[a-z]*[-./ ]*[0-9]*|(?:{_MONTHS})[a-z]*[-./ ]*[0-9]+"
            r"|[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}(?:[ t].*)?",
            "a date: probably a spreadsheet turned a number into one",
            _NO_SPREADSHEET,
        ),
        (r"0x[0-9a-f]+", "a hexadecimal number", _PLAIN),
        (r"true|false", "a truth value", _PLAIN),
        (
            NUMBER.pattern + r"[ \xa0\u202f]*(?!e[+-]?$)[^\W\d_]*[%°/²³]*[^\W\d_]*[²³]?",
            "the cell holds a unit beside the number",
            "Units belong into the agreement, not into cells. Write plain decimal numbers.",
        ),
    )
)


class Trouble(NamedTuple):
    """What is wrong with a cell.

    Attributes
    ----------
    code
        Key of `reasons.REASONS`.
    explanation
        What it probably is; empty where nobody can tell.
    remedy
        What to do; None where that of the code will do.
    """

    code: str
    explanation: str = ""
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """What means that nothing was measured, beside the empty cell."""

    spellings: frozenset[str]
    values: tuple[float, ...]

    @classmethod
    def of(cls, schema: BatchSchema) -> "Missing":
        """Return what the contract declares."""
        values = tuple(float(text) for text in schema.missing if NUMBER.fullmatch(text))
        return cls(frozenset(schema.missing), values)


def reading(cell: str, missing: Missing, decimal: str) -> float | Trouble:
    """Return the value of a cell, NaN where nothing was measured, or what is wrong with it."""
    if decimal == "." and not missing.values and NUMBER.fullmatch(cell):
        value = float(cell)
        if value != 0 and abs(value) < math.inf and cell not in missing.spellings:
            return value  # as most are
    text = cell.strip(BLANKS)
    if not text or text in missing.spellings:
        return math.nan
    if decimal != ".":
        # A point could group thousands: nothing is guessed.
        text = text.replace(".", "?").replace(decimal, ".", 1)
    if NUMBER.fullmatch(text) is None:
        return trouble(cell.strip(BLANKS), decimal)
    value = float(text)
    if math.isinf(value):
        return Trouble("reading_not_finite", "too large to be a reading")
    if value == 0 and text.strip("+-0.") and re.search("[1-9]", re.split("[eE]", text)[0]):
        return Trouble("reading_underflow")
    return math.nan if value in missing.values else value


def trouble(text: str, decimal: str = ".") -> Trouble:
    """Say what a text is that is no number, as far as one can tell."""
    lowered = text.casefold()
    if lowered.lstrip("+-") in INFINITE:
        return Trouble("reading_not_finite", "infinite")
    if lowered in FAILED:
        return Trouble("reading_failed")
    if lowered in MISSING_CODES:
        return Trouble("reading_missing_code")
    if decimal != "." and re.fullmatch(r"[+-]?[0-9]+\.[0-9]+", text):
        return Trouble("reading_not_a_number", "the decimal sign is a point", "Write commas as decimal signs.")
    for pattern, explanation, remedy in _EXPLANATIONS:
        if pattern.fullmatch(text[:500]):
            return Trouble("reading_not_a_number", explanation, remedy)
    return Trouble("reading_not_a_number")


def is_number(text: str, decimal: str = ".") -> bool:
    """Return whether a text is a plain number."""
    return NUMBER.fullmatch(text.strip(BLANKS).replace(decimal, ".", 1)) is not None


def is_moment(text: str) -> bool:
    """Return whether a text is a date or a time."""
    return re.match(r"\s*[0-9]{1,4}[-./:][0-9]{1,2}[-./:][0-9]{1,4}", text) is not None


def context_value(text: str, kind: str, missing: Missing) -> str | float | datetime | None:
    """Return what a context cell says, None where it says nothing.

    Raises
    ------
    ValueError, OverflowError
        It cannot be read.
    """
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

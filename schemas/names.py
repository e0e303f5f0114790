"""Names of batch files: what a line declares of them, read and written by one pattern.

What else a file must be does not belong here.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache

STAMP = "{stamp}"
EXTENSIONS = (".csv", ".csv.gz", ".json", ".jsonl", ".parquet")
"""How names of batch files end: each is the name of a format."""
DATE_LETTERS = {"d": "DD", "m": "MM", "y": "YY", "Y": "YYYY", "j": "DDD"}
TIME_LETTERS = {"H": "HH", "M": "MM", "S": "SS"}
LETTERS = DATE_LETTERS | TIME_LETTERS
EXAMPLE = datetime(2020, 1, 28, 5, 10, 11)


class NamePatternError(ValueError):
    """A pattern that no name of a batch file can be read by.

    Attributes
    ----------
    key : {"name", "stamp"}
        The part at fault.
    remedy : str
        What to do.
    """

    code = "name_pattern_invalid"

    def __init__(self, key: str, remedy: str) -> None:
        super().__init__(f"{key}: {remedy}")
        self.key, self.remedy = key, remedy


@dataclass(frozen=True, slots=True)
class FileNames:
    """The names of a line's batch files.

    Letters are compared without regard to case.

    Attributes
    ----------
    name : str
        The name with ``{stamp}`` once, such as ``wafer_{stamp}.csv``.
    stamp : str
        What ``{stamp}`` stands for, in the directives ``%d %m %Y %y %j %H %M %S``.

    Raises
    ------
    NamePatternError
        If the name is no file name with one stamp, or the stamp lacks a whole date or the time.
    """

    name: str
    stamp: str

    def __post_init__(self) -> None:
        if self.name.count(STAMP) != 1 or re.search(r"[{}/\\]|[^ -~]", self.name.replace(STAMP, "")):
            raise NamePatternError("name", f"Write {STAMP} once in a file name in ASCII, such as wafer_{STAMP}.csv.")
        if not self.name.endswith(EXTENSIONS):
            raise NamePatternError("name", f"Let the name end with one of {' '.join(EXTENSIONS)}.")
        parts = _parts(self.stamp)
        found = [letter for letter, _ in parts if letter]
        if re.search(r"%(?![dmyYjHMS])|[{}/\\]|[^ -~]", self.stamp):
            known = " ".join(f"%{letter}" for letter in LETTERS)
            raise NamePatternError("stamp", f"Use {known} and ASCII between them.")
        if len(set(found)) < len(found):
            raise NamePatternError("stamp", "Write every directive once.")
        if not (len({"Y", "y"} & set(found)) == 1 and {"d", "m", "j"} & set(found) in ({"d", "m"}, {"j"})):
            raise NamePatternError("stamp", "Name a whole date: the year and day and month, as in %d%m%Y_%H%M%S.")
        if not {"H", "M"} <= set(found):
            raise NamePatternError("stamp", "Name the time, at least %H and %M, as in %d%m%Y_%H%M%S.")

    @property
    def extension(self) -> str:
        """The end of the name, one of `EXTENSIONS`."""
        return max((end for end in EXTENSIONS if self.name.endswith(end)), key=len)

    @property
    def form(self) -> str:
        """The form for people, such as `wafer_<DDMMYYYY>_<HHMMSS>.csv`."""
        marked = "".join(f"<{LETTERS[letter]}>" if letter else text for letter, text in _parts(self.stamp))
        return self.name.replace(STAMP, marked.replace("><", ""))

    @property
    def example(self) -> str:
        """A name of this form."""
        return self.name_at(EXAMPLE)

    @property
    def stamp_lengths(self) -> tuple[int, int]:
        """How many characters the date and the time take, each from its first digit to its last."""
        return _span(self.stamp, DATE_LETTERS), _span(self.stamp, TIME_LETTERS)

    def name_at(self, moment: datetime) -> str:
        """Return the name of a file of a time from the year 1000 on."""
        return self.name.replace(STAMP, moment.strftime(self.stamp))

    def time_of(self, name: str) -> datetime | None:
        """Return the time stamp in the name of a file; None if it is not of this form or holds no real time."""
        match = _compiled(self.name, self.stamp).fullmatch(name)
        moment = None if match is None else _moment(_numbers(match))
        return moment if isinstance(moment, datetime) else None

    def problem_of(self, name: str) -> str | None:
        """Say which part of a name is not of this form; None where it is, empty where nobody can tell."""
        match = _compiled(self.name, self.stamp).fullmatch(name)
        if match is not None:
            moment = _moment(_numbers(match))
            return moment if isinstance(moment, str) else None
        return _problem(name, self)


def _parts(stamp: str) -> list[tuple[str, str]]:
    """Split a stamp into directives, by letter, and the text between them."""
    return re.findall(r"%(.)|([^%]+)", stamp)


def _span(stamp: str, letters: dict[str, str]) -> int:
    widths = [(letter in letters, len(LETTERS.get(letter, text))) for letter, text in _parts(stamp)]
    while widths and not widths[0][0]:
        widths.pop(0)
    while widths and not widths[-1][0]:
        widths.pop()
    return sum(width for _, width in widths)


def _numbers(match: re.Match[str]) -> dict[str, int]:
    return {letter: int(digits) for letter, digits in match.groupdict().items()}


def _moment(number: dict[str, int]) -> datetime | str:
    """Return the time that the numbers of a stamp mean, or why they mean none."""
    year = number["Y"] if "Y" in number else 2000 + number["y"]
    try:
        day = date(year, number.get("m", 1), number.get("d", 1)) + timedelta(number.get("j", 1) - 1)
    except (ValueError, OverflowError):
        month = number.get("m", 1)
        if not 1 <= month <= 12:
            swapped = " (day and month may be exchanged)" if 1 <= number.get("d", 0) <= 12 else ""
            return f"the date is no day, for there is no month {month:02}{swapped}"
        return f"the date is no day, for there is no {year}-{month:02}-{number.get('d', 1):02}"
    if day.year != year:
        return f"the date is no day, for {year} has no day {number['j']}"
    try:
        return datetime.combine(day, time(number["H"], number["M"], number.get("S", 0)))
    except ValueError:
        return f"the time is none: {':'.join(f'{number[letter]:02}' for letter in TIME_LETTERS if letter in number)}"


def _problem(name: str, names: FileNames) -> str:
    """Say which part of a name has not the form."""
    extension = names.extension
    if not name.lower().endswith(extension):
        if name != name.strip():
            return "there is a blank at an end of it"
        end = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
        return f"the extension is {end[0]}, not {extension}" if end else f"it does not end with {extension}"
    stem = name[: len(name) - len(extension)]
    if copied := re.search(r" ?\([0-9]+\)$| - (?:Copy|Kopie)$|_copy$", stem, re.IGNORECASE):
        return f"it ends with {copied[0]!r}, as a second download or a copy does"
    if not re.search("[0-9]", stem):
        return "there is no date and time in it"
    return _problem_of_pieces(re.split("([0-9]+)", stem), re.split("([0-9]+)", names.example[: -len(extension)]))


def _problem_of_pieces(pieces: list[str], agreed: list[str]) -> str:
    """Compare a name's texts and numbers, in turns, with those of an example."""
    if len(pieces) > len(agreed):
        return ""
    if len(pieces) < len(agreed) and (pieces[0].lower(), len(pieces[1])) == (agreed[0].lower(), len(agreed[1])):
        return "the time is missing"
    for place, (text, wanted) in enumerate(zip(pieces[::2], agreed[::2], strict=False)):
        if text.lower() == wanted.lower():
            continue
        if text and text.lower().strip("-_. ") == wanted.lower().strip("-_. "):
            return f"it has {text!r} where {wanted!r} is agreed"
        return "" if place else f"it begins with {text[:20]!r}, not with {wanted!r}"
    for place, (digits, wanted) in enumerate(zip(pieces[1::2], agreed[1::2], strict=False)):
        if len(digits) != len(wanted):
            what = ("the date", "the time")[place] if len(agreed) == 5 else "a number"
            return f"{what}, {digits[:20]}, has {len(digits)} digits instead of {len(wanted)}"
    return ""


@cache
def _compiled(name: str, stamp: str) -> re.Pattern[str]:
    before, _, after = name.partition(STAMP)
    digits = "".join(
        f"(?P<{letter}>[0-9]{{{len(LETTERS[letter])}}})" if letter else re.escape(text)
        for letter, text in _parts(stamp)
    )
    return re.compile(f"{re.escape(before)}{digits}{re.escape(after)}", re.ASCII | re.IGNORECASE)

"""Names of batch files: what a line declares of them, read and written by one pattern.

What else a file must be does not belong here.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache

STAMP = "{stamp}"
EXTENSION = ".csv"
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

    Letters are compared without regard to case, but for those of the extension: stores and pages rely on it.

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
        if not self.name.endswith(EXTENSION) or self.name.endswith(STAMP):
            raise NamePatternError("name", f"Let the name end with {EXTENSION}.")
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
        if match is None:
            return None
        number = {letter: int(digits) for letter, digits in match.groupdict().items()}
        try:
            year = number["Y"] if "Y" in number else 2000 + number["y"]
            day = date(year, number.get("m", 1), number.get("d", 1)) + timedelta(number.get("j", 1) - 1)
            if day.year != year:
                return None
            return datetime.combine(day, time(number["H"], number["M"], number.get("S", 0)))
        except (ValueError, OverflowError):
            return None


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


@cache
def _compiled(name: str, stamp: str) -> re.Pattern[str]:
    before, _, after = name.removesuffix(EXTENSION).partition(STAMP)
    digits = "".join(
        f"(?P<{letter}>[0-9]{{{len(LETTERS[letter])}}})" if letter else re.escape(text)
        for letter, text in _parts(stamp)
    )
    return re.compile(f"(?i:{re.escape(before)}{digits}{re.escape(after)}){re.escape(EXTENSION)}", re.ASCII)

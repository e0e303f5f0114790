"""A line's declaration guessed from sample files: what can be seen, how sure it is, and what a person must decide.

Belongs here: looking at files and writing down what they say, as `schemas/<line>/` holds it. Whether a declaration
holds together is `schemas.lines`, whether a file keeps it `contract`. Nothing here is taken for true: a sample shows
what occurs, never what is agreed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise, product
from typing import Generic, Literal, TypeVar

from schemas.lines import WAFER_ID, Feed, is_line_name, is_storable_id
from wafer_assets.domain.samples import InferenceError, Layout, Sample, as_number, base_name, read_samples
from wafer_assets.domain.table import natural_key

Sure = Literal["certain", "likely", "guess"]
ContextType = Literal["text", "number", "time"]
T = TypeVar("T")

USUAL_MARGIN = 0.1
"""The usual range is the observed one, widened at both ends by this share of its span."""
FEW_WAFERS = 10  # in a file: a column that is empty in fewer says little
MOST_CODES = 5  # different texts in a numeric column that may stand for a missing reading

_DATES = ("%d%m%Y", "%Y%m%d", "%m%d%Y", "%d-%m-%Y", "%Y-%m-%d", "%m-%d-%Y")
_STAMPS = (
    *(f"{date}{gap}{time}" for date, gap, time in product(_DATES, "_-T", ("%H%M%S", "%H-%M-%S", "%H%M"))),
    *(f"{date}%H%M%S" for date in _DATES[:3]),
)
_TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%Y-%m-%d", "%d.%m.%Y")
_DIGITS = {"%d": 2, "%m": 2, "%Y": 4, "%H": 2, "%M": 2, "%S": 2}
_SENTINEL = re.compile(r"[+-]?(?:9{3,}(?:\.[09]*)?|1(?:\.0*)?[eE]\+?[123][0-9])")
_NOT_MEASURED = {"na", "n/a", "nan", "null", "none", "-", "?", "missing", "nd", "n.d.", "#n/a", "inf", "-inf"}
_LABELS = ("label", "fault", "good/bad", "good", "pass", "fail", "output", "result", "class", "target", "defect", "ok")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@dataclass(frozen=True)
class Guess(Generic[T]):
    """Something inferred.

    Attributes
    ----------
    value : object
        What is inferred.
    sure : {"certain", "likely", "guess"}
        How sure it is.
    why : str
        One sentence that says what in the files speaks for it.
    """

    value: T
    sure: Sure
    why: str

    def __str__(self) -> str:
        return f"{self.sure}: {self.why}"


@dataclass(frozen=True, slots=True)
class Sensor:
    """What the files hold of one sensor.

    Attributes
    ----------
    name : str
        Its header.
    observed : tuple of float or None
        Lowest and highest reading, suspicious ones left out; None without readings.
    usual : Guess of (tuple of float or None)
        The observed range widened by `USUAL_MARGIN`; None of a constant sensor and of one without readings.
    share : float
        Share of wafers with a reading, in [0, 1].
    optional : Guess of bool
        Whether it is empty in, or absent from, whole files.
    sentinels : tuple of str
        Readings that may stand for "not measured".
    odd : tuple of str
        Texts among its readings, of more than `MOST_CODES` kinds, so that they are no code; a few of them.
    """

    name: str
    observed: tuple[float, float] | None
    usual: Guess[tuple[float, float] | None]
    share: float
    optional: Guess[bool]
    sentinels: tuple[str, ...]
    odd: tuple[str, ...]

    @property
    def constant(self) -> bool:
        """Whether all its readings are the same."""
        return self.observed is not None and self.observed[0] == self.observed[1]


@dataclass(frozen=True, slots=True)
class Label:
    """The column that says which wafers are faulty.

    Attributes
    ----------
    column : Guess of str
        Its header.
    passed, faulty : Guess of (tuple of str)
        The spellings of each outcome; which is which is a person's to decide.
    others : tuple of str
        Further columns that might be it.
    """

    column: Guess[str]
    passed: Guess[tuple[str, ...]]
    faulty: Guess[tuple[str, ...]]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inferred:
    """A line's declaration as its sample files suggest it.

    Attributes
    ----------
    name : str
        Of the line.
    sample : str
        Name of one file.
    file_name : Guess of str
        Pattern of the names, with ``{stamp}``.
    stamp : Guess of str
        Format of the stamp, as `datetime.strptime` reads it.
    layout : Layout
        How the files are written.
    header : tuple of str
        Names of the columns in the order of the files, an unnamed first one named.
    header_aliases : Guess of (mapping of str -> str)
        Headers in the files that mean another name.
    wafer, wafer_pattern : Guess of str
        Header of the wafer id, and a regular expression for ids.
    wafer_example : str
        One id.
    label : Label or None
        None where no file seems to be labelled.
    labelled, unlabelled : tuple of str
        Names of the files.
    sensors : mapping of str -> Sensor
        In the order of the header.
    missing : tuple of (Guess of str)
        Texts in numeric columns.
    context : mapping of str -> (Guess of {"text", "number", "time"})
        Columns that are neither id nor label nor sensor.
    order : Guess of str
        What puts wafers in time: ``batch_stamp``, ``wafer_id`` or ``column:<name>``.
    batches : tuple of int
        Numbers of wafers in the smallest and the largest file.
    """

    name: str
    sample: str
    file_name: Guess[str]
    stamp: Guess[str]
    layout: Layout
    header: tuple[str, ...]
    header_aliases: Guess[Mapping[str, str]]
    wafer: Guess[str]
    wafer_pattern: Guess[str]
    wafer_example: str
    label: Label | None
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    sensors: Mapping[str, Sensor]
    missing: tuple[Guess[str], ...]
    context: Mapping[str, Guess[ContextType]]
    order: Guess[str]
    batches: tuple[int, int]


def infer_line(name: str, files: Mapping[str, bytes]) -> Inferred:
    """Infer a line's declaration from sample files.

    Parameters
    ----------
    name : str
        Of the line: a small letter, then up to 31 small letters, digits and underscores.
    files : mapping of str -> bytes
        Names, maybe with folders before them, and contents; labelled and unlabelled ones may be mixed.

    Returns
    -------
    Inferred
        Every guess with how sure it is and why.

    Raises
    ------
    InferenceError
        If the name is no line's, or a file is no table of a format that a line may declare, with an id for every wafer
        and a time stamp in its name.
    """
    if not is_line_name(name):
        raise InferenceError(
            f"{name!r} is no name of a line. Give a small letter, then up to 31 small letters, digits or underscores."
        )
    if not files:
        raise InferenceError("There is no file to look at. Give at least one sample, better several of each kind.")
    names = [base_name(each) for each in files]
    file_name, stamp = _file_names(names)
    layout, read = read_samples(files)
    header = tuple(dict.fromkeys(column for file in read for column in file.columns))
    wafer = _wafer_column(header, read)
    ids = [file.columns[wafer.value] for file in read]
    label = _label(header, wafer.value, read)
    codes: Counter[str] = Counter()
    sensors: dict[str, Sensor] = {}
    context: dict[str, Guess[ContextType]] = {}
    for column in header:
        if column == wafer.value or (label and column == label.column.value):
            continue
        cells = [file.columns.get(column, ("",) * file.wafers) for file in read]
        if kind := _context(cells):
            context[column] = kind
        else:
            sensors[column] = _sensor(column, cells, read, codes)
    if not sensors:
        raise InferenceError("No column holds numbers beside the wafer id and the label. Give files with readings.")
    if "default" in sensors:
        raise InferenceError(
            "A sensor is named 'default', which a declaration uses for all of them. Rename the column."
        )
    aliases = {given: named for file in read for given, named in file.aliases.items()}
    sizes = [file.wafers for file in read]
    with_label = {file.name for file in read if label and label.column.value in file.columns}
    return Inferred(
        name=name,
        sample=names[0],
        file_name=file_name,
        stamp=stamp,
        layout=layout,
        header=header,
        header_aliases=Guess(
            aliases,
            "likely" if aliases else "certain",
            "the first column has no name of its own in files" if aliases else "every column has a name",
        ),
        wafer=wafer,
        wafer_pattern=_pattern([each for column in ids for each in column]),
        wafer_example=ids[0][0],
        label=label,
        labelled=tuple(each for each in files if each in with_label),
        unlabelled=tuple(each for each in files if each not in with_label),
        sensors=sensors,
        missing=tuple(_missing(code, count) for code, count in codes.most_common()),
        context=context,
        order=_order(stamp.value, file_name.value, read, ids, context),
        batches=(min(sizes), max(sizes)),
    )


# --- Names of files ---


def _stamp_pattern(stamp: str) -> str:
    return re.sub("%[dmYHMS]", lambda part: f"[0-9]{{{_DIGITS[part.group()]}}}", stamp)


def _time(text: str, stamp: str) -> datetime | None:
    try:
        time = datetime.strptime(text, stamp)
    except ValueError:
        return None
    return time if 1970 <= time.year <= 2100 else None


def _file_names(names: Sequence[str]) -> tuple[Guess[str], Guess[str]]:
    """Find the one place and the formats of a stamp that all names share."""
    holding: dict[tuple[tuple[str, str], str], set[int]] = {}
    for number, name in enumerate(names):
        for stamp in _STAMPS:
            for place in _places(name, stamp):
                holding.setdefault((place, stamp), set()).add(number)
    most = max(holding.values(), key=len, default=set[int]())
    if len(most) < len(names):
        odd = next(name for number, name in enumerate(names) if number not in most)
        others = f"{len(most)} of {len(names)} names do" if most else "no name does"
        raise InferenceError(
            f"{odd!r} does not share the others' form of a whole date and a time, as line_08012020_120000.csv has it "
            f"({others}). Give files of one line, named as the line names them."
        )
    fitting: dict[tuple[str, str], list[str]] = {}
    for (place, stamp), numbers in holding.items():
        if len(numbers) == len(names):
            fitting.setdefault(place, []).append(stamp)
    # The longest stamp: one that seconds follow is not one without them.
    (before, after), stamps = max(fitting.items(), key=lambda item: max(len(stamp) for stamp in item[1]))
    longest = max(len(stamp) for stamp in stamps)
    stamps = [stamp for stamp in stamps if len(stamp) == longest]
    if set("{}/\\") & set(before + after) or not (before + after).isprintable():
        raise InferenceError(f"The name {names[0]!r} holds braces, slashes or control characters. Rename the files.")
    pattern = Guess[str](
        f"{before}{{stamp}}{after}",
        "certain" if len(names) > 1 else "likely",
        f"all {len(names)} names have this form, letters compared without regard to case",
    )
    if len(stamps) > 1:
        why = f"ambiguous, day and month could be either way round: {' and '.join(stamps)} both fit all names"
        return pattern, Guess(stamps[0], "guess", why)
    why = f"the only format tried that makes real times of all {len(names)} names"
    return pattern, Guess(stamps[0], "certain" if len(names) > 1 else "likely", why)


def _places(name: str, stamp: str) -> set[tuple[str, str]]:
    """Return what may stand before and after a stamp in a name, in small letters."""
    found = re.finditer(rf"(?<![0-9]){_stamp_pattern(stamp)}(?![0-9])", name)
    return {
        (name[: match.start()].lower(), name[match.end() :].lower()) for match in found if _time(match.group(), stamp)
    }


# --- Columns ---


def _is_time(text: str) -> bool:
    return any(_time(text, stamp) for stamp in _TIMES)


def _wafer_column(header: Sequence[str], files: Sequence[Sample]) -> Guess[str]:
    """Choose the column that names wafers: complete, different in every row, text rather than number."""
    candidates: list[tuple[tuple[bool, ...], str, bool]] = []
    for place, column in enumerate(header):
        if any(column not in file.columns or not all(file.columns[column]) for file in files):
            continue
        if any(len(set(file.columns[column])) < file.wafers for file in files):
            continue
        cells = [cell for file in files for cell in file.columns[column]]
        text, whole = not all(map(_number_like, cells)), all(cell.isdigit() for cell in cells)
        if _is_time(cells[0]) or not (text or whole):
            continue
        named = bool(re.search("wafer|id$", column.lower()))
        everywhere = len(set(cells)) == len(cells)
        candidates.append(((text, everywhere, named, place == 0), column, everywhere))
    if not candidates:
        raise InferenceError(
            "No column names the wafers: none is filled in every row of every file with entries that differ within "
            "a file. Give files with a wafer id."
        )
    (text, everywhere, named, _), column, _ = max(candidates, key=lambda candidate: candidate[0])
    unique = "over all files" if everywhere else "within each file"
    sure: Sure = "likely" if text and sum(file.wafers for file in files) > 1 else "guess"
    if text and everywhere and (named or len(candidates) == 1):
        sure = "certain" if sum(file.wafers for file in files) >= FEW_WAFERS else sure
    kind = "text" if text else "whole numbers"
    why = f"{kind}, filled everywhere and unique {unique}; columns that could be it: {len(candidates)}"
    return Guess(column, sure, why)


def _number_like(text: str) -> bool:
    return as_number(text) is not None


def _pattern(ids: Sequence[str]) -> Guess[str]:
    """Make a pattern of runs of digits, and of the text between them where it is always the same."""
    unsafe = next((each for each in ids if not is_storable_id(each)), None)
    if unsafe is not None:
        return Guess(WAFER_ID, "guess", f"{unsafe!r} can neither match it nor be stored: rename the wafers")
    parts = [re.split(r"([0-9]+)", each) for each in ids]
    if len({tuple(part[::2]) for part in parts}) > 1 or len(parts[0]) == 1:
        if all(re.fullmatch(WAFER_ID, each) for each in ids):
            return Guess(WAFER_ID, "guess", "ids have no form in common, so any safe text is taken")
        others = "".join(sorted({each for text in ids for each in text if not re.fullmatch("[A-Za-z0-9]", each)}))
        taken = re.escape(others).replace("\\ ", " ")
        return Guess(
            f"[A-Za-z0-9{taken}]{{1,64}}", "guess", "ids have no form in common, so any of their signs is taken"
        )
    pieces = [re.escape(parts[0][0])]
    for place in range(1, len(parts[0]), 2):
        runs = {part[place] for part in parts}
        lengths = {len(run) for run in runs}
        fixed = len(lengths) == 1 and any(run.startswith("0") for run in runs)
        pieces += [f"[0-9]{{{lengths.pop()}}}" if fixed else "[0-9]+", re.escape(parts[0][place + 1])]
    pattern = re.sub(r"\\([- #])", r"\1", "".join(pieces))
    return Guess(pattern, "likely", f"all {len(ids)} ids have this form; leading zeros fix a number of digits")


def _label(header: Sequence[str], wafer: str, files: Sequence[Sample]) -> Label | None:
    """Choose the label: two values, filled wherever it is, and absent from the files to predict."""
    found: list[tuple[tuple[int, ...], str, dict[str, Counter[str]]]] = []
    for place, column in enumerate(header):
        holding = [file for file in files if column in file.columns]
        cells = [cell for file in holding for cell in file.columns[column]]
        if column == wafer or not all(cells):
            continue
        values: dict[str, Counter[str]] = {}
        for cell in cells:
            number = as_number(cell)
            values.setdefault(cell if number is None else repr(number), Counter())[cell] += 1
        absent, named = len(holding) < len(files), any(word in column.lower() for word in _LABELS)
        if len(values) > 2 or (len(values) == 1 and not (absent and named)) or not (absent or named):
            continue
        found.append(((absent, named, len(values), place), column, values))
    if not found:
        return None
    found.sort(key=lambda candidate: candidate[0], reverse=True)
    (telling, known, different, _), column, values = found[0]
    files_with = sum(column in file.columns for file in files)
    values_seen = "two values" if different == 2 else "a single value"
    why = f"{values_seen}, filled everywhere, in {files_with} of {len(files)} files"
    sure: Sure = "likely" if telling and different == 2 else "guess"
    if sure == "likely" and known and len(found) == 1:
        sure = "certain"
    ordered = sorted(values.values(), key=lambda spellings: -spellings.total())
    often, rare = ordered[0], ordered[1] if len(ordered) > 1 else Counter[str]()
    coding = f"the {{}} of two values, {{}} of {often.total() + rare.total()} wafers; only a person can tell"
    return Label(
        Guess(column, sure, why),
        Guess(tuple(sorted(often)), "guess", coding.format("commoner", often.total())),
        Guess(tuple(sorted(rare)), "guess", coding.format("rarer", rare.total())),
        tuple(candidate[1] for candidate in found[1:]),
    )


def _context(cells: Sequence[Sequence[str]]) -> Guess[ContextType] | None:
    """Say what a column holds that is no sensor; None of one that may be a sensor."""
    filled = [cell for column in cells for cell in column if cell]
    numbers = sum(map(_number_like, filled))
    texts = {cell for cell in filled if not _number_like(cell)}
    codes = {text for text in texts if text.lower() in _NOT_MEASURED}
    if not filled or texts == codes or 2 * numbers > len(filled):
        counts = [column for column in cells if len(column) > 2 and _counts_up(column)]
        if counts and len(counts) == sum(len(column) > 2 for column in cells):
            return Guess("number", "guess", "whole numbers that rise by one from row to row, like a count")
        return None
    if all(map(_is_time, filled)):
        return Guess("time", "likely", "every entry is a date or a time")
    return Guess("text", "likely", f"{len(filled) - numbers} of {len(filled)} entries are no numbers")


def _counts_up(column: Sequence[str]) -> bool:
    numbers = [as_number(cell) if cell.isdigit() else None for cell in column]
    return all(a is not None and b is not None and b == a + 1 for a, b in pairwise(numbers))


def _sensor(name: str, cells: Sequence[Sequence[str]], files: Sequence[Sample], codes: Counter[str]) -> Sensor:
    wafers = sum(map(len, cells))
    texts = [cell for column in cells for cell in column if cell and not _number_like(cell)]
    kinds = sorted({text for text in texts if text.lower() not in _NOT_MEASURED})
    odd = tuple(kinds[:3]) if len(kinds) > MOST_CODES else ()
    codes.update(text for text in texts if not odd or text.lower() in _NOT_MEASURED)
    readings = [(cell, value) for column in cells for cell in column if (value := as_number(cell)) is not None]
    sentinels = _sentinels(readings)
    values = [value for cell, value in readings if cell not in sentinels]
    empty = [file for file, column in zip(files, cells, strict=True) if not any(map(_number_like, column))]
    absent = sum(name not in file.columns for file in files)
    optional = Guess[bool](False, "likely", f"no reading is missing in a whole file of {len(files)}")
    if empty:
        long = sum(file.wafers >= FEW_WAFERS for file in empty)
        why = f"without a reading in {len(empty)} of {len(files)} files, {absent} of which lack the column"
        optional = Guess(True, "likely" if long else "guess", why)
    observed = (min(values), max(values)) if values else None
    usual, share = _usual(observed, len(values)), len(values) / wafers
    return Sensor(name, observed, usual, share, optional, tuple(sorted(sentinels)), odd)


def _usual(observed: tuple[float, float] | None, readings: int) -> Guess[tuple[float, float] | None]:
    if observed is None:
        return Guess(None, "certain", "no reading was seen")
    low, high = observed
    if low == high:
        return Guess(None, "guess", f"all {readings} readings are {low:g}")
    margin = USUAL_MARGIN * (high - low)
    ends = (_rounded(low - margin, low), _rounded(high + margin, high))
    why = f"{readings} readings from {low:g} to {high:g}, widened by {USUAL_MARGIN:.0%} of the span at both ends"
    return Guess(ends if all(map(math.isfinite, ends)) else None, "guess", why)


def _rounded(end: float, observed: float) -> float:
    """Round to six digits, unless that would put an observed reading outside."""
    rounded = float(f"{end:.6g}")
    return rounded if (rounded - observed) * (end - observed) > 0 else end


def _sentinels(readings: Sequence[tuple[str, float]]) -> set[str]:
    """Return repeated readings such as 9999 that lie farther from all others than these from each other."""
    counts = Counter(cell for cell, _ in readings if _SENTINEL.fullmatch(cell))
    suspicious = {cell for cell, count in counts.items() if count > 1}
    others = [value for cell, value in readings if cell not in suspicious]
    if not suspicious or not others:
        return set()
    low, high = min(others), max(others)
    return {
        cell
        for cell in suspicious
        if (value := float(cell)) > high + max(high - low, abs(high)) or value < low - max(high - low, abs(low))
    }


def _missing(code: str, count: int) -> Guess[str]:
    known = code.lower() in _NOT_MEASURED
    return Guess(code, "likely" if known else "guess", f"{count} times where numbers are expected")


def _order(
    stamp: str,
    pattern: str,
    files: Sequence[Sample],
    ids: Sequence[Sequence[str]],
    context: Mapping[str, Guess[ContextType]],
) -> Guess[str]:
    """Compare the order of stamps, of ids and of columns with times."""
    times = [column for column, kind in context.items() if kind.value == "time"]
    also = f"; {', '.join(times)} hold times and may be better" if times else ""
    before, after = pattern.split("{stamp}")
    names = [base_name(file.name) for file in files]
    stamps = [_time(name[len(before) : len(name) - len(after)], stamp) or datetime.min for name in names]
    wafers = sorted((natural_key(each), time) for time, column in zip(stamps, ids, strict=True) for each in column)
    falls = sum(later[1] < earlier[1] for earlier, later in pairwise(wafers))
    rows_agree = sum(list(column) == sorted(column, key=natural_key) for column in ids)
    rows = f"in {rows_agree} of {len(files)} files the rows are in the order of the ids"
    if len(set(stamps)) < 2:
        return Guess("batch_stamp", "guess", f"there is one stamp only, so nothing contradicts it; {rows}{also}")
    if not falls:
        return Guess("batch_stamp", "likely", f"stamps and ids give the files the same order; {rows}{also}")
    clash = f"stamps and ids contradict each other {falls} times; {rows}{also}"
    return Guess("wafer_id" if rows_agree >= 0.9 * len(files) else "batch_stamp", "guess", clash)


# --- What is written down ---


def render_line_yaml(inferred: Inferred) -> str:
    """Write the declaration of a line with a comment on every guess.

    Parameters
    ----------
    inferred : Inferred
        From `infer_line`.

    Returns
    -------
    str
        YAML in the form of ``schemas/<line>/line.yaml``; title, owner and process are to be filled in.
    """
    return "\n".join([*_head(inferred), *_columns(inferred), *_policies()]) + "\n"


def _head(inferred: Inferred) -> Iterator[str]:
    label = inferred.label
    yield f"# Inferred from {len(inferred.labelled)} labelled and {len(inferred.unlabelled)} unlabelled files."
    yield "# A sample shows what occurs, not what is agreed: compare every line with the agreement."
    yield "format: 1"
    yield f"line: {_key(inferred.name)}"
    yield f"title: {_quoted(inferred.name)}  # decide: what people call the line"
    yield 'owner: "team:unknown"  # decide: who answers for it'
    yield 'process: ""  # decide: what is made and measured'
    yield 'contract: "1.0"'
    yield "files:"
    layout = inferred.layout
    yield f"  format: {layout.format}  # certain: by the names of the files and their content"
    if "csv" in layout.format:
        yield f"  delimiter: {_quoted(layout.delimiter)}  # certain: it separates the headers"
        yield f"  decimal: {_quoted(layout.decimal)}  # likely: as the numbers are written"
    yield _entry("  name", _quoted(inferred.file_name.value), inferred.file_name)
    yield _entry("  stamp", _quoted(inferred.stamp.value), inferred.stamp)
    yield _entry("  header_aliases", _mapping(inferred.header_aliases.value), inferred.header_aliases)
    yield "  max_size_mb: 20"
    low, high = inferred.batches
    yield f"  wafers: {{min: 1, max: {max(100, 4 * high)}}}  # guess: the files hold {low} to {high} wafers"
    example = _quoted(inferred.wafer_example)
    yield f"wafer_id:  # {_comment(f'column {inferred.wafer.value!r}, {inferred.wafer}')}"
    yield _entry("  pattern", _quoted(inferred.wafer_pattern.value), inferred.wafer_pattern)
    yield f"  example: {example}"
    if label is None:
        yield "labels: {passed: [], faulty: []}  # decide: no column of the files seems to be a label"
    else:
        yield f"labels:  # {_comment(f'column {label.column.value!r}, {label.column}')}"
        yield _entry("  passed", _list(label.passed.value), label.passed)
        yield _entry("  faulty", _list(label.faulty.value), label.faulty)


def _columns(inferred: Inferred) -> Iterator[str]:
    known = [code.value for code in inferred.missing if code.sure == "likely"]
    seen = "; ".join(f"{code.value!r} {code.why} ({code.sure})" for code in inferred.missing[:10])
    yield f"missing: {_list(known)}  # {_comment(seen) or 'certain: no text stands where numbers are expected'}"
    yield _entry("order", _quoted(inferred.order.value), inferred.order)
    if inferred.context:
        yield "context:"
        for column, kind in inferred.context.items():
            yield _entry(f"  {_key(column)}", f"{{title: {_quoted(column)}, type: {kind.value}}}", kind)
    else:
        yield "context: {}  # certain: every other column holds numbers"
    yield "sensors:"
    yield '  default: {unit: "", share: 0.5}'
    for sensor in inferred.sensors.values():
        # A sensor that the sample never shows has no share that could be told.
        fields = [f"share: {max(math.floor(100 * sensor.share), 1) / 100:g}"] if sensor.share else []
        if sensor.optional.value:
            fields.insert(0, "optional: true")
        if sensor.usual.value:
            fields.append(f"usual: [{', '.join(map(_float, sensor.usual.value))}]")
        remarks = [str(sensor.usual), *([str(sensor.optional)] if sensor.optional.value else [])]
        if sensor.odd:
            remarks.append(f"guess: a sensor, although {_names(sensor.odd)} are among the readings")
        if sensor.sentinels:
            remarks.append(f"guess: {', '.join(sensor.sentinels)} may mean not measured, and is left out of the range")
        yield f"  {_key(sensor.name)}: {{{', '.join(fields)}}}  # {_comment('; '.join(remarks))}"


def _policies() -> Iterator[str]:
    yield "alarm: {capacity: 0.1}  # decide: the share of wafers that can be inspected, or {cost_ratio: 10}"
    yield "notify: []"
    yield "model: {}"


def render_schema_json(inferred: Inferred, feed: Feed) -> str:
    """Write the schema file of one feed in the original format.

    Parameters
    ----------
    inferred : Inferred
        From `infer_line`.
    feed : {"training", "prediction"}
        Files of the training feed carry the label.

    Returns
    -------
    str
        JSON.

    Raises
    ------
    InferenceError
        If the training feed is asked for and no label was found.
    """
    if feed == "training" and inferred.label is None:
        raise InferenceError("No column seems to be a label. Give labelled files, or add the label by hand.")
    label = inferred.label.column.value if inferred.label else None
    columns = {}
    for column in inferred.header:
        if column == label:
            continue
        kind = inferred.context.get(column)
        text = column == inferred.wafer.value or (kind is not None and kind.value != "number")
        columns[column] = "varchar" if text else "float"
    if feed == "training" and label is not None:
        columns[label] = "Integer"
    stamp, sample = inferred.stamp.value, _sample(inferred, feed)
    date = stamp[: stamp.index("%H")].rstrip("_-T")
    schema = {
        "SampleFileName": sample,
        "LengthOfDateStampInFile": _length(date),
        "LengthOfTimeStampInFile": _length(stamp[stamp.index("%H") :]),
        "NumberofColumns": len(columns),
        "ColName": columns,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _sample(inferred: Inferred, feed: Feed) -> str:
    names = inferred.labelled if feed == "training" else inferred.unlabelled
    return base_name(next(iter(names), inferred.sample))


def _length(stamp: str) -> int:
    return len(re.sub("%[dmYHMS]", lambda part: "0" * _DIGITS[part.group()], stamp))


def decisions(inferred: Inferred) -> list[str]:
    """Return what a person must decide before the declaration is used, most consequential first.

    Parameters
    ----------
    inferred : Inferred
        From `infer_line`.

    Returns
    -------
    list of str
        Sentences.
    """
    label = inferred.label
    wanted = []
    if label is None:
        wanted.append("No column seems to be a label: say how faulty wafers are told from passed ones.")
    else:
        passed, faulty = _list(label.passed.value), _list(label.faulty.value)
        wanted.append(
            f"Which spelling of {label.column.value!r} is faulty: {faulty} is guessed because it is rarer, and "
            f"{passed} passed. The wrong way round, good wafers are called faulty."
        )
        if label.others:
            wanted.append(f"Whether the label is {label.column.value!r} or one of {_names(label.others)}.")
        if not inferred.unlabelled:
            wanted.append("Whether files to be predicted look alike but for the label: no unlabelled file was given.")
    guesses = (
        ("the form of the names of files", inferred.file_name),
        ("the format of the time stamp", inferred.stamp),
        ("the column of the wafer id", inferred.wafer),
        ("the pattern of wafer ids", inferred.wafer_pattern),
        ("what puts wafers in time", inferred.order),
    )
    wanted += [f"Whether {what} is {guess.value!r} ({guess.why})." for what, guess in guesses if guess.sure == "guess"]
    sentinels = {sensor.name: sensor.sentinels for sensor in inferred.sensors.values() if sensor.sentinels}
    if sentinels:
        found = sorted({each for codes in sentinels.values() for each in codes})
        wanted.append(
            f"Whether {', '.join(found)} means not measured in {_names(sentinels)}; if so, add it to `missing`, which "
            "holds for all sensors."
        )
    wanted += [
        f"Whether {sensor.name!r} is a sensor: texts such as {_names(sensor.odd)} are among its readings."
        for sensor in inferred.sensors.values()
        if sensor.odd
    ]
    wanted += [f"Whether {code.value!r} means not measured ({code.why})." for code in inferred.missing]
    for what, names in (
        ("may be missing in whole files, as in the sample", _named(inferred, "optional")),
        ("are known to be constant", _named(inferred, "constant")),
    ):
        if names:
            wanted.append(f"Whether {_names(names)} {what}.")
    if inferred.context:
        wanted.append(f"Whether context, which no model learns from, is right for {_names(inferred.context)}.")
    low, high = inferred.batches
    return [
        *wanted,
        f"How few and how many wafers a file may hold: the sample has {low} to {high}.",
        "Units, limits of valid readings and titles of the sensors: files do not tell them. The usual ranges are those "
        f"of the sample, faulty wafers included, widened by {USUAL_MARGIN:.0%} of the span.",
        "Title, owner, process and alarm policy of the line.",
    ]


def _named(inferred: Inferred, what: Literal["optional", "constant"]) -> list[str]:
    return [
        sensor.name
        for sensor in inferred.sensors.values()
        if (sensor.optional.value if what == "optional" else sensor.constant)
    ]


def _names(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")


# --- YAML ---


def _entry(key: str, value: str, guess: Guess[T]) -> str:
    return f"{key}: {value}  # {_comment(str(guess))}"


def _escaped(text: str) -> str:
    """Escape what YAML does not take as it is."""
    return "".join(
        each if each.isprintable() else f"\\u{ord(each):04x}" if ord(each) < 0x10000 else f"\\U{ord(each):08x}"
        for each in text
    )


def _quoted(text: str) -> str:
    doubled = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escaped(doubled)}"'


def _comment(text: str) -> str:
    return _escaped(text)


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name.lower() not in _YAML_WORDS else _quoted(name)


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def _mapping(values: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{_quoted(key)}: {_quoted(value)}' for key, value in values.items())}}}"


def _float(value: float) -> str:
    """Write a float that YAML 1.1 reads as one: with a point and a sign in the exponent."""
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}e{exponent if exponent[0] in '+-' else f'+{exponent}'}"

"""Production lines as data: reads a line's folder into a typed `Line`, or refuses it with one error.

Belongs here: what a line may declare and how its folder can be wrong. What one of its two feeds must look like is
`loader`, how files are parsed `files`; checking a batch file is `wafer_assets.domain.contract`.
"""

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from schemas.files import LineError, errors_of, first_error, parse_json, parse_yaml, read_file
from schemas.names import FileNames, NamePatternError
from wafer_assets.domain.config import ModelConfig

Feed = Literal["training", "prediction"]
FEEDS: tuple[Feed, ...] = ("training", "prediction")
Outcome = Literal["passed", "faulty"]
FileFormat = Literal["csv", "csv.gz", "json", "jsonl", "parquet"]

FORMAT = 1
SHIPPED = Path(__file__).parent
DECLARATION = "line.yaml"
# Two underscores part a line's name from what is the line's, in the names of jobs and steps.
IDENTIFIER = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
LONGEST_NAME = 32
# Prefixes in the buckets that belong to no line.
RESERVED_NAMES = frozenset({*FEEDS, "runs", "mlflow"})
# Names that batch frames and wafer tables have for what is no sensor.
RESERVED_COLUMNS = frozenset({"wafer", "batch", "faulty", "order"})
# Safe as a document id, in a path, in a log line and in a spreadsheet, where = + - @ would start a formula.
WAFER_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
BLANKS = " \t"
ORDER_COLUMN = "column:"


def _bound(value: object) -> object:
    """Read YAML's spelling of infinity."""
    return re.sub(r"^([+-]?)\.inf$", r"\1inf", value.lower()) if isinstance(value, str) else value


def is_line_name(name: str) -> bool:
    """Return whether a line can have that name."""
    return len(name) <= LONGEST_NAME and re.fullmatch(IDENTIFIER, name) is not None


def is_storable_id(wafer_id: str) -> bool:
    """Return whether an id can be stored and shown anywhere, whatever a line's pattern says of it."""
    return (
        0 < len(wafer_id) <= 64
        and wafer_id.isprintable()
        and wafer_id == wafer_id.strip()
        and not wafer_id.startswith(("=", "+", "-", "@"))
    )


def _column_type(value: object) -> object:
    """Forgive the blanks and capitals of the original schema files (`" float"`, `"Integer"`)."""
    return value.strip().lower() if isinstance(value, str) else value


ColumnType = Annotated[Literal["varchar", "float", "integer"], BeforeValidator(_column_type)]
Bound = Annotated[float, BeforeValidator(_bound)]
# Cells are compared with what was written: 0, "0" and 0.0 differ only in their text.
Spelling = Annotated[str, Field(min_length=1, max_length=60), WithJsonSchema({"type": ["string", "number"]})]
Text = Annotated[str, Field(max_length=2_000)]


@dataclass(frozen=True, slots=True)
class LineFeed:
    """One of the two feeds of a line.

    Attributes
    ----------
    line
        Name of the line.
    kind
        Which of the two.
    landing
        Prefix of the line's files in the landing bucket, without the feed; it belongs to the line, so it tells no two
        feeds apart.
    """

    line: str
    kind: Feed
    landing: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.line}/{self.kind}"


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class BatchSize(_Declared):
    """How many wafers a file has."""

    min: int = Field(1, ge=1, description="fewest wafers of a file")
    max: int | None = Field(None, ge=1, description="most wafers of a file")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise LineError("", f"min {self.min} above max {self.max}", "Give the smaller number as min.")
        return self


class Files(_Declared):
    """What a batch file is called, where it lands and how it is written."""

    format: FileFormat = Field(
        "csv", description="of the content: csv, csv.gz, json (a list of objects, one a wafer), jsonl or parquet"
    )
    delimiter: Literal[",", ";", "\t", "|"] = Field(",", description="what separates the cells of a CSV file")
    decimal: Literal[".", ","] = Field(".", description="decimal sign of the numbers in a CSV file")
    name: str = Field(description="name of a file with {stamp} once, such as wafer_{stamp}.csv")
    stamp: str = Field(description="what {stamp} stands for: a whole date and a time, such as %d%m%Y_%H%M%S")
    landing: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$",
        description="prefix of the line's files in the landing bucket; by default the line's name",
    )
    header_aliases: Mapping[str, str] = Field(
        {}, description="header in the file to column; the empty one counts in first place only"
    )
    max_size_mb: int = Field(20, gt=0, le=1_000, description="larger files are refused unread")
    wafers: BatchSize = BatchSize()

    @model_validator(mode="after")
    def _names_can_be_read(self) -> Self:
        try:
            FileNames(self.name, self.stamp)
        except NamePatternError as error:
            raise LineError(error.key, repr(getattr(self, error.key)), error.remedy) from None
        return self

    @model_validator(mode="after")
    def _format_holds_together(self) -> Self:
        if FileNames(self.name, self.stamp).extension != f".{self.format}":
            raise LineError("name", repr(self.name), f"Let it end with .{self.format}, as files.format says.")
        if self.decimal == self.delimiter:
            raise LineError("decimal", repr(self.decimal), "Give another delimiter: a comma cannot be both.")
        if "csv" not in self.format and {"delimiter", "decimal"} & self.model_fields_set:
            raise LineError("format", repr(self.format), "Leave out delimiter and decimal: only CSV files have them.")
        return self


class WaferId(_Declared):
    """What a wafer's id looks like."""

    pattern: str = Field(WAFER_ID, max_length=200, description="regular expression that the whole id matches")
    example: str = Field("Wafer-17", description="an id, for people")

    @model_validator(mode="after")
    def _example_matches(self) -> Self:
        try:
            matches = re.fullmatch(self.pattern, self.example) is not None
        except (re.error, RecursionError, OverflowError) as error:
            raise LineError("pattern", repr(self.pattern), f"Write a regular expression: {error}.") from None
        if not self.pattern.isprintable():
            raise LineError("pattern", repr(self.pattern), "Write it in printable characters.")
        if not matches or not is_storable_id(self.example):
            raise LineError(
                "example",
                repr(self.example),
                "Give an id that matches the pattern and can be stored: printable, at most 64 characters, without "
                "blanks at its ends, and not begun by one of = + - @.",
            )
        return self


class Labels(_Declared):
    """The spellings of a label in a file."""

    passed: tuple[Spelling, ...] = Field(min_length=1)
    faulty: tuple[Spelling, ...] = Field(min_length=1)
    fault_rate: float | None = Field(
        None, gt=0, lt=1, description="usual share of faulty wafers; counts until the line has a history of its own"
    )

    @model_validator(mode="after")
    def _are_told_apart(self) -> Self:
        for spelling in (*self.passed, *self.faulty):
            if spelling != spelling.strip() or not spelling.isprintable():
                raise LineError("", repr(spelling), "Write it without blanks around it: those of a file are ignored.")
        both = sorted(set(self.passed).intersection(self.faulty))
        if both:
            raise LineError("", f"{both[0]!r} for passed and for faulty", "Keep it for one of the two.")
        return self


class ContextColumn(_Declared):
    """A column that is no sensor: stored and shown, not learned from."""

    title: Text = ""
    type: Literal["text", "number", "time"] = Field("text", description="a time is in the form of ISO 8601")


class Sensor(_Declared):
    """What is known of a sensor."""

    title: Text = ""
    unit: Annotated[str, Field(max_length=40)] = ""
    valid: tuple[Bound, Bound] | None = Field(None, description="[low, high]; a reading outside is refused")
    usual: tuple[Bound, Bound] | None = Field(None, description="[low, high]; a reading outside is warned of")
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="expected share of wafers with a reading; without it, every file must hold one",
    )
    optional: bool = Field(False, description="may be empty in, or absent from, a whole file")

    @model_validator(mode="after")
    def _ranges_have_an_inside(self) -> Self:
        for key, bounds in (("valid", self.valid), ("usual", self.usual)):
            if bounds is None:
                continue
            if any(map(math.isnan, bounds)):
                raise LineError(key, list(bounds), "Give two numbers.")
            if bounds[0] > bounds[1]:
                raise LineError(key, f"min {bounds[0]:g} above max {bounds[1]:g}", "Give the smaller number first.")
        return self


class Alarm(_Declared):
    """The line's alarm policy: how many wafers can be inspected, or what a missed fault costs."""

    capacity: float | None = Field(None, gt=0, lt=1, description="share of the wafers that may raise an alarm")
    cost_ratio: float | None = Field(None, gt=0, description="cost of a missed fault in re-inspections")

    @model_validator(mode="after")
    def _is_one_policy(self) -> Self:
        if (self.capacity is None) == (self.cost_ratio is None):
            found = "neither capacity nor cost_ratio" if self.capacity is None else "capacity and cost_ratio"
            raise LineError("", found, "Give one of the two.")
        return self


class Retraining(_Declared):
    """When a line's model is trained again."""

    min_new_wafers: int = Field(ge=1, description="labelled wafers that came since the last training")
    cooldown_hours: float = Field(ge=0, allow_inf_nan=False, description="time since the last training")


class Declaration(_Declared):
    """The content of a `line.yaml`."""

    format: int = Field(ge=1, le=FORMAT, description="of this file")
    name: str = Field(
        alias="line", pattern=f"^{IDENTIFIER}$", max_length=LONGEST_NAME, description="equals the folder's name"
    )
    title: Text = Field(min_length=1)
    owner: Text = Field("", description="who is asked, such as team:wafer-platform")
    process: Text = Field("", description="what the line does, in sentences")
    contract: str = Field(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}$", description="version of the contract: <major>.<minor>")
    files: Files
    wafer_id: WaferId = WaferId()
    labels: Labels
    missing: tuple[Spelling, ...] = Field(
        (), description="spellings beside the empty cell that mean: not measured; numbers are compared by value"
    )
    order: str = Field(
        "batch_stamp",
        pattern="^(batch_stamp|wafer_id|column:.+)$",
        description="of wafers in time: batch_stamp, wafer_id or column:<name>",
    )
    context: Mapping[str, ContextColumn] = Field({}, description="columns that are no sensors, by name")
    sensors: Mapping[str, Sensor] = Field(
        {}, description="by name; `default` speaks of all that are not told otherwise"
    )
    alarm: Alarm
    retraining: Retraining | None = None
    notify: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")], ...] = Field(
        (), description="names of receivers, whose addresses are in the settings"
    )
    model: Mapping[str, Any] = Field({}, description="hyperparameters that differ from the platform's, by their name")

    @model_validator(mode="before")
    @classmethod
    def _is_of_a_known_format(cls, content: Any) -> Any:
        number = str(content.get("format", "")) if isinstance(content, dict) else ""
        if number.isdecimal() and number.strip("0") and (len(number) > 9 or int(number) > FORMAT):
            remedy = f"This platform reads format {FORMAT}: update the platform, or write the file anew."
            raise LineError("format", number, remedy)
        return content

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise LineError("line", repr(self.name), "Take another name: the platform keeps things of its own there.")
        for spelling in self.missing:
            if spelling != spelling.strip() or not spelling.isprintable():
                raise LineError("missing", repr(spelling), "Write it without blanks around it.")
        _check_model(self.model)
        return self


class FeedColumns(BaseModel):
    """The content of a schema file: the names, count, types and order of a feed's columns.

    The aliases are the keys of the file. The types give the columns their roles: the `varchar` column is the wafer
    id, the `float` columns are the sensors, and the `Integer` column, if any, is the label; but not those that the
    line declares to be context.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    MOVED: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "ContractVersion": f"contract in {DECLARATION}",
            "MaxFileSizeMB": f"files.max_size_mb in {DECLARATION}",
            "HeaderAliases": f"files.header_aliases in {DECLARATION}",
            "LabelValues": f"labels in {DECLARATION}",
            "OptionalColumns": f"sensors.<name>.optional in {DECLARATION}",
        }
    )
    """Keys that the file had before there were lines, and where each is now."""

    sample_file_name: str = Field(alias="SampleFileName")
    date_stamp_length: int = Field(alias="LengthOfDateStampInFile")
    time_stamp_length: int = Field(alias="LengthOfTimeStampInFile")
    number_of_columns: int = Field(alias="NumberofColumns")
    columns: Mapping[str, ColumnType] = Field(alias="ColName", description="column name to type, in order")


class Line(Declaration):
    """A production line: its declaration and the columns of its two feeds."""

    training: FeedColumns
    prediction: FeedColumns

    @property
    def landing(self) -> str:
        """The prefix of the line's files in the landing bucket, without the feed."""
        return self.files.landing or self.name

    def feed(self, kind: Feed) -> LineFeed:
        """Return one of the line's feeds."""
        return LineFeed(self.name, kind, self.landing)

    @property
    def file_names(self) -> FileNames:
        """The names of the line's files."""
        return FileNames(self.files.name, self.files.stamp)

    def columns(self, feed: Feed) -> Mapping[str, ColumnType]:
        """Return the columns of a feed with their types, in order."""
        return (self.training if feed == "training" else self.prediction).columns

    def sensor(self, name: str) -> Sensor:
        """Return what is known of a sensor, the default included."""
        default, own = (self.sensors.get(key, Sensor()) for key in ("default", name))
        return default.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})

    @property
    def hyperparameters(self) -> ModelConfig:
        """The line's hyperparameters with its alarm policy."""
        return ModelConfig.model_validate({**self.model, **self.alarm.model_dump(exclude_none=True)})


@dataclass(frozen=True, slots=True)
class Lines:
    """All lines that could be read, and what is wrong with the others.

    Attributes
    ----------
    lines : mapping of str to Line
        By name, in alphabetical order.
    errors : tuple of LineError
        The first of each folder that is not among them.
    """

    lines: Mapping[str, Line]
    errors: tuple[LineError, ...]

    @property
    def names(self) -> set[str]:
        """The names of all lines that are declared, whether they could be read or not."""
        return {*self.lines, *(error.line for error in self.errors if error.line)}


def read_line(folder: Path) -> Line:
    """Read the folder of one line.

    Parameters
    ----------
    folder : Path
        Holds `line.yaml`, `schema_training.json` and `schema_prediction.json`.

    Returns
    -------
    Line
        What the line declares.

    Raises
    ------
    LineError
        If a file cannot be read or does not say what a line needs; names the first key at fault.
    """
    declaration = _read_declaration(folder)
    training, prediction = (
        read_file(FeedColumns, parse_json, folder / f"schema_{feed}.json", "Write one JSON object in UTF-8.")
        for feed in FEEDS
    )
    fields = {name: getattr(declaration, name) for name in Declaration.model_fields}
    line = Line.model_construct(**fields, training=training, prediction=prediction)
    for feed in FEEDS:
        with errors_of(folder / f"schema_{feed}.json"):
            _check_feed(line, feed)
    with errors_of(folder / "schema_prediction.json"):
        _check_feeds_agree(line)
    with errors_of(folder / DECLARATION):
        _check_columns_exist(line)
    return line


def load_lines(extra: Path | None = None) -> Lines:
    """Read all lines: those that the platform ships, and a user's own.

    Of two lines of one name, or whose prefixes in the landing bucket hold one another, the shipped one stays, then the
    one whose prefix is its name, then the first in alphabetical order.

    Parameters
    ----------
    extra : Path, optional
        Holds a folder per line; hidden folders are left out.

    Returns
    -------
    Lines
        Never fails: what is wrong with one line says nothing about the others.
    """
    read: list[tuple[bool, bool, str, Line]] = []
    errors: list[LineError] = []
    try:
        own = [] if extra is None else _folders(extra)
    except LineError as error:
        own, errors = [], [error]
    for folder in (*_folders(SHIPPED), *own):
        try:
            line = read_line(folder)
        except LineError as error:
            errors.append(error)
        else:
            read.append((folder.parent != SHIPPED, line.landing != line.name, line.name, line))
    lines: dict[str, Line] = {}
    for *_, line in sorted(read, key=lambda entry: entry[:3]):
        if (refusal := _conflict(line, lines.values())) is None:
            lines[line.name] = line
        else:
            errors.append(refusal.at(f"{line.name}/{DECLARATION}"))
    return Lines(MappingProxyType(dict(sorted(lines.items()))), tuple(errors))


def editor_schema() -> str:
    """Return the JSON schema of `line.yaml`, as `schemas/line.schema.json` holds it for editors."""
    schema = Declaration.model_json_schema()
    schema["properties"]["model"]["properties"] = {
        name: {key: value for key, value in described.items() if key != "default"}
        for name, described in ModelConfig.model_json_schema()["properties"].items()
        if name not in Alarm.model_fields
    }
    schema["properties"]["model"]["additionalProperties"] = False
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def _folders(parent: Path) -> list[Path]:
    try:
        if (parent / DECLARATION).exists():
            raise LineError(
                "WAFER_LINES", str(parent), "Name the folder that holds the folders of the lines, not one of these."
            )
        folders = sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))
    except (OSError, ValueError) as error:
        if isinstance(error, LineError):
            raise
        raise LineError("WAFER_LINES", str(parent), "Name a folder that can be read.") from None
    return folders


def _conflict(line: Line, others: Iterable[Line]) -> LineError | None:
    for other in others:
        if other.name == line.name:
            return LineError("line", f"{line.name!r}, the name of another line", "Rename the folder and the line.")
        if f"{line.landing}/".startswith(f"{other.landing}/") or f"{other.landing}/".startswith(f"{line.landing}/"):
            return LineError(
                "files.landing",
                f"{line.landing!r}, where files of the line {other.name} land ({other.landing!r})",
                "Give each line a prefix of its own.",
            )
    return None


def _read_declaration(folder: Path) -> Declaration:
    declaration = read_file(Declaration, parse_yaml, folder / DECLARATION, "Write one YAML mapping in UTF-8.")
    if declaration.name != folder.name:
        raise LineError(
            "line",
            f"{declaration.name!r} in the folder {folder.name!r}",
            "Name the line as its folder.",
            f"{folder.name}/{DECLARATION}",
        )
    return declaration


def _check_model(model: Mapping[str, object]) -> None:
    for name in model:
        if name in Alarm.model_fields:
            raise LineError(f"model.{name}", repr(model[name]), f"Declare it as alarm.{name}.")
    try:
        ModelConfig.model_validate(model)
    except ValidationError as invalid:
        error = first_error(ModelConfig, invalid)
        raise LineError(f"model.{error.key}", error.found, error.remedy) from None


def _check_feed(line: Line, feed: Feed) -> None:
    """Check one schema file against itself and the declaration."""
    described = line.training if feed == "training" else line.prediction
    columns = described.columns
    if described.number_of_columns != len(columns):
        raise LineError(
            "NumberofColumns",
            f"{described.number_of_columns}, but ColName has {len(columns)} columns",
            "Make the two agree.",
        )
    for name in columns:
        if not name or name != name.strip() or not name.isprintable():
            raise LineError(
                "ColName", f"a column named {name!r}", "Name it; files.header_aliases maps the headers of files."
            )
    count = Counter(kind for name, kind in columns.items() if name not in line.context)
    if count["varchar"] != 1:
        raise LineError(
            "ColName",
            f"{count['varchar']} varchar columns",
            "Keep one: the wafer id. Declare what else is no sensor as context.",
        )
    wanted = 1 if feed == "training" else 0
    if count["integer"] != wanted:
        remedy = "Keep one: the label." if wanted else "Remove the label: files to be predicted have none."
        raise LineError("ColName", f"{count['integer']} Integer columns", remedy)
    sensors = [name for name, kind in columns.items() if kind == "float" and name not in line.context]
    if not sensors:
        raise LineError("ColName", "no float column", "List the sensors.")
    taken = sorted(RESERVED_COLUMNS.intersection({*sensors, *line.context}))
    if taken:
        raise LineError(
            "ColName",
            f"the column {taken[0]!r}",
            "Give it another name, and map the header to it in files.header_aliases: tables use this one.",
        )
    _check_sample(line, described)


def _check_sample(line: Line, described: FeedColumns) -> None:
    names = line.file_names
    if names.time_of(described.sample_file_name) is None:
        raise LineError("SampleFileName", repr(described.sample_file_name), f"Give a name like {names.example}.")
    lengths = (
        ("LengthOfDateStampInFile", described.date_stamp_length),
        ("LengthOfTimeStampInFile", described.time_stamp_length),
    )
    for (key, length), agreed in zip(lengths, names.stamp_lengths, strict=True):
        if length != agreed:
            raise LineError(key, str(length), f"Write {agreed}, as files.stamp in {DECLARATION} says.")


def _check_feeds_agree(line: Line) -> None:
    """Check that the feeds differ by the label alone."""
    training, prediction = (
        [
            (name, kind)
            for name, kind in line.columns(feed).items()
            if name in line.context or kind != "integer" or feed == "prediction"
        ]
        for feed in FEEDS
    )
    if training == prediction:
        return
    differing = {name for name, _ in set(training).symmetric_difference(prediction)}
    names = [name for name, _ in (*training, *prediction) if name in differing]
    found = f"other columns than those of training: {', '.join(dict.fromkeys(names))}" if names else "another order"
    raise LineError("ColName", found, "Give both feeds the same columns in the same order, but for the label.")


def _check_columns_exist(line: Line) -> None:
    """Check that what the declaration says of columns is about columns that there are."""
    columns = line.columns("training")
    for header, column in line.files.header_aliases.items():
        if column not in columns or header in columns:
            raise LineError(
                f"files.header_aliases.{header}",
                f"{header!r} for {column!r}",
                "Map headers that are not in ColName to columns that are.",
            )
    for name, context in line.context.items():
        kinds = ("float", "integer") if context.type == "number" else ("varchar",)
        if columns.get(name) not in kinds:
            kind = columns.get(name, "no such column")
            raise LineError(f"context.{name}", f"{kind} in ColName", f"List it there as {' or '.join(kinds)}.")
    sensors = [name for name, kind in columns.items() if kind == "float" and name not in line.context]
    for name in line.sensors:
        if name != "default" and name not in sensors:
            similar = difflib.get_close_matches(name, sensors, n=1)
            raise LineError(
                f"sensors.{name}",
                "no float column of this name in ColName",
                f"Write {similar[0]}, or remove it." if similar else "Remove it, or list it there.",
            )
    if line.order.startswith(ORDER_COLUMN):
        name = line.order.removeprefix(ORDER_COLUMN)
        if name not in sensors and (name not in line.context or line.context[name].type == "text"):
            raise LineError("order", repr(line.order), "Name a sensor, or a context column that is a number or a time.")

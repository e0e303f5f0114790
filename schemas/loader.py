"""Reads a schema file into a typed `BatchSchema`, or refuses it with one error that says what to repair.

Only the meaning of a schema belongs here; checking a batch file against it is `wafer_assets.domain.contract`.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

Feed = Literal["training", "prediction"]
Outcome = Literal["passed", "faulty"]

MEGABYTE = 1_000_000
BATCH_NAME = re.compile(r"(?P<prefix>[A-Za-z]+)_(?P<stamp>[0-9]{8}_[0-9]{6})\.csv")
# The partner's polarity. A schema that says the reverse would train a model that calls good wafers faulty.
OUTCOMES: Mapping[str, Outcome] = {"-1": "passed", "1": "faulty", "+1": "faulty"}


class SchemaError(ValueError):
    """A schema file that cannot be used.

    Attributes
    ----------
    key : str
        The key at fault.
    found : str
        What it holds, shortened.
    remedy : str
        What to do.
    source : str
        The schema file's name, empty while it is not known.
    """

    code = "schema_invalid"

    def __init__(self, key: str, found: object, remedy: str, source: str = "") -> None:
        self.key, self.found, self.remedy, self.source = key, _shortened(found), remedy, source
        where = f"{source}: {key}" if source else key
        super().__init__(f"{where}: found {self.found}. {remedy}")


def _shortened(found: object) -> str:
    text = found if isinstance(found, str) else repr(found)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _column_type(value: object) -> object:
    """Forgive the blanks and capitals of the original schema files (`" float"`, `"Integer"`)."""
    return value.strip().lower() if isinstance(value, str) else value


ColumnType = Annotated[Literal["varchar", "float", "integer"], BeforeValidator(_column_type)]


class BatchSchema(BaseModel):
    """What a batch file of one line must look like.

    The aliases are the keys of the schema file. The types give the columns their roles: the `varchar` column
    is the wafer id, the `float` columns are the sensors, and the `Integer` column, if any, is the label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sample_file_name: str = Field(alias="SampleFileName")
    date_stamp_length: Literal[8] = Field(alias="LengthOfDateStampInFile", description="DDMMYYYY")
    time_stamp_length: Literal[6] = Field(alias="LengthOfTimeStampInFile", description="HHMMSS")
    number_of_columns: int = Field(alias="NumberofColumns")
    columns: Mapping[str, ColumnType] = Field(alias="ColName", description="column name to type, in order")
    contract_version: str = Field(alias="ContractVersion", pattern=r"^[0-9]+\.[0-9]+$")
    max_file_size_mb: int = Field(alias="MaxFileSizeMB", gt=0, description="larger files are refused unread")
    header_aliases: Mapping[str, str] = Field(
        alias="HeaderAliases",
        description="header in the file to column; the empty one counts in first place only",
    )
    label_values: Mapping[str, Outcome] = Field(
        alias="LabelValues", default={}, description="spelling of a label to its meaning"
    )
    optional_columns: tuple[str, ...] = Field(
        alias="OptionalColumns", strict=False, description="sensors that may be empty in a whole file"
    )

    @property
    def wafer(self) -> str:
        """The name of the wafer id's column."""
        return next(name for name, kind in self.columns.items() if kind == "varchar")

    @property
    def sensors(self) -> tuple[str, ...]:
        """The names of the sensor columns, in schema order."""
        return tuple(name for name, kind in self.columns.items() if kind == "float")

    @property
    def label(self) -> str | None:
        """The name of the label's column; None where files carry no label."""
        return next((name for name, kind in self.columns.items() if kind == "integer"), None)

    @property
    def feed(self) -> Feed:
        """The feed whose files this schema describes: only training files are labelled."""
        return "prediction" if self.label is None else "training"

    @property
    def max_file_size(self) -> int:
        """The largest size of a file in bytes."""
        return self.max_file_size_mb * MEGABYTE

    def column_of(self, header: str, position: int) -> str:
        """Return the column that the header at a 0-based position of a file means.

        Parameters
        ----------
        header : str
            As written in the file; one without alias means the column of its name.
        position : int
            From 0; an unnamed header has an alias in first place only.

        Returns
        -------
        str
            Name of the column, which the schema may not know.
        """
        return self.header_aliases.get(header, header) if header or position == 0 else header

    def batch_time(self, name: str) -> datetime | None:
        """Return the time stamp in the name of a batch file; None if the name breaks this contract."""
        prefix = self.sample_file_name.partition("_")[0]
        return batch_time(name) if name.partition("_")[0].lower() == prefix.lower() else None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if batch_time(self.sample_file_name) is None:
            raise SchemaError(
                "SampleFileName", repr(self.sample_file_name), "Give a name like wafer_08012020_120000.csv."
            )
        self._check_columns()
        self._check_labels()
        return self

    def _check_columns(self) -> None:
        if self.number_of_columns != len(self.columns):
            raise SchemaError(
                "NumberofColumns",
                f"{self.number_of_columns}, but ColName has {len(self.columns)} columns",
                "Make the two agree.",
            )
        count = Counter(self.columns.values())
        if count["varchar"] != 1:
            raise SchemaError("ColName", f"{count['varchar']} varchar columns", "Keep one: the wafer id.")
        if count["integer"] > 1:
            raise SchemaError("ColName", f"{count['integer']} Integer columns", "Keep one: the label.")
        if count["float"] == 0:
            raise SchemaError("ColName", "no float column", "List the sensors.")
        if "" in self.columns:
            raise SchemaError("ColName", "a column without a name", "Name it; HeaderAliases maps unnamed headers.")
        for header, column in self.header_aliases.items():
            if column not in self.columns or header in self.columns:
                raise SchemaError(
                    "HeaderAliases",
                    f"{header!r} for {column!r}",
                    "Map headers that are not in ColName to columns that are.",
                )
        unknown = sorted(set(self.optional_columns).difference(self.sensors))
        if unknown:
            raise SchemaError("OptionalColumns", unknown, "List only float columns of ColName.")

    def _check_labels(self) -> None:
        if self.label is None:
            if self.label_values:
                raise SchemaError(
                    "LabelValues", dict(self.label_values), "Remove it, or give ColName an Integer column."
                )
            return
        for spelling, outcome in self.label_values.items():
            if OUTCOMES.get(spelling) != outcome:
                raise SchemaError(
                    "LabelValues", f"{spelling!r} for {outcome}", "-1 means passed, 1 and +1 mean faulty."
                )
        if set(self.label_values.values()) != {"passed", "faulty"}:
            raise SchemaError(
                "LabelValues",
                dict(self.label_values),
                'Give a spelling of both: {"-1": "passed", "1": "faulty"}.',
            )


def batch_time(name: str) -> datetime | None:
    """Return the time stamp of a name like `wafer_28012020_051011.csv`, None if it holds no real one."""
    match = BATCH_NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match["stamp"], "%d%m%Y_%H%M%S")
    except ValueError:
        return None


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object; JSON itself silently keeps the last of two equal keys."""
    content = dict(pairs)
    if len(content) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise SchemaError(key, f"{times} times in one object", "Keep one.")
    return content


def read_schema(path: Path) -> BatchSchema:
    """Read one schema file.

    Parameters
    ----------
    path : Path
        Of the JSON file.

    Returns
    -------
    BatchSchema
        What a batch file must look like.

    Raises
    ------
    SchemaError
        If the file cannot be read, is not JSON, or does not describe a batch file; names the first key at fault.
    """
    try:
        return BatchSchema.model_validate(
            json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
        )
    except ValidationError as invalid:
        problem = invalid.errors()[0]
        error = problem.get("ctx", {}).get("error")
        if not isinstance(error, SchemaError):
            key = ".".join(str(part) for part in problem["loc"]) or "the file"
            found = "nothing" if problem["type"] == "missing" else repr(problem["input"])
            error = SchemaError(key, found, f"{problem['msg']}.")
    except SchemaError as repeated:
        error = repeated
    except OSError as unreadable:
        error = SchemaError("the file", unreadable.strerror or unreadable, "Give a schema file that can be read.")
    except (ValueError, RecursionError) as malformed:
        error = SchemaError("the file", str(malformed), "Write one JSON object in UTF-8.")
    raise SchemaError(error.key, error.found, error.remedy, source=path.name) from None


@cache
def load_schema(feed: Feed) -> BatchSchema:
    """Return the shipped schema of a feed, read once per process.

    Parameters
    ----------
    feed : {"training", "prediction"}
        The feed.

    Returns
    -------
    BatchSchema
        What the feed's batch files must look like.

    Raises
    ------
    SchemaError
        If the file has been broken, or is that of the other feed.
    """
    path = Path(__file__).with_name(f"schema_{feed}.json")
    schema = read_schema(path)
    if schema.feed != feed:
        raise SchemaError(
            "ColName",
            f"a {schema.feed} schema",
            "An Integer column (the label) makes it training.",
            path.name,
        )
    return schema

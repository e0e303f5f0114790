"""The contract of one feed of a line, as `wafer_assets.domain.contract` needs it: `BatchSchema`.

What a line may declare is `lines`; checking a batch file is `wafer_assets.domain.contract`.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache

from pydantic import BaseModel, ConfigDict

from schemas.files import LineError
from schemas.lines import (
    ORDER_COLUMN,
    SHIPPED,
    ColumnType,
    ContextColumn,
    Feed,
    FileFormat,
    Line,
    LineFeed,
    Outcome,
    WaferId,
    read_line,
)
from schemas.names import FileNames

__all__ = ["MEGABYTE", "BatchSchema", "Feed", "LineError", "LineFeed", "batch_time", "load_schema"]


MEGABYTE = 1_000_000
SHIPPED_NAMES = FileNames("wafer_{stamp}.csv", "%d%m%Y_%H%M%S")


class BatchSchema(BaseModel):
    """What a batch file of one feed of a line must look like; made by `of` from a line that was checked.

    The types give the columns their roles: the `varchar` column is the wafer id, the `float` columns are the sensors,
    and the `integer` column, if any, is the label; but not those that are context.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: str
    """Name of the line."""
    feed: Feed
    landing: str
    """Prefix of the line's files in the landing bucket, without the feed."""
    contract_version: str
    columns: Mapping[str, ColumnType]
    """Column name to type, in order."""
    context: Mapping[str, ContextColumn]
    """Columns that are no sensors, by name."""
    file_names: FileNames
    format: FileFormat
    delimiter: str
    """What separates the cells of a CSV file."""
    decimal: str
    """Decimal sign of the numbers in a CSV file."""
    max_file_size_mb: int
    min_wafers: int
    max_wafers: int | None
    header_aliases: Mapping[str, str]
    """Header in the file to column; the empty one counts in first place only."""
    wafer_id: WaferId
    label_values: Mapping[str, Outcome]
    """Spelling of a label to its meaning; empty where files carry no label."""
    label_names: tuple[str, ...]
    """Headers under which the line knows its label, on the feed without labels too."""
    fault_rate: float | None
    """Usual share of faulty wafers, where the line declares one."""
    missing: tuple[str, ...]
    """Spellings beside the empty cell that mean: not measured; numbers are compared by value."""
    order: str
    """Of wafers in time: `batch_stamp`, `wafer_id` or `column:<name>`."""
    optional_columns: tuple[str, ...]
    """Sensors that may be empty in, or absent from, a whole file."""
    shares: Mapping[str, float]
    """Expected share of wafers with a reading, of the sensors that have one declared."""
    valid: Mapping[str, tuple[float, float]]
    """Range of a sensor outside which a reading is refused."""
    usual: Mapping[str, tuple[float, float]]
    """Range of a sensor outside which a reading is warned of."""

    @staticmethod
    def of(line: Line, feed: Feed) -> "BatchSchema":
        """Return the contract of a feed.

        Parameters
        ----------
        line : Line
            As `lines.read_line` returns it.
        feed : {"training", "prediction"}
            The feed.

        Returns
        -------
        BatchSchema
            What its batch files must look like.
        """
        columns = line.columns(feed)
        sensors = {
            name: line.sensor(name) for name, kind in columns.items() if kind == "float" and name not in line.context
        }
        labels: dict[str, Outcome] = dict.fromkeys(line.labels.passed, "passed")
        labels |= dict.fromkeys(line.labels.faulty, "faulty")
        return BatchSchema.model_construct(
            line=line.name,
            feed=feed,
            landing=line.landing,
            contract_version=line.contract,
            columns=columns,
            context=line.context,
            file_names=line.file_names,
            format=line.files.format,
            delimiter=line.files.delimiter,
            decimal=line.files.decimal,
            max_file_size_mb=line.files.max_size_mb,
            min_wafers=line.files.wafers.min,
            max_wafers=line.files.wafers.max,
            header_aliases={
                header: column for header, column in line.files.header_aliases.items() if column in columns
            },
            wafer_id=line.wafer_id,
            label_values=labels if feed == "training" else {},
            label_names=_label_names(line),
            fault_rate=line.labels.fault_rate,
            missing=line.missing,
            order=line.order,
            optional_columns=tuple(name for name, sensor in sensors.items() if sensor.optional),
            shares={name: sensor.share for name, sensor in sensors.items() if sensor.share is not None},
            valid={name: sensor.valid for name, sensor in sensors.items() if sensor.valid is not None},
            usual={name: sensor.usual for name, sensor in sensors.items() if sensor.usual is not None},
        )

    @property
    def line_feed(self) -> LineFeed:
        """The feed whose files these are."""
        return LineFeed(self.line, self.feed, self.landing)

    @property
    def wafer(self) -> str:
        """The name of the wafer id's column."""
        return next(name for name, kind in self.columns.items() if kind == "varchar" and name not in self.context)

    @property
    def sensors(self) -> tuple[str, ...]:
        """The names of the sensor columns, in schema order."""
        context = self.context
        return tuple([name for name, kind in self.columns.items() if kind == "float" and name not in context])

    @property
    def label(self) -> str | None:
        """The name of the label's column; None where files carry no label."""
        labels = (name for name, kind in self.columns.items() if kind == "integer" and name not in self.context)
        return next(labels, None)

    @property
    def order_column(self) -> str | None:
        """The context column that orders the wafers in time; None where something else does."""
        name = self.order.removeprefix(ORDER_COLUMN)
        return name if name != self.order and name in self.context else None

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
        return self.file_names.time_of(name)


def _label_names(line: Line) -> tuple[str, ...]:
    columns = line.columns("training")
    label = next(name for name, kind in columns.items() if kind == "integer" and name not in line.context)
    return (label, *(header for header, column in line.files.header_aliases.items() if column == label))


def batch_time(name: str) -> datetime | None:
    """Return the time stamp of a name like `wafer_28012020_051011.csv`, None if it holds no real one."""
    prefix = name.partition("_")[0]
    if not (prefix.isascii() and prefix.isalpha()):
        return None
    return SHIPPED_NAMES.time_of(f"wafer{name.removeprefix(prefix)}")


@cache
def load_schema(feed: Feed, line: str = "secom") -> BatchSchema:
    """Return the contract of a feed of a shipped line, read once per process.

    Parameters
    ----------
    feed : {"training", "prediction"}
        The feed.
    line : str
        Name of a folder beside this module.

    Returns
    -------
    BatchSchema
        What the feed's batch files must look like.

    Raises
    ------
    LineError
        If there is no such line, or its folder has been broken.
    """
    return BatchSchema.of(read_line(SHIPPED / line), feed)

"""What a request to the scoring server may be: CSV, or JSON in one of MLflow's forms, of one to 1,000 wafers.

A request comes from outside. What it would make of memory is bounded by looking at its bytes, before a parser builds
anything of them; and whatever is wrong with it is said as one `RefusedRequest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

MAX_WAFERS = 1_000
"""Of a request."""

MAX_BYTES = 24_000_000
"""Of a request's body: 1,000 wafers as records of the longest numbers."""

CSV, JSON = "text/csv", "application/json"

_FORMATS = (
    "No table of wafers. Send CSV with a header, or JSON with one of dataframe_split, dataframe_records, instances "
    "and inputs."
)
_MAX_NESTED = 4 * MAX_WAFERS


class RefusedRequest(Exception):
    """A request that is not wafers of the model.

    Attributes
    ----------
    status : int, of the answer
    reason : str
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Table:
    """A parsed request; a DataFrame of 590 columns of Python objects would take as long as scoring a wafer.

    Attributes
    ----------
    headers : list, as they were sent
    cells : ndarray of shape (n_wafers, n_headers), Python objects or floats
    texts : columns of text beside floats, by place
    """

    headers: list[Any]
    cells: NDArray[Any]
    texts: Mapping[int, list[Any]] = field(default_factory=dict)


def read(body: bytes | bytearray, content_type: str, numbers: Collection[str], texts: Collection[str]) -> Table:
    """Parse a request.

    Parameters
    ----------
    body : bytes
        At most `MAX_BYTES`.
    content_type : str
        As it was sent; empty where it was not.
    numbers, texts : collection of str
        Columns of numbers and of text that the model knows.

    Returns
    -------
    Table
        Of one to `MAX_WAFERS` rows; its columns are whatever was sent.

    Raises
    ------
    RefusedRequest
        It is none of the formats, or too much.
    """
    kind, _, parameters = (part.strip().lower() for part in content_type.partition(";"))
    if kind not in (CSV, JSON) or parameters.replace('"', "") not in ("", "charset=utf-8"):
        _refuse(f"Its Content-Type is {content_type[:100]!r}. Send {JSON} or {CSV}, in UTF-8.", 415)
    # One column more than there are, and two wafers more than there may be, for a message that says what is too many.
    if body.count(b",") > (MAX_WAFERS + 2) * (len(numbers) + 3):
        _refuse(f"It holds more values than {MAX_WAFERS:,} wafers have. {_AS_FILE}")
    table = _read_csv(bytes(body), numbers, texts) if kind == CSV else _read_json(body)
    if not 1 <= len(table.cells) <= MAX_WAFERS:
        _refuse(f"{len(table.cells):,} wafers. {_AS_FILE}")
    return table


_AS_FILE = f"Send one to {MAX_WAFERS:,} in a request, and more as a batch file."


def _read_csv(body: bytes, numbers: Collection[str], texts: Collection[str]) -> Table:
    """Parse CSV as batch files are, every number to the nearest double; pandas' reader rounds those of 17 digits."""
    import pyarrow as pa
    from pyarrow import csv

    if (lines := body.count(b"\n") + body.count(b"\r")) > 2 * (MAX_WAFERS + 2):
        _refuse(f"{lines:,} lines. {_AS_FILE}")
    # Arrow ends a line at its end, whatever quotes are open.
    header = body[: min(end for end in (body.find(b"\n"), body.find(b"\r"), len(body)) if end >= 0)]
    if (columns := header.count(b",") + 1) > 2 * len(numbers):
        _refuse(f"{columns:,} columns. The model has {len(numbers):,} sensors.")
    try:
        body.decode()
        table = csv.read_csv(
            pa.BufferReader(body),
            # In one block, since a header alone may be longer than one of the default size.
            read_options=csv.ReadOptions(use_threads=False, block_size=max(len(body), 1)),
            convert_options=csv.ConvertOptions(
                column_types={**dict.fromkeys(numbers, pa.float64()), **dict.fromkeys(texts, pa.string())},
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:  # Arrow leaves the header's bytes unchecked
        _refuse(
            f"The CSV cannot be read: {str(error)[:300]}. Send a header, then numbers and empty cells for missing "
            "readings."
        )
    texts_of: dict[int, list[Any]] = {}
    cells = np.full((table.num_rows, table.num_columns), np.nan)
    nulls = 0
    for place, column in enumerate(table.columns):
        if pa.types.is_floating(column.type):
            cells[:, place] = column.to_numpy()
            nulls += column.null_count
        else:  # wafer ids, or a column that is refused by its name
            texts_of[place] = column.to_pylist()
            nulls += len(cells)
    # Arrow reads `nan` as a number.
    if np.isnan(cells).sum() != nulls:
        _refuse("A reading is not a number (nan). Leave the cell of a missing reading empty.")
    return Table(table.column_names, cells, texts_of)


def _read_json(body: bytes | bytearray) -> Table:
    if body.count(b"[") + body.count(b"{") > _MAX_NESTED:
        _refuse(f"It holds more lists and objects than {MAX_WAFERS:,} wafers need. {_AS_FILE}")
    data, wrong = None, ""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        wrong = str(error)[:300]
    if wrong:  # outside, for the error holds all that was sent
        _refuse(f"The JSON cannot be read: {wrong}. Send finite numbers, and null for a missing reading.")
    if not isinstance(data, dict):
        _refuse(_FORMATS)
    if data.pop("params", None):
        _refuse("This model takes no params. Leave them out.")
    if len(data) == 1:
        (name, content), *_ = data.items()
        if name == "dataframe_split":
            return _from_split(content)
        if name in ("dataframe_records", "instances"):
            return _from_records(name, content)
        if name == "inputs":
            return _from_records(name, content) if isinstance(content, list) else _from_columns(content)
    raise RefusedRequest(_FORMATS)


def _from_split(content: object) -> Table:
    if not isinstance(content, dict) or set(content) - {"index"} != {"columns", "data"}:
        _refuse("dataframe_split needs columns and data: the names, and a list of readings for each wafer.")
    columns, rows = content["columns"], content["data"]
    if not isinstance(columns, list) or not isinstance(rows, list):
        _refuse("columns and data of dataframe_split must be lists.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            _refuse(f"Wafer {number} of dataframe_split is no list of {len(columns)} values, one for each column.")
    return _objects(rows, columns)


def _from_records(name: str, content: object) -> Table:
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        _refuse(f"{name} must be a list of objects, one for each wafer.")
    columns = list(content[0]) if content else []
    for number, record in enumerate(content, 1):
        # Left out is not missing: that is null.
        differing = record.keys() ^ set(columns)
        if differing:
            _refuse(
                f"Wafer {number} has other columns than the first, such as {min(differing)[:100]!r}. "
                "Send the same for all, and null for a missing reading."
            )
    return _objects([[record[column] for column in columns] for record in content], columns)


def _from_columns(content: object) -> Table:
    if not isinstance(content, dict) or not all(isinstance(column, list) for column in content.values()):
        _refuse("inputs must be an object with a list for each column, or a list of objects, one for each wafer.")
    if len(counts := {len(column) for column in content.values()}) > 1:
        _refuse(f"The columns of inputs have {min(counts):,} to {max(counts):,} values. Send one for each wafer.")
    return _objects(list(map(list, zip(*content.values(), strict=True))), list(content))


def _objects(rows: list[list[Any]], columns: list[Any]) -> Table:
    # Filled row by row, because NumPy would look into cells that are lists.
    cells = np.empty((len(rows), len(columns)), dtype=object)
    for number, row in enumerate(rows):
        cells[number, :] = row
    return Table(columns, cells)


def _refuse(reason: str, status: int = 400) -> NoReturn:
    raise RefusedRequest(reason, status)

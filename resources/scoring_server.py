"""The champion behind MLflow's own scoring server: wafers in, the rows of a batch out, to the last bit.

``uvicorn --factory resources.scoring_server:app`` is one worker; `serve` runs several of them on loopback. The
server, its addresses and its formats are MLflow's (``POST /invocations``, ``GET /ping``). Three things are not:

- `ServedBundle` stands in for the pyfunc. MLflow would cast 590 columns one by one, and drop those that it does
  not know without a word.
- JSON becomes a table at once, not column by column, and wafers that leave out a sensor are refused.
- CSV is read as the batch files are, because pandas' reader rounds readings of more than 15 digits and takes
  wafer ids for numbers where they look like ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from resources.adapters import mlflow as adapter
from resources.champion import NoChampionError, load_bundle
from resources.mlflow import CHAMPION, BundleVersion, LineTracking
from schemas.loader import load_schema
from wafer_assets.domain.preprocessing import WrongSensors, select_columns
from wafer_assets.domain.scoring import Bundle, score
from wafer_assets.settings import MLflowSettings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HOST = "127.0.0.1"
PORT = 5001
WORKERS = 2
MAX_WAFERS = 1_000

_WAFER = "wafer"
_FORMATS = "No table of wafers. Send CSV with a header, or JSON with dataframe_split or dataframe_records."
_NUMBERS = frozenset({float, int, type(None)})
# All workers serve the version that `serve` found, even one that starts again after the champion has changed.
_LINE_VARIABLE, _VERSION_VARIABLE = "WAFER_SERVED_LINE", "WAFER_SERVED_VERSION"
# Requests are the parallel work. A pool of threads for the trees of one wafer only takes the other worker's core.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_STOP_SECONDS = 10.0
_SWITCH_SECONDS = 0.0005


class RefusedRequest(MlflowException):
    """A request that is not wafers of this model; the server answers 400 with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, adapter.INVALID_PARAMETER_VALUE)
        self.reason = reason

    def serialize_as_json(self) -> str:
        """Return the body of the answer."""
        # MLflow puts the data that was sent before the message.
        self.message = self.reason
        return str(super().serialize_as_json())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Table:
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


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a request has what, once its headers are known to be the model's.

    Attributes
    ----------
    headers : list, as they were sent
    wafer : int or None, place of the wafer id
    names, places : the sensors in the order of the request, and their places
    targets : ndarray, the sensors' positions in the model
    """

    headers: list[Any]
    wafer: int | None
    names: list[str]
    places: list[int]
    targets: NDArray[np.intp]


class ServedBundle:
    """The model of a scoring server: a bundle that refuses whatever is not wafers of its own.

    Parameters
    ----------
    bundle : Bundle
    version : int, of the registered model

    Attributes
    ----------
    metadata : what MLflow's scoring server asks for beside `predict`
    """

    def __init__(self, bundle: Bundle, version: int) -> None:
        self.bundle = bundle
        self.version = version
        self.metadata = adapter.NoSignature()
        self._columns = pd.Index(bundle.model.feature_names_in_, dtype=object)
        self._schema = load_schema("prediction")
        self._scoring, self._queueing = Lock(), Lock()
        self._layout: _Layout | None = None
        self._waiting: list[tuple[Floats, Future[pd.DataFrame]]] = []

    def predict(self, data: object) -> pd.DataFrame:
        """Return the rows of `score` for a parsed request, one per wafer in its order.

        Raises
        ------
        RefusedRequest
            The data is not one to 1,000 wafers of the sensors of this model.
        """
        table = _as_table(data)
        if not 1 <= len(table.cells) <= MAX_WAFERS:
            _refuse(f"{len(table.cells):,} wafers. Send one to {MAX_WAFERS:,} in a request, and more as a batch file.")
        layout = self._layout
        # Clients send the same headers again and again.
        if layout is None or table.headers != layout.headers:
            self._layout = layout = self._understand(table.headers)
        wafers = None
        if layout.wafer is not None:
            wafers = table.texts.get(layout.wafer) or table.cells[:, layout.wafer].tolist()
            for wafer in wafers:
                if not isinstance(wafer, str) or not wafer.strip():
                    _refuse(f"A wafer id is {wafer!r}. Send ids as text, or leave out the column.")
        rows = self._score(self._readings(table, layout))
        if wafers is not None:
            rows.insert(0, _WAFER, pd.Series(wafers, dtype=object))
        return rows

    def read_csv(self, csv_input: TextIO, schema: object = None) -> _Table:  # noqa: ARG002 - MLflow's
        """Parse the body of a CSV request, every number to the nearest double as in a batch file.

        Raises
        ------
        RefusedRequest
            A line has too few or too many cells, or a reading is no number.
        """
        import pyarrow as pa
        from pyarrow import csv

        content = csv_input.read().encode()
        texts = (_WAFER, self._schema.wafer, *self._schema.header_aliases)
        try:
            table = csv.read_csv(
                pa.BufferReader(content),
                # In one block, since a header alone may be longer than one of the default size.
                read_options=csv.ReadOptions(use_threads=False, block_size=max(len(content), 1)),
                convert_options=csv.ConvertOptions(
                    column_types={
                        **dict.fromkeys(self._columns, pa.float64()),
                        **dict.fromkeys(texts, pa.string()),
                    },
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowException as error:
            _refuse(
                f"The CSV cannot be read: {error}. Send a header, then numbers and empty cells for missing readings."
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
        return _Table(table.column_names, cells, texts_of)

    def read_json(self, data: Mapping[str, Any], schema: object = None) -> _Table:  # noqa: ARG002 - MLflow's
        """Parse the body of a JSON request; what MLflow would take 4 ms for, where a wafer is scored in 6.

        Raises
        ------
        RefusedRequest
            It is no table, or the wafers differ in their sensors.
        """
        if set(data) == {"dataframe_records"}:
            return _from_records(data["dataframe_records"])
        if set(data) != {"dataframe_split"}:
            _refuse(_FORMATS)
        return _from_split(data["dataframe_split"])

    def _understand(self, headers: list[Any]) -> _Layout:
        """Return where things are in a request with these headers; refuse other columns than the model's."""
        schema = self._schema
        names = [schema.column_of(str(header), place) for place, header in enumerate(headers)]
        names = [_WAFER if name == schema.wafer else name for name in names]
        ids = [place for place, name in enumerate(names) if name == _WAFER]
        if len(ids) > 1:
            _refuse("Several columns are the wafer id. Send one.")
        places = [place for place, name in enumerate(names) if name != _WAFER]
        sensors = [names[place] for place in places]
        left_out = set(self.bundle.optional).difference(sensors)
        try:
            select_columns(pd.DataFrame(columns=[*sensors, *left_out]), self._columns)
        except WrongSensors as error:
            raise RefusedRequest(str(error)) from error
        targets = self._columns.get_indexer(pd.Index(sensors, dtype=object))
        return _Layout(list(headers), ids[0] if ids else None, sensors, places, targets)

    def _readings(self, table: _Table, layout: _Layout) -> Floats:
        """Return the readings, shape (n_wafers, n_sensors) in the order of the model; NaN where missing."""
        cells = table.cells[:, layout.places]
        if cells.dtype == object and not set(map(type, cells.ravel().tolist())) <= _NUMBERS:
            self._refuse_texts(cells, layout.names)
        readings = np.full((len(cells), len(self._columns)), np.nan)
        try:
            readings[:, layout.targets] = cells.astype(np.float64)
        except OverflowError:
            _refuse("A reading is too large for a number. Send finite readings, and null for a missing one.")
        infinite = np.isinf(readings).any(axis=0)
        if infinite.any():
            example = ", ".join(self._columns[infinite][:5])
            _refuse(f"Infinite readings: {example}. Send finite readings, and null for a missing one.")
        return readings

    @staticmethod
    def _refuse_texts(cells: NDArray[np.object_], names: Sequence[str]) -> None:
        wrong = [
            (name, next(cell for cell in column if type(cell) not in _NUMBERS))
            for name, column in zip(names, cells.T, strict=True)
            if not set(map(type, column)) <= _NUMBERS
        ]
        _refuse(
            f"{len(wrong)} sensors are not numeric ({', '.join(name for name, _ in wrong[:5])}): "
            f"found {wrong[0][1]!r}. Send numbers, and null for a missing reading."
        )

    def _score(self, readings: Floats) -> pd.DataFrame:
        """Score the readings of a request, together with all that came while others were scored.

        Eight wafers take hardly longer than one, and no wafer's row depends on those beside it.
        """
        own: Future[pd.DataFrame] = Future()
        with self._queueing:
            self._waiting.append((readings, own))
        with self._scoring:
            if not own.done():
                self._score_waiting()
        return own.result()

    def _score_waiting(self) -> None:
        with self._queueing:
            waiting, self._waiting = self._waiting, []
        try:
            together = np.concatenate([readings for readings, _ in waiting])
            rows = score(self.bundle, pd.DataFrame(together, columns=self._columns), self.version).rows
            start = 0
            for readings, answer in waiting:
                answer.set_result(rows.iloc[start : start + len(readings)].reset_index(drop=True))
                start += len(readings)
        except BaseException as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)


def scoring_app(served: ServedBundle) -> FastAPI:
    """Return MLflow's scoring server for a model; there is one in a process."""
    # The loop that takes requests in and hands answers out must not wait 5 ms for a thread that scores.
    sys.setswitchinterval(_SWITCH_SECONDS)
    return adapter.scoring_app(served)


def app() -> FastAPI:
    """Return the scoring server of the champion; a factory for uvicorn.

    Raises
    ------
    NoChampionError
        No version is the champion.
    BundleUnusableError
        The champion's file cannot be read.
    """
    tracking = LineTracking(load_settings(), os.environ[_LINE_VARIABLE])
    number = os.environ.get(_VERSION_VARIABLE)
    version = tracking.get_version(int(number)) if number else champion(tracking)
    bundle = load_bundle(tracking, version)
    served = ServedBundle(bundle, version.version)
    # The first prediction prepares the explanation and loads libraries, a second that no request should wait.
    served.predict(pd.DataFrame(np.nan, index=[0], columns=list(bundle.model.feature_names_in_)))
    return scoring_app(served)


def champion(tracking: LineTracking) -> BundleVersion:
    """Return the version that a server started now would serve.

    Raises
    ------
    NoChampionError
        No version is the champion.
    """
    version = tracking.version(CHAMPION)
    if version is None:
        raise NoChampionError
    return version


def serve(
    settings: MLflowSettings,
    line: str,
    version: BundleVersion,
    port: int = PORT,
    workers: int = WORKERS,
    host: str = HOST,
) -> int:
    """Serve a version of a line's model until asked to end, and return the exit code of the server.

    Ctrl-C, where it arrives as KeyboardInterrupt, ends the server with all its workers, and is no failure.
    """
    # In a session of its own, so that Ctrl-C reaches it once, from here, and it can stop its workers.
    with subprocess.Popen(
        command(port, workers, host),
        env=environment(settings, line, version),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            return 0
        finally:
            # Whatever is left: a worker that hangs, or those of a server that was killed.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def command(port: int = PORT, workers: int = WORKERS, host: str = HOST) -> list[str]:
    """Return the command that runs the server."""
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", "resources.scoring_server:app"),
        *("--host", host, "--port", str(port), "--workers", str(workers)),
        *("--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5"),
    ]


def environment(settings: MLflowSettings, line: str, version: BundleVersion) -> dict[str, str]:
    """Return the variables of the server's processes."""
    password = settings.password.get_secret_value() if settings.password else None
    values = {
        "TRACKING_URI": settings.tracking_uri,
        "USERNAME": settings.username,
        "PASSWORD": password,
        "MODEL_NAME": settings.model_name,
    }
    named = {f"WAFER_MLFLOW__{name}": value for name, value in values.items() if value}
    return {**os.environ, **named, **_ONE_THREAD, _LINE_VARIABLE: line, _VERSION_VARIABLE: str(version.version)}


def _as_table(data: object) -> _Table:
    if isinstance(data, _Table):
        return data
    if not isinstance(data, pd.DataFrame):
        _refuse(_FORMATS)
    numeric = all(dtype.kind in "iuf" for dtype in data.dtypes)
    cells = data.to_numpy(dtype=np.float64 if numeric else object)
    return _Table(list(data.columns), cells)


def _from_split(content: object) -> _Table:
    if not isinstance(content, dict) or set(content) - {"index"} != {"columns", "data"}:
        _refuse("dataframe_split needs columns and data: the names, and a list of readings for each wafer.")
    columns, rows = content["columns"], content["data"]
    if not isinstance(columns, list) or not isinstance(rows, list):
        _refuse("columns and data of dataframe_split must be lists.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            _refuse(f"Wafer {number} of dataframe_split is no list of {len(columns)} values, one for each column.")
    return _objects(rows, columns)


def _from_records(content: object) -> _Table:
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        _refuse("dataframe_records must be a list of objects, one for each wafer.")
    columns = list(content[0]) if content else []
    for number, record in enumerate(content, 1):
        # Left out is not missing: that is null.
        differing = record.keys() ^ set(columns)
        if differing:
            _refuse(
                f"Wafer {number} has other columns than the first, such as {min(differing)!r}. "
                "Send the same for all, and null for a missing reading."
            )
    return _objects([[record[column] for column in columns] for record in content], columns)


def _objects(rows: list[list[Any]], columns: list[Any]) -> _Table:
    # Filled row by row, because NumPy would look into cells that are lists.
    cells = np.empty((len(rows), len(columns)), dtype=object)
    for number, row in enumerate(rows):
        cells[number, :] = row
    return _Table(columns, cells)


def _refuse(reason: str) -> NoReturn:
    raise RefusedRequest(reason)

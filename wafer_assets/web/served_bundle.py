"""A model that answers requests: the rows of a batch, to the last bit, or the reason why a request is refused."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import orjson
import pandas as pd

from wafer_assets.domain.preprocessing import WrongSensors, select_columns
from wafer_assets.domain.scoring import Bundle, score
from wafer_assets.web.formats import RefusedRequest, Table, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from schemas.loader import BatchSchema

    Floats = NDArray[np.float64]

_WAFER = "wafer"
_MAX_NAME = 200
_NUMBERS = frozenset({float, int, type(None)})


@dataclass(frozen=True, slots=True)
class Wafers:
    """The wafers of a request.

    Attributes
    ----------
    readings : float64 ndarray of shape (n_wafers, n_sensors), in the order of the model; NaN where missing
    ids : list of str, or None where none were sent
    """

    readings: Floats
    ids: list[str] | None


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
    """A bundle that refuses whatever is not wafers of its own; for one thread.

    Parameters
    ----------
    bundle : Bundle
    version : int, of the registered model
    schema : BatchSchema, of the prediction feed of the line
    """

    def __init__(self, bundle: Bundle, version: int, schema: BatchSchema) -> None:
        self.bundle = bundle
        self.version = version
        self._columns = pd.Index(bundle.model.feature_names_in_, dtype=object)
        self._schema = schema
        self._texts = (_WAFER, self._schema.wafer, *self._schema.header_aliases)
        self._layout: _Layout | None = None
        # The first prediction prepares the explanation and loads libraries, a second that no request should wait.
        self.score([Wafers(np.full((1, len(self._columns)), np.nan), None)])

    def read(self, body: bytes | bytearray, content_type: str) -> Wafers:
        """Return the wafers of a request.

        Raises
        ------
        RefusedRequest
            It is not one to 1,000 wafers of the sensors of this model.
        """
        table = read(body, content_type, self._columns, self._texts)
        layout = self._layout
        # Clients send the same headers again and again.
        if layout is None or table.headers != layout.headers:
            self._layout = layout = self._understand(table.headers)
        wafers = None
        if layout.wafer is not None:
            wafers = table.texts.get(layout.wafer) or table.cells[:, layout.wafer].tolist()
            for wafer in wafers:
                if not isinstance(wafer, str) or not wafer.strip():
                    _refuse(f"A wafer id is {reprlib.repr(wafer)}. Send ids as text, or leave out the column.")
        return Wafers(self._readings(table, layout), wafers)

    def score(self, requests: Sequence[Wafers]) -> list[bytes]:
        """Return the answer to each request.

        Eight wafers take hardly longer than one, and no wafer's row depends on those beside it: so requests that came
        together are scored together.
        """
        together = np.concatenate([request.readings for request in requests])
        rows = score(self.bundle, pd.DataFrame(together, columns=self._columns), self.version).rows
        columns = {name: column.tolist() for name, column in rows.items()}
        answers, start = [], 0
        for request in requests:
            part = slice(start, start := start + len(request.readings))
            own = {} if request.ids is None else {_WAFER: request.ids}
            own |= {str(name): column[part] for name, column in columns.items()}
            records = [dict(zip(own, row, strict=True)) for row in zip(*own.values(), strict=True)]
            answers.append(orjson.dumps({"predictions": records}))
        return answers

    def _understand(self, headers: list[Any]) -> _Layout:
        """Return where things are in a request with these headers; refuse other columns than the model's."""
        schema = self._schema
        if len(headers) > 2 * len(self._columns):
            _refuse(f"{len(headers):,} columns. The model has {len(self._columns):,} sensors.")
        longest = max((len(header) for header in headers if isinstance(header, str)), default=0)
        if longest > _MAX_NAME or not all(isinstance(header, str) for header in headers):
            _refuse(f"A column's name is no text of at most {_MAX_NAME} characters.")
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
            raise RefusedRequest(str(error)[:1_000]) from error
        targets = self._columns.get_indexer(pd.Index(sensors, dtype=object))
        return _Layout(list(headers), ids[0] if ids else None, sensors, places, targets)

    def _readings(self, table: Table, layout: _Layout) -> Floats:
        """Return the readings, shape (n_wafers, n_sensors) in the order of the model; NaN where missing."""
        cells = table.cells[:, layout.places]
        if cells.dtype == object and not set(map(type, cells.ravel().tolist())) <= _NUMBERS:
            _refuse_texts(cells, layout.names)
        readings = np.full((len(cells), len(self._columns)), np.nan)
        readings[:, layout.targets] = cells.astype(np.float64)
        infinite = np.isinf(readings).any(axis=0)
        if infinite.any():
            example = ", ".join(self._columns[infinite][:5])
            _refuse(f"Infinite readings: {example}. Send finite readings, and null for a missing one.")
        return readings


def _refuse_texts(cells: NDArray[np.object_], names: Sequence[str]) -> NoReturn:
    wrong = [
        (name, next(cell for cell in column if type(cell) not in _NUMBERS))
        for name, column in zip(names, cells.T, strict=True)
        if not set(map(type, column)) <= _NUMBERS
    ]
    _refuse(
        f"{len(wrong)} sensors are not numeric ({', '.join(name for name, _ in wrong[:5])}): "
        f"found {reprlib.repr(wrong[0][1])}. Send numbers, and null for a missing reading."
    )


def _refuse(reason: str) -> NoReturn:
    raise RefusedRequest(reason)

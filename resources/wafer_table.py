"""The store of the wafer table: the latest table, and beside it what it was made of.

Steps get the table as they get every frame, through the IO manager that this store is, in the form and under the keys
of `resources.io_managers`. How batches become a table is `wafer_assets.domain.table`'s.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from resources.io_managers import FrameIOManager
from resources.s3 import ObjectNotFoundError
from wafer_assets.keys import training_key, value_key

if TYPE_CHECKING:
    import dagster as dg
    import pandas as pd


def table_key(line: str) -> str:
    """Return the key in the lake bucket of a line's latest table."""
    return value_key(training_key(line, "wafer_table"), FrameIOManager.extension)


class TableContents(BaseModel):
    """What a table was made of.

    Attributes
    ----------
    content_hash
        Of the table.
    batches
        Hash of the content of every batch that went into it.
    superseded
        Rows of these that lost to a later batch.
    overlaps
        By batch, how many wafers of other batches it superseded, and how many of these it labels differently.
    """

    model_config = ConfigDict(frozen=True)

    content_hash: str = ""
    batches: dict[str, str] = {}
    superseded: int = 0
    overlaps: dict[str, tuple[int, int]] = {}


@dataclass(frozen=True, slots=True)
class WaferTable:
    """All accepted labelled wafers in time order, a row each, and what they were made of."""

    frame: "pd.DataFrame"
    contents: TableContents


class WaferTableStore(FrameIOManager):
    """Keeps the wafer table of a line: steps write a `WaferTable` and read its frame."""

    def latest(self) -> TableContents:
        """Return what the latest table was made of; of nothing where there is none."""
        try:
            return TableContents.model_validate_json(self._s3.get(self._s3.lake, self._contents_key))
        except ObjectNotFoundError:
            return TableContents()

    def read(self, contents: TableContents) -> "pd.DataFrame | None":
        """Read the latest table; None where it is not the one of these contents, because a run ended between writes."""
        from wafer_assets.domain.table import frame_hash

        try:
            frame = self.decode(self._s3.get(self._s3.lake, table_key(self._line)))
        except ObjectNotFoundError:
            return None
        return frame if frame_hash(frame) == contents.content_hash else None

    def handle_output(self, context: "dg.OutputContext", obj: object) -> None:
        """Store the table, then what it was made of.

        Raises
        ------
        TypeError
            The value is no `WaferTable`.
        """
        if not isinstance(obj, WaferTable):
            raise TypeError(f"A wafer table is wanted, not {type(obj).__name__}.")
        super().handle_output(context, obj.frame)
        self._s3.put(self._s3.lake, self._contents_key, obj.contents.model_dump_json().encode())

    @property
    def _contents_key(self) -> str:
        return f"{table_key(self._line).rpartition('/')[0]}/merged.json"

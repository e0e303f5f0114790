"""How assets' values are kept in the lake bucket: frames as Parquet, everything else as our own bytes.

An asset's value is one object, ``<line>/<asset>/<asset>.<extension>``, or of a partitioned asset one per
partition, ``<line>/<asset>/<partition>.<extension>``. What ops inside a graph hand to each other is kept as
``runs/<run>/<step>/<output>``. Each object is written in one request, so nobody reads half of one.
"""

import io
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import dagster as dg

from resources.s3 import ObjectNotFoundError, S3Store

if TYPE_CHECKING:
    import pandas as pd

ROWS = 16_384
"""Rows of a frame that are converted at a time."""


class NotMaterializedError(LookupError):
    """An asset's value was asked for before there was any."""

    code = "not_materialized"


class _LakeIOManager(dg.IOManager):
    """Keeps each value as one object of the lake bucket; subclasses say in which form."""

    extension: ClassVar[str]

    def __init__(self, s3: S3Store) -> None:
        self._s3 = s3

    @abstractmethod
    def encode(self, value: object) -> bytes:
        """Turn a value into bytes."""

    @abstractmethod
    def decode(self, content: bytes) -> object:
        """Turn bytes into the value they came from."""

    def metadata(self, value: object) -> dict[str, int]:  # noqa: ARG002
        """Return what the UI shows of a value beside its place and size."""
        return {}

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Store a value and show where, and how large it is."""
        key = _key(context, self.extension)
        content = self.encode(obj)
        self._s3.put(self._s3.lake, key, content)
        context.add_output_metadata(
            {"uri": dg.MetadataValue.path(self._uri(key)), "size_bytes": len(content), **self.metadata(obj)}
        )

    def load_input(self, context: dg.InputContext) -> object:
        """Read a value.

        Raises
        ------
        NotMaterializedError
            It was never stored.
        """
        source = context if context.has_asset_key else context.upstream_output
        assert source is not None
        key = _key(source, self.extension)
        try:
            return self.decode(self._s3.get(self._s3.lake, key))
        except ObjectNotFoundError as error:
            name = context.asset_key.to_user_string() if context.has_asset_key else context.name
            raise NotMaterializedError(
                f"{name} has no value: {self._uri(key)} does not exist. Materialize {name} first."
            ) from error

    def _uri(self, key: str) -> str:
        return f"s3://{self._s3.lake}/{key}"


class FrameIOManager(_LakeIOManager):
    """Keeps data frames as Parquet: dtypes, column order and every bit of a float come back."""

    extension = "parquet"

    def encode(self, value: object) -> bytes:
        """Turn a frame into Parquet.

        Raises
        ------
        TypeError
            The value is no data frame.
        """
        import pandas as pd

        if not isinstance(value, pd.DataFrame):
            raise TypeError(f"A data frame is wanted, not {type(value).__name__}. Use the `objects` IO manager.")
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.Schema.from_pandas(value)
        # A dictionary of readings is as long as they are: without, a table takes half the space and time.
        texts = list(value.select_dtypes("object").columns)
        file = io.BytesIO()
        with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd", use_dictionary=texts) as writer:
            # Piece by piece: Arrow keeps columns where the frame may keep rows, and a table need not be there twice.
            for start in range(0, len(value), ROWS):
                piece = pyarrow.Table.from_pandas(value.iloc[start : start + ROWS], schema=schema)
                writer.write_table(piece.replace_schema_metadata(schema.metadata))
        return file.getvalue()

    def decode(self, content: bytes) -> "pd.DataFrame":
        """Turn Parquet into the frame."""
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(io.BytesIO(content))
        # Column by column, and each is given back once it is converted.
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
        return frame

    def metadata(self, value: object) -> dict[str, int]:
        """Return the number of rows."""
        import pandas as pd

        assert isinstance(value, pd.DataFrame)
        return {"dagster/row_count": len(value)}


class ObjectIOManager(_LakeIOManager):
    """Keeps estimators and other Python objects, without pickle: see `wafer_assets.domain.persistence`."""

    extension = "skops"

    def encode(self, value: object) -> bytes:
        """Turn an object into bytes."""
        from wafer_assets.domain.persistence import dump

        return dump(value)

    def decode(self, content: bytes) -> object:
        """Turn bytes into the object; refuses types that are not ours to load."""
        from wafer_assets.domain.persistence import load

        return load(content)


def value_key(asset: dg.AssetKey, extension: str, partition: str | None = None) -> str:
    """Return the key in the lake bucket of an asset's value."""
    return "/".join([*asset.path, f"{partition or asset.path[-1]}.{extension}"])


def _key(context: dg.OutputContext | dg.InputContext, extension: str) -> str:
    if context.has_asset_key:
        partition = context.asset_partition_key if context.has_asset_partitions else None
        return value_key(context.asset_key, extension, partition)
    assert isinstance(context, dg.OutputContext)
    return "/".join(["runs", *context.get_identifier()]) + f".{extension}"

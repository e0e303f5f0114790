"""How assets' values are kept in the lake bucket: frames as Parquet, everything else as our own bytes.

An asset's latest value is one object, ``<line>/<feed>/<asset>/<asset>.<extension>``, or of a partitioned asset one per
partition, ``<line>/<feed>/<asset>/<partition>.<extension>``. What a training makes is stored first as its own,
``runs/<training>/<line>/<feed>/<asset>.<extension>``, or ``runs/<training>/<step>/<output>.<extension>`` between the
ops of a graph, and the server copies it from there to the latest. A step of a training reads the training's own
values; one that the training has not made is taken over from the latest at its first use, and then stays the same for
all steps.

Each object is written in one request, so nobody reads half of one. A step that dies between the two writes leaves the
latest as it was, and does both again when it is repeated. What a value comes from is metadata of the object itself.
Before a step gets a value, `resources.trainings.require_fit` decides whether it may stand beside the others: a value
that fits was made by this training or by one other, of the same table and under the same hyperparameters.
"""

import io
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import dagster as dg

from resources.model_config import model_resource
from resources.s3 import ObjectChangedError, ObjectNotFoundError, S3Store
from resources.trainings import (
    MixedTrainingsError,
    Provenance,
    is_training,
    require_fit,
    training_id,
)
from wafer_assets.keys import training_folder, value_key

if TYPE_CHECKING:
    import pandas as pd

ROWS = 16_384
"""Rows of a frame that are converted at a time."""

_READ: "WeakKeyDictionary[dg.StepExecutionContext, dict[str, Provenance]]" = WeakKeyDictionary()
"""What each step at work has read, whichever IO manager read it: what it writes comes from that."""


class NotMaterializedError(LookupError):
    """An asset's value was asked for before there was any."""

    code = "not_materialized"


class _LakeIOManager(dg.IOManager):
    """Keeps each value as one object of the lake bucket; subclasses say in which form."""

    extension: ClassVar[str]

    def __init__(self, s3: S3Store, line: str, config_hash: str = "") -> None:
        self._s3 = s3
        self._line = line
        self._config_hash = config_hash

    @classmethod
    def definition(cls, s3: S3Store, line: str) -> dg.IOManagerDefinition:
        """Return the IO manager of a line, which knows the hyperparameters of the run that it serves."""
        model = model_resource(line)

        def make(context: dg.InitResourceContext) -> dg.IOManager:
            return cls(s3, line, getattr(context.resources, model).values.content_hash)

        return dg.IOManagerDefinition(make, required_resource_keys={model})

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
        """Store a value with what it comes from, and show where it is and how large."""
        step = context.step_context
        run = step.dagster_run
        origin = self._origin(context)
        content = self.encode(obj)
        latest = _latest_key(context, self.extension)
        own = _own_key(context, run, self.extension)
        if latest is None or is_training(run):
            self._s3.put(self._s3.lake, own, content, origin.as_metadata())
            if latest is not None:
                self._s3.copy(self._s3.lake, own, self._s3.lake, latest)
        else:
            self._s3.put(self._s3.lake, latest, content, origin.as_metadata())
        facts: dict[str, Any] = {
            "uri": dg.MetadataValue.path(self._uri(latest or own)),
            "size_bytes": len(content),
            "training": origin.training,
            **self.metadata(obj),
        }
        # What the asset itself says counts: its value may only stand for what it made.
        context.add_output_metadata({name: fact for name, fact in facts.items() if name not in context.output_metadata})

    def _origin(self, context: dg.OutputContext) -> Provenance:
        """Return what the value comes from that a step is about to store."""
        training = training_id(context.step_context.dagster_run)
        read = _READ.get(context.step_context)
        if read:
            return Provenance(training, self._config_hash, next(iter(read.values())).table_hash)
        # The table comes from no other value, and says itself what it holds.
        content_hash = context.output_metadata.get("content_hash")
        return Provenance(training, "", str(getattr(content_hash, "value", content_hash or "")))

    def load_input(self, context: dg.InputContext) -> object:
        """Read a value; a step of a training gets none that does not fit the others.

        Raises
        ------
        NotMaterializedError
            It was never stored.
        MixedTrainingsError
            It does not fit what the step has read before, or the step's hyperparameters.
        """
        source = context if context.has_asset_key else context.upstream_output
        assert source is not None
        name = context.asset_key.to_user_string() if context.has_asset_key else "/".join(source.get_identifier()[1:])
        latest = _latest_key(source, self.extension)
        try:
            step = context.step_context
        except dg.DagsterInvariantViolationError:
            step = None  # read by no step, but by hand
        try:
            if step is None or (latest is not None and not is_training(step.dagster_run)):
                assert latest is not None
                content, metadata = self._s3.read(self._s3.lake, latest)
            else:
                content, metadata = self._read_own(_own_key(source, step.dagster_run, self.extension), latest)
        except ObjectNotFoundError:
            # What ops inside a graph hand on can be made by their whole asset alone.
            remedy = f"Materialize {name} first." if latest else "Start the job `train`."
            raise NotMaterializedError(
                f"{name} has no value: {self._uri(latest or name)} does not exist. {remedy}"
            ) from None
        if step is not None:
            self._note(name, metadata, step)
        return self.decode(content)

    def _read_own(self, own: str, latest: str | None) -> tuple[bytes, Mapping[str, str]]:
        """Read a training's own value; what it has not made becomes its own as it is now."""
        while True:
            try:
                return self._s3.read(self._s3.lake, own)
            except ObjectNotFoundError:
                if latest is None:
                    raise
            with suppress(ObjectChangedError):  # then the newer one
                self._s3.copy(self._s3.lake, latest, self._s3.lake, own)

    def _note(self, name: str, metadata: Mapping[str, str], step: dg.StepExecutionContext) -> None:
        """Note what a step has read, if it may read that."""
        found = Provenance.of(metadata)
        if found is None:
            raise MixedTrainingsError(f"{name} was stored by an earlier release, without what it comes from.")
        read = _READ.setdefault(step, {})
        require_fit(name, found, read, training=training_id(step.dagster_run), config_hash=self._config_hash)
        read[name] = found

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
        """Turn an object into bytes.

        Raises
        ------
        UntrustedObject
            It holds something of a type that could not be loaded again.
        """
        from wafer_assets.domain.persistence import dump

        return dump(value)

    def decode(self, content: bytes) -> object:
        """Turn bytes into the object.

        Raises
        ------
        UntrustedObject
            They hold a type that is not ours to load; nothing was built.
        NotAnObject
            They hold no object of ours.
        NewerFormat
            A newer version of the platform wrote them.
        """
        from wafer_assets.domain.persistence import load

        return load(content)


def _latest_key(context: dg.OutputContext | dg.InputContext, extension: str) -> str | None:
    """Return the key of an asset's latest value; what ops inside a graph hand on has none."""
    if not context.has_asset_key:
        return None
    return value_key(context.asset_key, extension, _partition(context))


def _own_key(context: dg.OutputContext | dg.InputContext, run: dg.DagsterRun, extension: str) -> str:
    """Return the key of a value that belongs to a training."""
    if context.has_asset_key:
        partition = _partition(context)
        path = [*context.asset_key.path, *([partition] if partition else [])]
    else:
        assert isinstance(context, dg.OutputContext)
        # Without the run, which is an earlier one where this one re-executes it from a failure.
        path = list(context.get_identifier()[1:])
    return training_folder(training_id(run)) + "/".join(path) + f".{extension}"


def _partition(context: dg.OutputContext | dg.InputContext) -> str | None:
    return context.asset_partition_key if context.has_asset_partitions else None

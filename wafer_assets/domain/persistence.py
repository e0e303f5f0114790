"""Estimators to bytes and back without pickle: reading a file never runs code that the file brings along.

The format is skops' (a zip of a JSON schema and NumPy arrays). Beyond the types that skops itself knows to be
harmless, exactly those named here are built again; a file that asks for anything else is refused. Where the bytes
are kept is no matter of this module: see `resources`.

Registered versions are files of this kind, and a rollback may ask for any of them. They name our classes by module
and carry their attributes, so whoever moves or renames one, or an attribute of one, changes the format:

1. raise `FORMAT`, and keep in `load` a way from every number ever released to the objects of today (a class that
   moved: put its new name into the archive's ``schema.json``; an attribute that changed: ``__setstate__``);
2. keep the former names in `TRUSTED` where the former files still ask for them;
3. make a folder for the new number with ``python -m tests.released_bundles.make``. The folders of former numbers are
   loaded and scored with by a test, for good.

What MLflow copies beside a bundle, `resources.bundle_pyfunc`, is code of its day: the modules and functions that it
imports keep their places.
"""

from __future__ import annotations

import io
import zipfile

import skops.io as sio
from skops.io.exceptions import UntrustedTypesFoundException

FORMAT = 1
"""Number of the format that `dump` writes."""

MAX_BYTES = 256_000_000
"""Of a file, and of what it unpacks to."""

# The default model unpacks 1.4 MB to 14 MB, of 25,000 lists and mappings. What a file claims is looked at before it is
# unpacked, and how much would be built before anything is.
_MAX_RATIO, _RATIO_FROM = 64, 1_000_000
_MAX_CONTAINERS, _MAX_ITEMS = 300_000, 2_000_000

_SCHEMA_FILE = "schema.json"
_FORMAT_FILE = "format"  # in the archive; files written before it was noted are of format 1

TRUSTED = (
    "sklearn.tree._tree.Tree",
    "wafer_assets.domain.clustering.Clusterer",
    "wafer_assets.domain.clustering.Elbow",
    "wafer_assets.domain.config.ModelConfig",
    "wafer_assets.domain.preprocessing.Preprocessor",
    "wafer_assets.domain.scoring.Bundle",
    "wafer_assets.domain.scoring.HealthyRanges",
    "wafer_assets.domain.scoring.TrainingMap",
    "wafer_assets.domain.training.BoostedTrees",
    "wafer_assets.domain.training.FaultModel",
    "wafer_assets.domain.training.Forest",
    "wafer_assets.domain.training.GroupModels",
    "wafer_assets.domain.training.Members",
    "xgboost.core.Booster",
)


class UntrustedObject(ValueError):
    """The bytes hold a type that is none of ours."""

    code = "untrusted_object"


class NotAnObject(ValueError):
    """The bytes are not what `dump` writes: damaged, something else, or made to take more than any machine has."""

    code = "not_an_object"

    def __init__(self, size: int, why: object) -> None:
        super().__init__(f"These {size:,} bytes are no stored object ({why}): materialize the asset again.")


class NewerFormat(ValueError):
    """The bytes are of a format that a newer version of this platform writes."""

    code = "newer_format"


def dump(value: object) -> bytes:
    """Store an estimator, or a container of estimators, as bytes.

    Parameters
    ----------
    value : object
        Made of the types in `TRUSTED` and of those that skops knows to be harmless.

    Returns
    -------
    bytes
        A file of format `FORMAT`.

    Raises
    ------
    UntrustedObject
        If `load` would refuse the bytes.
    """
    data: bytes = sio.dumps(value, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    unknown = set(sio.get_untrusted_types(data=data)) - set(TRUSTED)
    if unknown:
        raise UntrustedObject(_refusal("Cannot store", ", ".join(sorted(unknown))))
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(_FORMAT_FILE, str(FORMAT))
    return file.getvalue()


def load(data: bytes) -> object:
    """Build again what `dump` was given.

    Parameters
    ----------
    data : bytes
        What `dump` returned, in this or a former format.

    Returns
    -------
    object
        Its predictions are bit-identical to those of the original.

    Raises
    ------
    NotAnObject
        If the bytes are damaged or no stored object.
    NewerFormat
        If a newer version of this platform has written them.
    UntrustedObject
        If the bytes hold a type that is not trusted; nothing has been built then.
    """
    try:
        number = _check_intact(data)
        if number > FORMAT:
            raise NewerFormat(
                f"The stored object has format {number}, and this version of the platform reads formats up to "
                f"{FORMAT}: upgrade the platform, or use a model that was registered before."
            )
        # Builds nothing before it knows that all types are trusted.
        return sio.loads(data, trusted=TRUSTED)
    except (NotAnObject, NewerFormat):
        raise
    except UntrustedTypesFoundException as error:
        raise UntrustedObject(_refusal("Refused to load", str(error).partition("\n")[0])) from error
    except Exception as error:  # whatever a file from outside makes a parser do: recursion and memory among it
        raise NotAnObject(len(data), f"{type(error).__name__}: {str(error)[:200]}") from error


def _check_intact(data: bytes) -> int:
    """Verify how large the file is, unpacked too, and its checksums, before anything in it is built.

    Returns
    -------
    int
        The number of its format.
    """
    if len(data) > MAX_BYTES:
        raise NotAnObject(len(data), f"more than {MAX_BYTES:,}")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > min(MAX_BYTES, max(_RATIO_FROM, _MAX_RATIO * len(data))):
            raise NotAnObject(len(data), f"they would unpack to {unpacked:,}")
        if damaged := archive.testzip():
            raise NotAnObject(len(data), f"{damaged} is damaged")
        schema = archive.read(_SCHEMA_FILE)
        number = int(archive.read(_FORMAT_FILE)) if _FORMAT_FILE in archive.namelist() else 1
    containers, items = schema.count(b"{") + schema.count(b"["), schema.count(b",")
    if containers > _MAX_CONTAINERS or items > _MAX_ITEMS:
        raise NotAnObject(len(data), f"they describe {containers:,} lists and mappings of {items:,} items")
    return number


def _refusal(action: str, unknown: str) -> str:
    return (
        f"{action} {unknown}: not among the types of this platform. "
        "Read only what this platform has stored; add new types to TRUSTED on purpose."
    )

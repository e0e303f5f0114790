"""What the stores hold, read in ways that the platform itself has no use for."""

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from resources.mlflow import BundleVersion, LineTracking
from resources.mongo import WaferStore
from resources.predictions import PredictionStore
from resources.s3 import S3Store
from schemas.lines import LineFeed

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel


def frame_of(store: WaferStore, feed: LineFeed, batch: str) -> pd.DataFrame:
    """Return the wafers of an accepted batch."""
    stored = store.read(feed, batch)
    assert stored.frame is not None, f"{batch} is {stored.manifest.status}"
    return stored.frame


def etags_of(store: WaferStore, feed: LineFeed) -> dict[str, str]:
    """Return the ETag of the landed file behind each batch's outcome, by batch."""
    return {manifest.batch: manifest.etag for manifest in store.batches(feed)}


def predictions_of(store: PredictionStore, batch: str, line: str = "secom") -> list[dict[str, Any]]:
    """Return the predictions of a batch in the order of its rows; empty if it was never scored."""
    _, documents = store._predictions(line).read(batch, lambda _, document: document) or (None, [])
    return sorted(documents, key=lambda document: int(document["row"]))


def pyfunc_of(tracking: LineTracking, version: BundleVersion) -> "PyFuncModel":
    """Load a version as any consumer would; ``predict`` checks its input against the signature."""
    import mlflow

    assert tracking.settings.tracking_uri is not None
    mlflow.set_tracking_uri(tracking.settings.tracking_uri)
    with TemporaryDirectory() as folder:
        return mlflow.pyfunc.load_model(version.uri, dst_path=folder)


def exchange_bundle(tracking: LineTracking, s3: S3Store, version: BundleVersion, content: bytes) -> None:
    """Write something else over a version's file in the lake, where it lies with those of all others."""
    good = tracking.content_of(version)
    keys = [item.key for item in s3.list_objects(s3.lake, "mlflow/") if item.key.endswith("/bundle.skops")]
    (key,) = [key for key in keys if s3.get(s3.lake, key) == good]
    s3.put(s3.lake, key, content)

"""Experiment tracking and the model registry: all that the platform does with MLflow goes through `Tracking`.

The server is in `server`, its runs in `runs`, the registered model in `registry`; what others use is here. Nothing
of it imports the library MLflow before it is used. What is borrowed from the library's inside is in
`resources.adapters`, and what runs inside a registered version is `resources.bundle_pyfunc`.
"""

from resources.mlflow.registry import (
    CHALLENGER,
    CHAMPION,
    OUT_OF_FOLD,
    BundleNotFoundError,
    BundleUnusableError,
    BundleVersion,
    ModelRegistry,
    OutOfFoldMissingError,
    bundle_signature,
)
from resources.mlflow.runs import RunTracking, TrackedRun
from resources.mlflow.server import TrackingUnreachableError

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "OUT_OF_FOLD",
    "BundleNotFoundError",
    "BundleUnusableError",
    "BundleVersion",
    "OutOfFoldMissingError",
    "TrackedRun",
    "Tracking",
    "TrackingUnreachableError",
    "bundle_signature",
]


class Tracking(RunTracking, ModelRegistry):
    """The platform's MLflow server, as a Dagster resource.

    Logging to a Dagster run needs MongoDB, too, to settle on its MLflow run; the registry does not.
    """

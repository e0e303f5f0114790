"""Experiment tracking and the model registry: all that the platform does with MLflow goes through `Tracking`.

What it does for one line goes through `LineTracking`. The server is in `server`, its runs in `runs`, the registered
model in `registry`; what others use is here. Nothing of it imports the library MLflow before it is used. What is
borrowed from the library's inside is in `resources.adapters`, and what runs inside a registered version is
`resources.bundle_pyfunc`.
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
from resources.mlflow.runs import RunClosing, RunTracking, TrackedRun
from resources.mlflow.server import TrackingUnreachableError
from wafer_assets.settings import Settings

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "OUT_OF_FOLD",
    "BundleNotFoundError",
    "BundleUnusableError",
    "BundleVersion",
    "LineTracking",
    "OutOfFoldMissingError",
    "TrackedRun",
    "Tracking",
    "TrackingUnreachableError",
    "bundle_signature",
]


class LineTracking(RunTracking, ModelRegistry):
    """The experiment and the registered model of one line.

    Logging to a Dagster run needs MongoDB, too, to settle on its MLflow run; the registry does not.
    """

    def experiment_id(self) -> str | None:
        """Return the id of the line's experiment; None where nothing was logged yet, or no server is set."""
        if self.settings.tracking_uri is None:
            return None
        with self._server() as client:
            experiment = client.get_experiment_by_name(self.settings.experiment)
            return experiment.experiment_id if experiment and experiment.lifecycle_stage == "active" else None

    def remove_line(self) -> None:
        """Delete the line's model and experiment; MLflow keeps the deleted experiment until `mlflow gc`."""
        with self._server() as client:
            from mlflow.exceptions import MlflowException

            try:
                client.delete_registered_model(self.settings.model_name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            if (experiment := self.experiment_id()) is not None:
                # A deleted experiment keeps its name, which a line of the same name will want.
                client.rename_experiment(experiment, f"{self.settings.experiment} (removed, {experiment})")
                client.delete_experiment(experiment)


class Tracking(RunClosing):
    """The platform's MLflow server, as a Dagster resource."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings

    def of(self, line: str) -> LineTracking:
        """Return what belongs to a line."""
        return LineTracking(self._settings, line)

    def adopt(self, line: str) -> int:
        """Give a line the experiment and the model that were there before there were lines; return its versions."""
        names = self._settings.mlflow.of(line)
        with self._server() as client:
            from mlflow.exceptions import MlflowException

            experiment = client.get_experiment_by_name(self.settings.experiment)
            if experiment is not None and experiment.lifecycle_stage == "active":
                client.rename_experiment(experiment.experiment_id, names.experiment)
            try:
                client.rename_registered_model(self.settings.model_name, names.model_name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        return len(self.of(line).versions())

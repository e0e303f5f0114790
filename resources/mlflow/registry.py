"""The model registry: versions of the platform's model, their aliases, and what is kept with them.

The runs that make versions are in `resources.mlflow.runs`; which version is to predict is decided by
`wafer_assets.operations.champion`.
"""

import io
import json
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

from resources.mlflow.runs import TrackedRun
from resources.mlflow.server import MLflowServer

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

CHALLENGER = "challenger"
"""Alias of the newest registered bundle: the candidate for promotion."""

CHAMPION = "champion"
"""Alias of the bundle that predicts."""

OUT_OF_FOLD = "out_of_fold.parquet"
"""Artifact of a version's run: the out-of-fold rows that the version is compared by."""

BUNDLE_DIGEST = "bundle_sha256"
"""Tag of a version: the SHA-256 of its bundle's file, which whoever reads the file holds it against."""

_BUNDLE_FILE = "artifacts/bundle.skops"  # where `register_bundle` puts the bundle in the version
_BUNDLE_CODE = Path(__file__).parents[1] / "bundle_pyfunc.py"
_BUNDLE_PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "xgboost-cpu")


class BundleNotFoundError(LookupError):
    """The registered model has no such version."""

    code = "bundle_not_found"


class BundleUnusableError(RuntimeError):
    """A registered version's file is gone, damaged, or another one than was registered."""

    code = "bundle_unusable"

    def __init__(self, version: "BundleVersion", why: str) -> None:
        super().__init__(
            f"version {version.version} of {version.name} is unusable: its file {_BUNDLE_FILE} {why}. "
            "Go back to the champion before it with `wafer models rollback`, or train again."
        )


class OutOfFoldMissingError(LookupError):
    """A version was registered without the out-of-fold rows that it would be compared by."""

    code = "out_of_fold_missing"

    def __init__(self, version: "BundleVersion") -> None:
        super().__init__(
            f"version {version.version} of {version.name} cannot be compared: its run {version.run_id} has no "
            f"artifact {OUT_OF_FOLD}. Train again, or decide by hand with `wafer models promote`."
        )


@dataclass(frozen=True, slots=True)
class BundleVersion:
    """One version of the registered model."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]
    registered_at: datetime

    @property
    def uri(self) -> str:
        """Address of the version for MLflow's tools."""
        return f"models:/{self.name}/{self.version}"


class ModelRegistry(MLflowServer):
    """The registered model of the platform's MLflow server."""

    def register_bundle(
        self,
        run: TrackedRun,
        bundle: bytes,
        *,
        sensors: Sequence[str],
        optional: Collection[str] = (),
        tags: Mapping[str, str],
    ) -> BundleVersion:
        """Register a stored estimator as the model's next version, and make it the challenger.

        The version is a pyfunc made of code (`bundle_pyfunc`) and the bytes as they are: nothing is pickled.
        It needs this project installed where it is loaded, and names the libraries it was made with, pinned.

        Parameters
        ----------
        run : TrackedRun
            The run that made it, inside its ``with`` block.
        bundle : bytes
            What `wafer_assets.domain.persistence.dump` returned.
        sensors, optional : sequence and collection of str
            Columns of the input, and those of them that may be left out.
        tags : mapping of str to str
            Evidence to keep with the version.

        Returns
        -------
        BundleVersion
            The next one.
        """
        with self._server() as client, tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            from mlflow import pyfunc
            from mlflow.models import Model

            # The signature is written from the contract; an example would only be stored and run once more.
            warnings.filterwarnings("ignore", ".*An input example was not provided")
            file = Path(folder, "bundle.skops")
            file.write_bytes(bundle)
            info = Model.log(
                artifact_path=None,
                flavor=pyfunc,
                name="bundle",
                run_id=run.run_id,
                registered_model_name=self.settings.model_name,
                tags={**tags, BUNDLE_DIGEST: sha256(bundle).hexdigest()},
                python_model=_BUNDLE_CODE,
                artifacts={"bundle": str(file)},
                signature=bundle_signature(sensors, optional),
                # Named, because MLflow would find them by running the model in a process of its own.
                pip_requirements=[f"{name}=={installed_version(name)}" for name in _BUNDLE_PACKAGES],
            )
            version = client.get_model_version(self.settings.model_name, str(info.registered_model_version))
            client.set_registered_model_alias(version.name, CHALLENGER, version.version)
            return _bundle_version(version)

    def aliases(self) -> dict[str, int]:
        """Return the number of the version that each alias names; empty where there is no model yet."""
        with self._server() as client:
            from mlflow.exceptions import MlflowException

            try:
                named = client.get_registered_model(self.settings.model_name).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
            return {alias: int(number) for alias, number in named.items()}

    def version(self, alias: str) -> BundleVersion | None:
        """Return the version that `alias` names; None where there is no such alias, or no model at all."""
        number = self.aliases().get(alias)
        if number is None:
            return None
        with self._server() as client:
            return _bundle_version(client.get_model_version(self.settings.model_name, str(number)))

    def versions(self) -> list[BundleVersion]:
        """Return all versions of the model, newest first."""
        with self._server() as client:
            found = client.search_model_versions(f"name = '{self.settings.model_name}'")
            return sorted(map(_bundle_version, found), key=lambda version: version.version, reverse=True)

    def get_version(self, number: int) -> BundleVersion:
        """Return the version with that number.

        Raises
        ------
        BundleNotFoundError
            There is none; the error names those that there are.
        """
        versions = self.versions()
        for version in versions:
            if version.version == number:
                return version
        there = (
            ", ".join(str(version.version) for version in reversed(versions[:20])) or "none yet: train a model first"
        )
        raise BundleNotFoundError(f"{self.settings.model_name} has no version {number}. The latest are: {there}.")

    def tag_version(self, version: BundleVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version; the others stay."""
        with self._server() as client:
            for key, value in tags.items():
                client.set_model_version_tag(version.name, str(version.version), key, value)

    def figures(self, run_id: str) -> Mapping[str, float]:
        """Return the figures that were logged to the run that made a version, by name."""
        with self._server() as client:
            return dict(client.get_run(run_id).data.metrics)

    def training_batches(self, version: BundleVersion) -> tuple[str, ...]:
        """Return the batch files a version was trained on, as `TrackedRun.log_dataset` noted them, by name."""
        with self._server() as client:
            inputs = client.get_run(version.run_id).inputs
        profiles = [json.loads(given.dataset.profile or "{}") for given in inputs.dataset_inputs] if inputs else []
        return tuple(sorted({batch for profile in profiles for batch in profile.get("batches", ())}))

    def out_of_fold(self, version: BundleVersion) -> "pd.DataFrame":
        """Return the out-of-fold rows of the evaluation that preceded a version.

        Raises
        ------
        OutOfFoldMissingError
            None were stored with it.
        """
        with self._server() as client, tempfile.TemporaryDirectory() as folder:
            import pandas as pd

            if OUT_OF_FOLD not in {file.path for file in client.list_artifacts(version.run_id)}:
                raise OutOfFoldMissingError(version)
            content = Path(client.download_artifacts(version.run_id, OUT_OF_FOLD, folder)).read_bytes()
        return pd.read_parquet(io.BytesIO(content))

    def content_of(self, version: BundleVersion) -> bytes:
        """Return the stored estimator of a version, byte for byte as it was registered; runs none of its code.

        Raises
        ------
        BundleUnusableError
            The file is missing, cannot be downloaded though the server answers, or is not the one that was registered.
        """
        with self._server() as client, tempfile.TemporaryDirectory() as folder:
            from mlflow.artifacts import download_artifacts

            from wafer_assets.domain.persistence import MAX_BYTES

            try:
                file = Path(download_artifacts(f"{version.uri}/{_BUNDLE_FILE}", dst_path=folder))
                if file.stat().st_size > MAX_BYTES:
                    raise BundleUnusableError(version, f"has more than {MAX_BYTES:,} bytes")
                content = file.read_bytes()
            except BundleUnusableError:
                raise
            except Exception as error:
                # The artifact store may be any; a server that is gone altogether fails here, and says so.
                client.search_experiments(max_results=1)
                raise BundleUnusableError(version, "cannot be downloaded") from error
        # Versions of before the digest was noted have none.
        expected, found = version.tags.get(BUNDLE_DIGEST), sha256(content).hexdigest()
        if expected not in (None, found):
            raise BundleUnusableError(
                version, f"is not the one that was registered: its SHA-256 is {found}, not {expected}"
            )
        return content

    def set_alias(self, alias: str, version: BundleVersion) -> None:
        """Let `alias` name `version`, and no other."""
        with self._server() as client:
            client.set_registered_model_alias(version.name, alias, str(version.version))


def bundle_signature(sensors: Sequence[str], optional: Collection[str]) -> "ModelSignature":
    """Return what a bundle takes and gives: the contract's sensors, `optional` among them, and the rows of a batch."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    wafer = ColSpec(DataType.string, "wafer", required=False)
    readings = [ColSpec(DataType.double, sensor, required=sensor not in optional) for sensor in sensors]
    return ModelSignature(
        inputs=Schema([wafer, *readings]),
        outputs=Schema(
            [
                wafer,
                ColSpec(DataType.double, "probability"),
                ColSpec(DataType.boolean, "faulty"),
                ColSpec(DataType.long, "cluster"),
                ColSpec(DataType.string, "decided_by"),
                ColSpec(DataType.long, "bundle_version"),
                ColSpec(DataType.string, "drivers"),
            ]
        ),
    )


def _bundle_version(version: "ModelVersion") -> BundleVersion:
    return BundleVersion(
        name=version.name,
        version=int(version.version),
        run_id=str(version.run_id),
        tags=dict(version.tags),
        registered_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
    )

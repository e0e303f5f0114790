"""The registered model's code: MLflow copies this file beside the bundle and runs it to load the model.

Nothing imports it. It only adapts: the model itself is the stored `Bundle`, which needs this project
installed where it is loaded (the platform's image, which is also the scoring server's).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import yaml
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from wafer_assets.domain.scoring import Bundle


class FaultBundle(PythonModel):
    """Wafers in, the rows of a batch out: probability, decision, cluster and drivers of each wafer."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle from the artifact `bundle`, without pickle, and its version from beside it."""
        from wafer_assets.domain.persistence import load

        file = Path(context.artifacts["bundle"])
        self.bundle = cast("Bundle", load(file.read_bytes()))
        # MLflow writes it where it downloads a registered version; from elsewhere there is no version.
        registered = file.parents[1] / "registered_model_meta"
        self.version = int(yaml.safe_load(registered.read_text())["model_version"]) if registered.exists() else 0

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Return the rows of `wafer_assets.domain.scoring.score`, one for each row of sensors."""
        from wafer_assets.domain.scoring import score

        return score(self.bundle, model_input, self.version).rows


set_model(FaultBundle())

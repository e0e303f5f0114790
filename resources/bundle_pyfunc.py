"""The registered model's code: MLflow copies this file beside the bundle and runs it to load the model.

Nothing imports it. It only adapts: the model itself is the stored `FaultModel`, which needs this project
installed where it is loaded (the platform's image, which is also the scoring server's).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from wafer_assets.domain.training import FaultModel


class FaultBundle(PythonModel):
    """Wafers in, one row of probability, decision and cluster per wafer out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the fault model from the artifact `bundle`, without pickle."""
        from wafer_assets.domain.persistence import load

        self.model = cast("FaultModel", load(Path(context.artifacts["bundle"]).read_bytes()))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Return `wafer` (where given), `probability`, `faulty` and `cluster` for each row of sensors."""
        model = self.model
        # Optional sensors that were left out are missing readings.
        readings = model_input.reindex(columns=model.feature_names_in_).astype(float)
        probability = model.predict_proba(readings)[:, 1]
        return model_input.filter(["wafer"]).assign(
            probability=probability,
            faulty=probability >= model.threshold_,
            cluster=model.clusterer_.predict(model.preprocessor_.transform(readings)),
        )


set_model(FaultBundle())

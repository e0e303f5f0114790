"""Makes the folder of a bundle format, once, as it is released: ``python -m tests.released_bundles.make``.

A folder holds a registered version as MLflow hands it out (its copy of `bundle_pyfunc.py` included), wafers, and what
the version said of them on the day it was made. Folders are never made again: that they still load is their use.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import mlflow

from resources.local_services import LocalServices
from resources.mlflow import LineTracking
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.persistence import FORMAT, dump
from wafer_assets.domain.scoring import Bundle, make_bundle, score
from wafer_assets.domain.simulation import simulate_batches, simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import FaultModel
from wafer_assets.settings import Settings

ROOT = Path(__file__).parents[2]

# Four clusters, one of which has too few faults for models of its own.
CONFIG = ModelConfig(k=4, folds=2, n_sensors=20, forest_trees=4, xgboost_trees=6)
TRAINED, SCORED, SEED, FAULT_RATE = 400, 20, 1, 0.1


def main() -> None:
    """Train on simulated wafers and a sixth of their sensors, register, download, and score what came back."""
    table = simulate_table(TRAINED + SCORED, seed=SEED, fault_rate=FAULT_RATE)
    batches = simulate_batches(5, 100, feed="training", seed=SEED, fault_rate=FAULT_RATE)
    causes = {sensor for batch in batches for shifted in batch.causes.values() for sensor in shifted}
    sensors = list(table.columns[2:-1])
    empty = [sensor for sensor in sensors if table[sensor].isna().all()][:2]
    kept = [sensor for sensor in sensors if sensor in {*sensors[::8], *causes, *empty}]
    train, rest = table.iloc[:TRAINED], table.iloc[TRAINED:]
    model = FaultModel(CONFIG).fit(sensor_readings(train[["wafer", "batch", *kept, "faulty"]]), train["faulty"])
    features = model.preprocessor_.transform(train[kept])
    bundle = make_bundle(
        model,
        train[["wafer", "batch", *kept, "faulty"]],
        model.clusterer_.predict(features),
        model.clusterer_.coordinates(features)[:, :2],
        contract_version="1.0",
        optional=empty,
        card={"wafers": TRAINED, "config": CONFIG.model_dump()},
    )
    folder = Path(__file__).with_name(str(FORMAT))
    folder.mkdir()
    wafers = rest[["wafer", *kept]].reset_index(drop=True)
    wafers.to_csv(folder / "wafers.csv", index=False)
    _register(bundle, kept, empty, folder / "version")
    scores = score(bundle, wafers, 1)
    scores.rows.drop(columns="drivers").assign(margin=scores.margin).to_csv(folder / "rows.csv", index=False)


def _register(bundle: Bundle, sensors: list[str], optional: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory() as state, LocalServices(Settings(state_dir=Path(state))) as settings:
        tracking = LineTracking(settings, "secom")
        run: Any = SimpleNamespace(run_id=str(uuid4()), job_name="secom__train", parent_run_id=None, root_run_id=None)
        with tracking.run(run) as tracked:
            version = tracking.register_bundle(tracked, dump(bundle), sensors=sensors, optional=optional, tags={})
        mlflow.artifacts.download_artifacts(version.uri, dst_path=str(target))
    description = target / "MLmodel"
    description.write_text(
        description.read_text().replace(str(ROOT), "/opt/wafer").replace(tempfile.gettempdir(), "/tmp")
    )


if __name__ == "__main__":
    main()

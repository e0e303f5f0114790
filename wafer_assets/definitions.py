"""The whole platform in one place: which assets, checks, jobs and sensors there are, on which services."""

from typing import Any

import dagster as dg

from jobs.prediction import PREDICTION_JOBS
from jobs.training import training_jobs
from resources.io_managers import FrameIOManager, ObjectIOManager
from resources.mlflow import Tracking
from resources.model_config import EvaluationConfig, FaultModelConfig, PromotionConfig
from resources.mongo import WaferStore
from resources.notifier import Notifier
from resources.predictions import PredictionStore
from resources.promotions import PromotionLog
from resources.s3 import S3Store
from schemas.loader import load_schema
from sensors.automation import automation_sensors
from sensors.landing import landing_sensors
from sensors.notifications import NOTIFICATION_SENSORS
from sensors.retraining import retraining_schedules, retraining_sensors
from sensors.runs import RUN_SENSORS
from wafer_assets.assets import champion, clusters, evaluation, features, models, predictions, table
from wafer_assets.assets.batches import batch_assets
from wafer_assets.assets.registry import model_bundle_asset
from wafer_assets.automation import governed_retraining
from wafer_assets.checks.models import CHECKS
from wafer_assets.console import LOGGER, terminal_logger
from wafer_assets.settings import Settings, load_settings


def build_defs(settings: Settings, **overrides: Any) -> dg.Definitions:
    """Assemble the platform for one environment.

    Parameters
    ----------
    settings
        Where the services are.
    overrides
        Resources to use instead of those that the settings give, by name.
    """
    schema = load_schema("training")
    s3 = S3Store(settings)
    resources: dict[str, Any] = {
        "s3": s3,
        "wafers": WaferStore(settings),
        "tracking": Tracking(settings),
        "frames": FrameIOManager.definition(s3),
        "objects": ObjectIOManager.definition(s3),
        "model": FaultModelConfig(),
        "evaluation": EvaluationConfig(),
        "promotions": PromotionLog(settings),
        "promotion": PromotionConfig(),
        "predictions": PredictionStore(settings),
        "notifier": Notifier(settings.notifications),
    }
    modelling = [
        features.preprocessor,
        features.features,
        clusters.elbow,
        clusters.cluster_wafers,
        models.cluster_models,
        evaluation.evaluation,
        model_bundle_asset(schema),
        champion.champion,
    ]
    return dg.Definitions(
        assets=[
            *batch_assets(schema),
            table.wafer_table,
            *(asset.map_asset_specs(_governed) for asset in modelling),
            *batch_assets(load_schema("prediction")),
            predictions.unscored_batches,
            predictions.score_batches,
        ],
        asset_checks=CHECKS,
        jobs=[*training_jobs(settings.executor), *PREDICTION_JOBS],
        sensors=[
            *landing_sensors(settings.automation),
            *automation_sensors(settings.automation),
            *retraining_sensors(settings.retraining),
            *RUN_SENSORS,
            *NOTIFICATION_SENSORS,
        ],
        schedules=retraining_schedules(settings.retraining),
        resources=resources | overrides,
        # Of runs without a job: batches are small, and a process per step would only add seconds.
        executor=dg.in_process_executor,
        loggers={LOGGER: terminal_logger, "console": dg.colored_console_logger},
    )


def _governed(spec: dg.AssetSpec) -> dg.AssetSpec:
    return spec.replace_attributes(automation_condition=governed_retraining())


defs = build_defs(load_settings())

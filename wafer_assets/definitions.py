"""The whole platform in one place: which assets, checks, jobs and sensors there are, on which services."""

from collections.abc import Mapping
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
from resources.wafer_table import WaferTableStore
from schemas.loader import BatchSchema, Feed, load_schema
from sensors.automation import automation_sensors
from sensors.landing import landing_sensors
from sensors.notifications import NOTIFICATION_SENSORS
from sensors.retraining import retraining_schedules, retraining_sensors
from sensors.runs import RUN_SENSORS
from wafer_assets.assets import champion, clusters, evaluation, features, models, predictions, table
from wafer_assets.assets.batches import batch_assets
from wafer_assets.assets.registry import model_bundle_asset
from wafer_assets.automation import governed_retraining
from wafer_assets.checks.ledger import all_accounted_for
from wafer_assets.checks.models import CHECKS
from wafer_assets.partitions import BATCHES
from wafer_assets.settings import Settings, load_settings

TERMINAL = "terminal"
"""Name of the logger of runs that the `wafer` command makes, which their run config selects."""


def build_defs(
    settings: Settings,
    schemas: Mapping[Feed, BatchSchema] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
    **resources: Any,
) -> dg.Definitions:
    """Assemble the platform for one environment.

    Parameters
    ----------
    settings
        Where the services are.
    schemas
        The contract of every feed; by default the shipped ones.
    loggers
        Loggers beside Dagster's own, by name.
    resources
        Resources to use instead of those that the settings give, by name.
    """
    schemas = schemas or {feed: load_schema(feed) for feed in BATCHES}
    s3 = S3Store(settings)
    given: dict[str, Any] = {
        "s3": s3,
        "wafers": WaferStore(settings),
        "tracking": Tracking(settings),
        "tables": WaferTableStore.definition(s3),
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
        model_bundle_asset(schemas["training"]),
        champion.champion,
    ]
    return dg.Definitions(
        assets=[
            *batch_assets(schemas["training"]),
            table.wafer_table,
            *(asset.map_asset_specs(_governed) for asset in modelling),
            *batch_assets(schemas["prediction"]),
            predictions.refusals,
            predictions.score_batches,
        ],
        asset_checks=[*(all_accounted_for(feed) for feed in schemas), *CHECKS],
        jobs=[*training_jobs(settings.executor), *PREDICTION_JOBS],
        sensors=[
            *landing_sensors(schemas, settings.automation),
            *automation_sensors(settings.automation),
            *retraining_sensors(settings.retraining),
            *RUN_SENSORS,
            *NOTIFICATION_SENSORS,
        ],
        schedules=retraining_schedules(settings.retraining),
        resources=given | resources,
        # Of runs without a job: batches are small, and a process per step would only add seconds.
        executor=dg.in_process_executor,
        # A run of the command line that is executed again elsewhere asks for its logger there.
        loggers={TERMINAL: dg.colored_console_logger, "console": dg.colored_console_logger, **(loggers or {})},
    )


def _governed(spec: dg.AssetSpec) -> dg.AssetSpec:
    return spec.replace_attributes(automation_condition=governed_retraining())


defs = build_defs(load_settings())

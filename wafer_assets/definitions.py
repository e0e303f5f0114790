"""The whole platform in one place: which assets, checks, jobs and sensors there are, on which services.

All that belongs to one line is made by one factory, `_of_line`: lines share code and services, and nothing else.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from jobs.prediction import prediction_jobs
from jobs.training import training_jobs
from resources.io_managers import FrameIOManager, ObjectIOManager
from resources.mlflow import Tracking
from resources.model_config import EvaluationConfig, FaultModelConfig, PromotionConfig, model_resource
from resources.mongo import WaferStore
from resources.notifier import Notifier
from resources.predictions import PredictionStore
from resources.promotions import PromotionLog
from resources.s3 import S3Store
from resources.wafer_table import WaferTableStore
from schemas.lines import FEEDS, Line, Lines, load_lines
from sensors.automation import automation_sensors
from sensors.landing import landing_sensors
from sensors.lines import lost_lines_sensor
from sensors.notifications import notification_sensors
from sensors.retraining import retraining_schedules, retraining_sensors
from sensors.runs import RUN_SENSORS
from wafer_assets.assets.batches import batch_assets
from wafer_assets.assets.champion import champion_asset
from wafer_assets.assets.clusters import clusters_asset, elbow_asset
from wafer_assets.assets.evaluation import evaluation_asset
from wafer_assets.assets.features import features_asset, preprocessor_asset
from wafer_assets.assets.models import cluster_models_asset
from wafer_assets.assets.predictions import predictions_asset, refusals_spec
from wafer_assets.assets.registry import model_bundle_asset
from wafer_assets.assets.table import table_asset
from wafer_assets.automation import governed_retraining
from wafer_assets.checks.ledger import all_accounted_for
from wafer_assets.checks.models import both_outcomes
from wafer_assets.keys import name_of
from wafer_assets.settings import Settings, load_settings

TERMINAL = "terminal"
"""Name of the logger of runs that the `wafer` command makes, which their run config selects."""

_MODELLING = (
    preprocessor_asset,
    features_asset,
    elbow_asset,
    clusters_asset,
    cluster_models_asset,
    evaluation_asset,
    model_bundle_asset,
    champion_asset,
)


def build_defs(
    settings: Settings,
    lines: Iterable[Line] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
    **resources: Any,
) -> dg.Definitions:
    """Assemble the platform for one environment.

    Parameters
    ----------
    settings
        Where the services are.
    lines
        The production lines; by default those that the platform ships and those that the settings name. One that
        cannot be read is logged, and left out.
    loggers
        Loggers beside Dagster's own, by name.
    resources
        Resources to use instead of those that the settings give, by name.
    """
    declared = _declared(settings) if lines is None else Lines({line.name: line for line in lines}, ())
    s3 = S3Store(settings)
    shared: dict[str, Any] = {
        "s3": s3,
        "wafers": WaferStore(settings),
        "tracking": Tracking(settings),
        "evaluation": EvaluationConfig(),
        "promotions": PromotionLog(settings),
        "promotion": PromotionConfig(),
        "predictions": PredictionStore(settings),
        "notifier": Notifier(settings.notifications),
    }
    platform = dg.Definitions(
        sensors=[*RUN_SENSORS, *notification_sensors(declared.lines), lost_lines_sensor(declared)],
        resources=shared | resources,
        # Of runs without a job: batches are small, and a process per step would only add seconds.
        executor=dg.in_process_executor,
        # A run of the command line that is executed again elsewhere asks for its logger there.
        loggers={TERMINAL: dg.colored_console_logger, "console": dg.colored_console_logger, **(loggers or {})},
    )
    return dg.Definitions.merge(platform, *(_of_line(line, settings, s3) for line in declared.lines.values()))


def _declared(settings: Settings) -> Lines:
    declared = load_lines(settings.lines)
    for error in declared.errors:
        logging.getLogger("wafer.lines").error("A line is left out. %s", error)
    return declared


def _of_line(line: Line, settings: Settings, s3: S3Store) -> dg.Definitions:
    """Assemble what belongs to one line."""
    return dg.Definitions(
        assets=[
            *(asset for kind in FEEDS for asset in batch_assets(line, kind)),
            table_asset(line),
            *(make(line).map_asset_specs(_governed) for make in _MODELLING),
            refusals_spec(line),
            predictions_asset(line),
        ],
        asset_checks=[*(all_accounted_for(line.feed(kind)) for kind in FEEDS), both_outcomes(line)],
        jobs=[*training_jobs(line, settings.executor), *prediction_jobs(line)],
        sensors=[
            *landing_sensors(line, settings.automation),
            *automation_sensors(line, settings.automation),
            *retraining_sensors(line, settings.retraining),
        ],
        schedules=retraining_schedules(line, settings.retraining),
        resources={
            model_resource(line.name): FaultModelConfig.of(line.hyperparameters),
            name_of(line.name, "tables"): WaferTableStore.definition(s3, line.name),
            name_of(line.name, "frames"): FrameIOManager.definition(s3, line.name),
            name_of(line.name, "objects"): ObjectIOManager.definition(s3, line.name),
        },
    )


def _governed(spec: dg.AssetSpec) -> dg.AssetSpec:
    return spec.replace_attributes(automation_condition=governed_retraining())


defs = build_defs(load_settings())

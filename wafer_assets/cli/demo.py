"""`wafer demo`: everything once, by what the other commands do."""

from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click

from wafer_assets.cli.alone import alone
from wafer_assets.cli.console import console
from wafer_assets.cli.files import files_of, simulate_files, upload_files
from wafer_assets.cli.help import Command
from wafer_assets.cli.ingest import ingest_landed
from wafer_assets.cli.options import line_option
from wafer_assets.cli.predictions import score_waiting
from wafer_assets.cli.training import train_model
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from schemas.lines import Line


@click.command(cls=Command)
@line_option
@click.argument("batches", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option(
    "--predict",
    "to_score",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of files to score with the new model; without it, none are, unless all files are simulated.",
)
def demo(line: "Line", batches: Path | None, to_score: Path | None) -> None:
    """Run everything once, from files to predictions.

    It starts the services, ingests, trains, evaluates, promotes, scores, prints a summary (also in
    `.wafer/summary.json`) and stops what it started. BATCHES is a folder of labelled files; without it the demo
    simulates its own, and files to score.

    What an earlier demo did and the stores still hold is not done again; of two at once, the second one waits. The demo
    exits with 1 if an accepted file is left unscored, and says why.

      wafer demo
      wafer demo batches --predict to-score
    """
    for folder in (batches, to_score):
        if folder is not None:
            files_of([folder])  # refuses a folder without files
    from resources.local_services import LocalServices

    with alone(load_settings(), "demo", wait=True):
        settings = load_settings()  # whoever was waited for may have stopped the services
        local = LocalServices(settings)
        with console.status("starting S3, MongoDB and MLflow"):
            Thread(target=_import_learners, daemon=True).start()
            settings = local.up()
        try:
            _run_all(settings, line, batches, to_score)
        finally:
            if local.started:
                with console.status("stopping the services"):
                    local.down()


def _run_all(settings: Settings, line: "Line", batches: Path | None, to_score: Path | None) -> None:
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.cli.summary import summarised

    if batches is None:
        batches = settings.state_dir / "simulated"
        simulate_files(line, "training", batches, 14, 100)
        if to_score is None:
            to_score = settings.state_dir / "simulated-to-score"
            simulate_files(line, "prediction", to_score, 3, 100, first_wafer=1_401)
    upload_files(settings, line.feed("training"), files_of([batches]))
    with open_instance(settings) as instance:
        ingest_landed(settings, instance, line.feed("training"))
        _train_what_is_left(settings, instance, line)
        if to_score is not None:
            upload_files(settings, line.feed("prediction"), files_of([to_score]))
            ingest_landed(settings, instance, line.feed("prediction"))
        with summarised(settings, instance, line):
            score_waiting(settings, instance, line)


def _import_learners() -> None:
    """Import, while the servers start on the other core, what takes seconds to import."""
    import xgboost  # noqa: F401


def _train_what_is_left(settings: Settings, instance: "dg.DagsterInstance", line: "Line") -> None:
    from resources.mlflow import LineTracking
    from resources.promotions import PromotionLog
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import run_job
    from wafer_assets.cli.runs import require_success
    from wafer_assets.keys import name_of, training_key
    from wafer_assets.operations.backlog import training_left

    left = training_left(instance, line, LineTracking(settings, line.name), PromotionLog(settings), S3Store(settings))
    if left is None:
        console.print("The registered model was trained on these very wafers, and is decided on.")
    elif left == "decide":
        console.print("The registered model was trained on these very wafers; whether it predicts is not decided yet.")
        job, champion = name_of(line.name, "train"), training_key(line.name, "champion")
        require_success(run_job(settings, instance, job, assets=[champion]))
    else:
        train_model(settings, instance, line, {})

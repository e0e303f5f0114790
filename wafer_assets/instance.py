"""The Dagster instance of a laptop, and running jobs on it from the command line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg

from jobs.training import TRAIN, TRAIN_END_TO_END
from resources.mlflow import Tracking
from resources.s3 import S3Store
from resources.trainings import sweep
from wafer_assets.console import LOGGER, view
from wafer_assets.definitions import build_defs
from wafer_assets.settings import Settings
from wafer_assets.turns import turn_to_train

_DAGSTER_YAML = """\
# Written once by `wafer`; edit it as you like.
telemetry:
  enabled: false
nux:
  enabled: false
run_launcher:
  module: resources.run_launcher
  class: WatchedRunLauncher
concurrency:
  runs:
    max_concurrent_runs: 2
  # One run at a time that trains, and one that ingests a line's files; the others wait in the queue.
  pools:
    default_limit: 1
    granularity: run
# A run whose process is gone is failed, and started again; a step that failed by itself is not.
run_monitoring:
  enabled: true
  poll_interval_seconds: 30
  start_timeout_seconds: 180
  cancel_timeout_seconds: 180
  max_runtime_seconds: 7200
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
retention:
  schedule:
    purge_after_days: 30
  sensor:
    purge_after_days:
      skipped: 1
      failure: 30
      success: 7
"""


class RunsArePodsError(RuntimeError):
    """A run was to be made in a process of the command line, where the platform's runs are pods."""

    code = "runs_are_pods"

    def __init__(self, job: str) -> None:
        super().__init__(
            f"Start {job} in the Dagster UI: runs are pods here, and the daemon fails a run that has none. "
            "Materialize the partitions of the files, or launch the job."
        )


def dagster_home(settings: Settings) -> Path:
    """Return the folder of the laptop's Dagster instance, made ready on first use."""
    home = settings.state_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(_DAGSTER_YAML)
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance that DAGSTER_HOME names, or else the laptop's own."""
    home = settings.dagster_home or dagster_home(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def run_job(
    settings: Settings,
    instance: dg.DagsterInstance,
    job: str,
    *,
    tags: Mapping[str, str] | None = None,
    resources: Mapping[str, Any] | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job in this process, shown in the terminal; one that trains waits until no other training is at work.

    Parameters
    ----------
    tags
        Tags of the run, such as its range of partitions.
    resources
        Run config of the resources, by name.
    assets
        Those of the job's assets that are wanted; by default all.

    Returns
    -------
    dg.ExecuteInProcessResult
        Of a run that succeeded or failed; the run and its events are recorded either way.

    Raises
    ------
    RunsArePodsError
        The settings say that runs are pods.
    """
    if settings.executor == "kubernetes":
        raise RunsArePodsError(job)
    run_id = str(uuid4())
    definition = build_defs(settings).resolve_job_def(job)
    turn = turn_to_train(settings, instance, run_id) if job in (TRAIN, TRAIN_END_TO_END) else nullcontext()
    try:
        with turn, view.shown(job):
            return definition.execute_in_process(
                instance=instance,
                run_id=run_id,
                tags=dict(tags or {}),
                asset_selection=assets,
                run_config={"loggers": {LOGGER: {}}, "resources": dict(resources or {})},
                raise_on_error=False,
            )
    finally:
        # A daemon's sensors do the same, but none need be running.
        run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished:
            Tracking(settings).close(run_id, run.status)
            if run.is_success:
                sweep(S3Store(settings), run)

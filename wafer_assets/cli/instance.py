"""The Dagster instance of a laptop, and running jobs on it from the command line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg

from jobs.training import TRAIN, TRAIN_END_TO_END
from resources.adapters.dagster import (
    MAX_RETRIES_TAG,
    ExecutionPlan,
    InProcessExecutor,
    PlanOrchestrationContext,
    RetryMode,
    execute_in_this_process,
    job_origin,
)
from resources.mlflow import Tracking, TrackingUnreachableError
from resources.run_launcher import HOST_TAG, PROCESS_IS_GONE, RunProcess
from resources.s3 import S3Store
from resources.store_errors import in_short, is_outage
from resources.trainings import forget
from wafer_assets import definitions
from wafer_assets.cli.console import console
from wafer_assets.cli.dagster_config import bring_up_to_date
from wafer_assets.cli.run_view import terminal_logger, view
from wafer_assets.cli.turns import turn_to_train
from wafer_assets.settings import Settings
from wafer_assets.settings.layout import make_ready


class NoInstanceError(RuntimeError):
    """The folder of the Dagster instance is not there."""

    code = "no_instance"


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
    make_ready(settings.state_dir)
    home.mkdir(exist_ok=True)
    bring_up_to_date(home / "dagster.yaml")
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance that DAGSTER_HOME names, or else the laptop's own, and end what killed commands left there."""
    home = settings.dagster_home or dagster_home(settings)
    if not home.is_dir():
        raise NoInstanceError(f"DAGSTER_HOME names {home}, which is no folder: create it, or unset DAGSTER_HOME.")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        _end_lost_runs(settings, instance)
        yield instance


def _end_lost_runs(settings: Settings, instance: dg.DagsterInstance) -> None:
    """End the runs of commands on this host whose process is gone; a daemon does the same, but none need be running."""
    if settings.mlflow.tracking_uri is None:
        return  # that the run is unfinished reminds a later command of its MLflow run
    unfinished = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, tags={HOST_TAG: RunProcess.current().host}))
    for run in unfinished:
        process = RunProcess.of(run)
        if process is None or not process.is_gone:
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:  # since it was listed
            continue
        canceled = now.status == dg.DagsterRunStatus.CANCELING
        try:
            Tracking(settings).close(
                run.run_id, dg.DagsterRunStatus.CANCELED if canceled else dg.DagsterRunStatus.FAILURE
            )
        except TrackingUnreachableError:
            continue  # a later command does it
        if canceled:
            instance.report_run_canceled(run, PROCESS_IS_GONE)
        else:
            instance.report_run_failed(run, PROCESS_IS_GONE)
        console.print(f"Run {run.run_id} of {run.job_name} had lost its process and is ended.")


_UNFINISHED = [  # and in a process: a run that is queued has none yet
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class _InThisProcess(InProcessExecutor):
    """Lets a run that is interrupted end as canceled: Dagster calls it failed unless the UI asked for it."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the steps."""
        try:
            yield from super().execute(plan_context, execution_plan)
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
            run = plan_context.instance.get_run_by_id(plan_context.run_id)
            if run is not None and run.status == dg.DagsterRunStatus.STARTED:
                plan_context.instance.report_run_canceling(run, "The command was interrupted.")
            raise


@dg.executor(name="in_process")
def _in_this_process(_: dg.InitExecutorContext) -> InProcessExecutor:
    return _InThisProcess(RetryMode.ENABLED)


def _cancel_before_its_first_step(instance: dg.DagsterInstance, run_id: str) -> None:
    """End a run that was interrupted before anything could notice."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_canceled(run, "The command was interrupted.")


def _close_tracked(settings: Settings, run: dg.DagsterRun) -> None:
    """End the MLflow run, too; a store that is away must not hide how the run ended."""
    try:
        Tracking(settings).close(run.run_id, run.status)
    except Exception as error:
        if not (isinstance(error, TrackingUnreachableError) or is_outage(error)):
            raise
        console.print(f"The MLflow run stays open: {in_short(error)}")


def run_job(
    settings: Settings,
    instance: dg.DagsterInstance,
    job: str,
    *,
    tags: Mapping[str, str] | None = None,
    resources: Mapping[str, Any] | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
) -> dg.JobExecutionResult:
    """Run a job in this process, shown in the terminal; one that trains waits until no other training is at work.

    It is a run like one of the daemon: the UI lists, terminates and re-executes it, and sensors follow it. But no
    daemon starts it again by itself, for a person at a terminal sees how it ends.

    Parameters
    ----------
    settings
        Where the services are.
    instance
        Records the run.
    job
        Name of the job.
    tags
        Tags of the run, such as its range of partitions.
    resources
        Run config of the resources, by name.
    assets
        Those of the job's assets that are wanted; by default all.

    Returns
    -------
    dg.JobExecutionResult
        Of a run that succeeded or failed; the run and its events are recorded either way.

    Raises
    ------
    RunsArePodsError
        The settings say that runs are pods.
    KeyboardInterrupt
        The run was interrupted or terminated, and is canceled.
    """
    if settings.executor == "kubernetes":
        raise RunsArePodsError(job)
    run_id = str(uuid4())
    definition = definitions.build_defs(settings, loggers={definitions.TERMINAL: terminal_logger}).resolve_job_def(job)
    selection = None if assets is None else frozenset(assets)
    if selection is not None:
        definition = definition.get_subset(asset_selection=selection)
    definition = definition.with_executor_def(_in_this_process)
    line, _, what = job.partition("__")
    turn = turn_to_train(settings, instance, line, run_id) if what in (TRAIN, TRAIN_END_TO_END) else nullcontext()
    try:
        with turn, view.shown(job.replace("__", "/", 1)):
            run = instance.create_run_for_job(
                definition,
                run_id=run_id,
                tags={**definition.run_tags, **(tags or {}), **RunProcess.current().tags, MAX_RETRIES_TAG: "0"},
                asset_selection=selection,
                run_config={"loggers": {definitions.TERMINAL: {}}, "resources": dict(resources or {})},
                # Without, the run would be in no list of the UI, and no sensor would follow it.
                remote_job_origin=job_origin(definitions, definition.name),
            )
            result = execute_in_this_process(definition, run, instance)
    except KeyboardInterrupt:
        _cancel_before_its_first_step(instance, run_id)
        raise
    finally:
        # A daemon's sensors do the same, but none need be running.
        ended = instance.get_run_by_id(run_id)
        if ended is not None and ended.is_finished:
            _close_tracked(settings, ended)
            if ended.is_success:
                forget(instance, S3Store(settings), ended)
    if ended is not None and ended.status == dg.DagsterRunStatus.CANCELED:
        raise KeyboardInterrupt
    return result

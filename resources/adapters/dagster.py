"""What the platform borrows from inside Dagster, but for what only steps as pods need (`adapters.dagster_k8s`).

All that is imported here is loaded by Dagster itself when it loads definitions.
"""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.execution.api import execute_run
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher import CheckRunHealthResult, RunLauncher, WorkerStatus
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import MAX_RETRIES_TAG, POOL_TAG_PREFIX, ROOT_RUN_ID_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

if TYPE_CHECKING:
    from dagster._grpc.client import DagsterGrpcClient

__all__ = [
    "MAX_RETRIES_TAG",
    "NOT_FINISHED_STATUSES",
    "POOL_TAG_PREFIX",
    "ROOT_RUN_ID_TAG",
    "CheckRunHealthResult",
    "DagsterUserCodeUnreachableError",
    "ExecutionPlan",
    "InProcessExecutor",
    "PlanOrchestrationContext",
    "RemoteJobOrigin",
    "RetryMode",
    "SerializableErrorInfo",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "code_server_of",
    "execute_in_this_process",
    "instance_of",
    "job_origin",
    "knows_run",
    "latest_tag_by_partition",
    "load_code_again",
    "pools_of",
    "store_value",
    "stored_value",
]


def instance_of(launcher: RunLauncher) -> dg.DagsterInstance:
    """Return the instance that a run launcher launches for."""
    return launcher._instance


def code_server_of(launcher: dg.DefaultRunLauncher, run_id: str) -> "DagsterGrpcClient | None":
    """Return a client of the code server that started a run; None if none did, or the run has ended."""
    client: DagsterGrpcClient | None = launcher._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
    return client


def knows_run(server: "DagsterGrpcClient", run_id: str, seconds: int) -> bool:
    """Return whether a code server has the process of a run.

    Raises
    ------
    DagsterUserCodeUnreachableError
        It does not answer, within so many seconds.
    """
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

    answer = server.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=seconds)
    return bool(dg.deserialize_value(answer, CanCancelExecutionResult).can_cancel)


def load_code_again(socket: str, seconds: int) -> None:
    """Have a code server start its child anew; the runs that the old child had started are not its own any more.

    A server that does not answer is left to whoever started it.
    """
    from dagster._grpc.client import DagsterGrpcClient

    with suppress(DagsterUserCodeUnreachableError):
        DagsterGrpcClient(socket=socket).reload_code(timeout=seconds)


def pools_of(run: dg.DagsterRun) -> frozenset[str]:
    """Return the pools of a run's steps."""
    pools = run.run_op_concurrency.all_pools if run.run_op_concurrency else None
    return frozenset(pools or ())


def execute_in_this_process(
    job: dg.JobDefinition, run: dg.DagsterRun, instance: dg.DagsterInstance
) -> dg.JobExecutionResult:
    """Execute a run that is recorded already, without a code server."""
    return execute_run(InMemoryJob(job), run, instance)


def job_origin(definitions: ModuleType, job: str) -> RemoteJobOrigin:
    """Return where a code server finds a job: the module with the definitions, in the folder above its package."""
    assert definitions.__file__ is not None
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(
            executable_path=sys.executable,
            module_name=definitions.__name__,
            working_directory=str(Path(definitions.__file__).parents[1]),
        )
    )
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)


def latest_tag_by_partition(instance: dg.DagsterInstance, key: dg.AssetKey, tag: str) -> Mapping[str, str]:
    """Return a tag of the latest materialization of every partition that has it, in one query."""
    found = instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, [tag]
    )
    return {partition: tags[tag] for partition, tags in found.items() if tag in tags}


def stored_value(instance: dg.DagsterInstance, key: str) -> str | None:
    """Return what was stored in the instance under a key of our own."""
    return instance.daemon_cursor_storage.get_cursor_values({key}).get(key)


def store_value(instance: dg.DagsterInstance, key: str, value: str) -> None:
    """Store a value in the instance, which keeps it for the daemons of its own."""
    instance.daemon_cursor_storage.set_cursor_values({key: value})

"""What is borrowed from inside Dagster is still there, and still takes what it is given."""

import dagster as dg
import pytest

from tests.resources.adapters.borrowed import Borrowed, imported, private_imports, require

ADAPTER = "resources/adapters/dagster.py"
SELF = object()

LAUNCHER = "asking the code server of a run, in resources.run_launcher"
COMMAND_LINE = "making a run in the process of a command, in wafer_assets.cli.instance"
LOST = "ending the runs of commands that were killed, in wafer_assets.cli.instance"
FOUND = "what has landed and what is left to do, in wafer_assets.operations"

BORROWED = [
    Borrowed("dagster._core.definitions.job_base:InMemoryJob", COMMAND_LINE, ("job",)),
    Borrowed("dagster._core.definitions.repository_definition:SINGLETON_REPOSITORY_NAME", COMMAND_LINE),
    Borrowed(
        "dagster._core.definitions.unresolved_asset_job_definition:UnresolvedAssetJobDefinition",
        "the type of jobs, in jobs.training",
    ),
    Borrowed("dagster._core.errors:DagsterUserCodeUnreachableError", LAUNCHER),
    Borrowed("dagster._core.execution.api:execute_run", COMMAND_LINE, ("job", "run", "instance")),
    Borrowed("dagster._core.execution.context.system:PlanOrchestrationContext", COMMAND_LINE),
    Borrowed("dagster._core.execution.context.system:PlanOrchestrationContext.run_id", COMMAND_LINE),
    Borrowed("dagster._core.execution.context.system:PlanOrchestrationContext.instance", COMMAND_LINE),
    Borrowed("dagster._core.execution.plan.plan:ExecutionPlan", COMMAND_LINE),
    Borrowed("dagster._core.execution.retries:RetryMode.ENABLED", COMMAND_LINE),
    Borrowed("dagster._core.executor.in_process:InProcessExecutor", COMMAND_LINE, ("retries",)),
    Borrowed(
        "dagster._core.executor.in_process:InProcessExecutor.execute", COMMAND_LINE, (SELF, "plan_context", "plan")
    ),
    Borrowed("dagster._core.launcher:CheckRunHealthResult", LAUNCHER, ("status", "message")),
    Borrowed("dagster._core.launcher:RunLauncher._instance", "reporting the end of a run, in resources.run_launcher"),
    Borrowed("dagster._core.launcher:RunLauncher.supports_check_run_worker_health", LAUNCHER),
    Borrowed("dagster._core.launcher:RunLauncher.check_run_worker_health", LAUNCHER, (SELF, "run")),
    Borrowed("dagster._core.launcher:DefaultRunLauncher.terminate", LAUNCHER, (SELF, "run_id")),
    Borrowed("dagster._core.launcher:DefaultRunLauncher._get_grpc_client_for_termination", LAUNCHER, (SELF, "run_id")),
    Borrowed("dagster._core.launcher:RunLauncher", LAUNCHER),
    Borrowed("dagster._core.launcher:WorkerStatus.RUNNING", LAUNCHER),
    Borrowed("dagster._core.launcher:WorkerStatus.NOT_FOUND", LAUNCHER),
    Borrowed("dagster._core.launcher:WorkerStatus.FAILED", LAUNCHER),
    Borrowed("dagster._grpc.client:DagsterGrpcClient", LAUNCHER),
    Borrowed(
        "dagster._grpc.client:DagsterGrpcClient.can_cancel_execution", LAUNCHER, (SELF, "request"), {"timeout": 10}
    ),
    Borrowed("dagster._grpc.types:CanCancelExecutionRequest", LAUNCHER, (), {"run_id": "id"}),
    Borrowed("dagster._grpc.types:CanCancelExecutionResult.can_cancel", LAUNCHER),
    Borrowed("dagster:deserialize_value", LAUNCHER, ("answer", "type")),
    Borrowed(
        "dagster._core.remote_origin:ManagedGrpcPythonEnvCodeLocationOrigin", COMMAND_LINE, ("loadable_target_origin",)
    ),
    Borrowed("dagster._core.remote_origin:RemoteRepositoryOrigin", COMMAND_LINE, ("location", "name")),
    Borrowed("dagster._core.remote_origin:RemoteJobOrigin", COMMAND_LINE, ("repository", "name")),
    Borrowed(
        "dagster._core.types.loadable_target_origin:LoadableTargetOrigin",
        COMMAND_LINE,
        (),
        {"executable_path": "python", "module_name": "module", "working_directory": "folder"},
    ),
    Borrowed(
        "dagster._core.storage.dagster_run:NOT_FINISHED_STATUSES",
        "finding re-executions at work, in resources.trainings",
    ),
    Borrowed("dagster._core.storage.tags:MAX_RETRIES_TAG", COMMAND_LINE),
    Borrowed("dagster._core.storage.tags:POOL_TAG_PREFIX", "finding a daemon's training, in wafer_assets.cli.turns"),
    Borrowed("dagster._core.storage.tags:ROOT_RUN_ID_TAG", "what belongs to a training, in resources.trainings"),
    Borrowed("dagster._core.storage.dagster_run:DagsterRun.run_op_concurrency", "what trains, in resources.trainings"),
    Borrowed("dagster._core.storage.dagster_run:RunOpConcurrency.all_pools", "what trains, in resources.trainings"),
    Borrowed(
        "dagster_shared.error:SerializableErrorInfo.cause", "the first of several errors, in sensors.notifications"
    ),
    Borrowed("dagster_shared.error:SerializableErrorInfo.message", "what failed, in sensors.notifications"),
    Borrowed("dagster_shared.error:SerializableErrorInfo.cls_name", "what failed, in sensors.notifications"),
    Borrowed("dagster._core.instance:DagsterInstance.event_log_storage", FOUND),
    Borrowed(
        "dagster._core.instance:DagsterInstance.daemon_cursor_storage", "the limit of messages, in resources.notifier"
    ),
    Borrowed(
        "dagster._core.storage.event_log.base:EventLogStorage.get_latest_tags_by_partition",
        FOUND,
        (SELF, "key", "type", ["tag"]),
    ),
    Borrowed(
        "dagster._core.storage.daemon_cursor:DaemonCursorStorage.get_cursor_values",
        "the limit of messages, in resources.notifier",
        (SELF, {"key"}),
    ),
    Borrowed(
        "dagster._core.storage.daemon_cursor:DaemonCursorStorage.set_cursor_values",
        "the limit of messages, in resources.notifier",
        (SELF, {"key": "value"}),
    ),
]

UNDOCUMENTED = [
    Borrowed(
        "dagster:DagsterInstance.all_logs",
        "comparing failures, in sensors.notifications",
        (SELF, "id"),
        {"of_type": "type"},
    ),
    Borrowed(
        "dagster:DagsterInstance.create_run_for_job",
        COMMAND_LINE,
        (SELF, "job"),
        {
            "run_id": "id",
            "tags": {},
            "asset_selection": None,
            "run_config": {},
            "remote_job_origin": "origin",
        },
    ),
    Borrowed("dagster:DagsterInstance.from_config", "opening the instance, in wafer_assets.cli.instance", ("folder",)),
    Borrowed("dagster:DagsterInstance.get_daemon_heartbeats", "finding the daemon, in wafer_assets.cli.turns", (SELF,)),
    Borrowed("dagster:DagsterInstance.get_latest_storage_id_by_partition", FOUND, (SELF, "key", "type")),
    Borrowed("dagster:DagsterInstance.get_runs", LOST, (SELF, "filter")),
    Borrowed(
        "dagster:DagsterInstance.get_runs_count", "finding re-executions, in resources.trainings", (SELF, "filter")
    ),
    Borrowed(
        "dagster:DagsterInstance.report_engine_event",
        "saying where a run is, in resources.run_launcher",
        (SELF, "message", "run"),
    ),
    Borrowed("dagster:DagsterInstance.report_run_canceling", LOST, (SELF, "run", "message")),
    Borrowed("dagster:DagsterInstance.report_run_canceled", LOST, (SELF, "run", "message")),
    Borrowed("dagster:DagsterInstance.report_run_failed", LOST, (SELF, "run", "message")),
    Borrowed("dagster:InputContext.step_context", "what a step has read, in resources.io_managers"),
    Borrowed("dagster:OutputContext.step_context", "what a value comes from, in resources.io_managers"),
    Borrowed("dagster:JobDefinition.get_subset", COMMAND_LINE, (SELF,), {"asset_selection": None}),
    Borrowed("dagster:JobDefinition.run_tags", COMMAND_LINE),
    Borrowed("dagster:JobDefinition.with_executor_def", COMMAND_LINE, (SELF, "executor")),
]


@pytest.mark.parametrize("borrowed", BORROWED, ids=str)
def test_what_the_adapter_borrows_is_there(borrowed: Borrowed) -> None:
    require(borrowed, "dagster", ADAPTER)


@pytest.mark.parametrize("borrowed", UNDOCUMENTED, ids=str)
def test_what_is_used_without_being_documented_is_there(borrowed: Borrowed) -> None:
    require(borrowed, "dagster", borrowed.use.rpartition(" in ")[2])


def test_no_import_of_the_adapter_is_forgotten_here() -> None:
    assert private_imports(ADAPTER, "dagster._", "dagster_shared") <= imported(BORROWED)


def test_values_of_our_own_are_kept_in_the_instance() -> None:
    from resources.adapters.dagster import store_value, stored_value  # not before it is known to have all it borrows

    with dg.DagsterInstance.ephemeral() as instance:
        assert stored_value(instance, "ours") is None
        store_value(instance, "ours", "kept")
        assert stored_value(instance, "ours") == "kept"

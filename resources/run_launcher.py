"""Dagster's default run launcher, which also notices that a run's process is gone.

The default one learns of a dead process from the code server that started it. Where that one is gone too, after a
power cut or a kill of everything, its runs would stay `STARTED` for good, and the batches they hold would wait.
"""

from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun


class WatchedRunLauncher(DefaultRunLauncher):
    """Fails runs whose code server is gone or does not know them; run monitoring asks it."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Say to run monitoring that it may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started the run; a run of a command line has none and looks after itself."""
        import grpc
        from dagster._core.errors import DagsterUserCodeUnreachableError
        from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
        from dagster._serdes import deserialize_value

        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=10)
        except DagsterUserCodeUnreachableError as error:
            # A server that is only slow to answer still runs.
            gone = isinstance(error.__cause__, grpc.RpcError) and error.__cause__.code() == grpc.StatusCode.UNAVAILABLE
            status = WorkerStatus.FAILED if gone else WorkerStatus.RUNNING
            return CheckRunHealthResult(status, "The code server that ran it does not answer.")
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "Its process is gone.")

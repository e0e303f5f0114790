"""Dagster's default run launcher, which also knows the runs of the command line and notices that a process is gone.

The default one learns of a dead process from the code server that started it. Where that one is gone too, after a
power cut or a kill of everything, its runs would stay `STARTED` for good, and the batches they hold would wait. And
it knows nothing of a run that `wafer` makes in its own process: such a run's tags say which process that is.

Runs that are pods have a launcher of dagster-k8s; what their steps need beside it is in `resources.step_pods`.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

from dagster import DagsterRun, DefaultRunLauncher

from resources.adapters.dagster import (
    CheckRunHealthResult,
    DagsterUserCodeUnreachableError,
    WorkerStatus,
    code_server_of,
    instance_of,
    knows_run,
)

HOST_TAG = "wafer/host"
"""Run tag of the host whose process makes the run."""

PROCESS_TAG = "wafer/process"
"""Run tag of that process: its id, the boot of the host, and when in clock ticks after the boot it started."""

PROCESS_IS_GONE = "The process of the command that made this run is gone, such as by a kill or a reboot."

_ANSWER_SECONDS = 10


@dataclass(frozen=True, slots=True)
class RunProcess:
    """The process of a command that makes a run.

    Attributes
    ----------
    host
        Where it runs.
    identity
        Id, boot and start. No clock is part of it, for that of a laptop may be set at any time.
    """

    host: str
    identity: str

    @classmethod
    def current(cls) -> "RunProcess":
        """Return this very process."""
        return cls.of_pid(os.getpid())

    @classmethod
    def of_pid(cls, pid: int) -> "RunProcess":
        """Return a process that runs here now."""
        return cls(gethostname(), _identity(pid))

    @classmethod
    def of(cls, run: DagsterRun) -> "RunProcess | None":
        """Return the process of a run of the command line; None if the run is none."""
        host, identity = run.tags.get(HOST_TAG), run.tags.get(PROCESS_TAG)
        # A re-execution has the tags of the run before it, but runs elsewhere.
        return cls(host, identity) if host and identity and run.parent_run_id is None else None

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the runs that it makes."""
        return {HOST_TAG: self.host, PROCESS_TAG: self.identity}

    @property
    def is_here(self) -> bool:
        """Whether it runs on this host; of another host's nothing is known."""
        return self.host == gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it ran on this host and does not any more."""
        return self.is_here and _identity(self._pid) != self.identity

    def interrupt(self) -> None:
        """Give it what Ctrl-C gives."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGINT)

    @property
    def _pid(self) -> int:
        return int(self.identity.partition(" ")[0])


def _identity(pid: int) -> str:
    """Return the identity of a running process; empty if there is none, or a zombie."""
    try:
        # Behind the name of the program, which may hold anything.
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "" if state in "ZX" else f"{pid} {boot} {facts[18]}"


class WatchedRunLauncher(DefaultRunLauncher):
    """Fails runs whose process is gone, or whose code server is gone or does not know them; run monitoring asks it."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Say to run monitoring that it may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Look for the process of a run of the command line; of any other run, ask the code server that started it."""
        if process := RunProcess.of(run):
            if process.is_gone:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, PROCESS_IS_GONE)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return self._ask_code_server(run)

    def terminate(self, run_id: str) -> bool:
        """End a run of the command line as Ctrl-C does, or mark it as canceled if its process is gone.

        Returns
        -------
        bool
            Whether it is about to end; not where its process is on another host.
        """
        instance = instance_of(self)
        run = instance.get_run_by_id(run_id)
        process = RunProcess.of(run) if run else None
        if run is None or process is None or run.is_finished:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if not process.is_here:
            instance.report_engine_event(
                f"Its process is on the host {process.host}. Press Ctrl-C there, or force the termination.", run
            )
            return False
        instance.report_run_canceling(run)
        if process.is_gone:
            instance.report_run_canceled(run, PROCESS_IS_GONE)
        else:
            process.interrupt()
        return True

    def _ask_code_server(self, run: DagsterRun) -> CheckRunHealthResult:
        import grpc

        server = code_server_of(self, run.run_id)
        if server is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            known = knows_run(server, run.run_id, _ANSWER_SECONDS)
        except DagsterUserCodeUnreachableError as error:
            # A server that is only slow to answer still runs.
            gone = isinstance(error.__cause__, grpc.RpcError) and error.__cause__.code() == grpc.StatusCode.UNAVAILABLE
            status = WorkerStatus.FAILED if gone else WorkerStatus.RUNNING
            return CheckRunHealthResult(status, "The code server that ran it does not answer.")
        if known:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "Its process is gone.")

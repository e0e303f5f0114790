"""Steps as pods: Dagster's Kubernetes executor, which also says why a pod died or waits, and tries a lost step again.

By itself the executor reports a killed pod as a failed job, and leaves it to the reader to find out that it was the
memory; of a pod that no node has room for it says nothing. A step that fails by itself, in its own code, is not tried
again: it would fail the same way.

How large the pods are is in `jobs.pod_sizes`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterEvent

from resources.adapters import dagster_k8s as k8s
from resources.adapters.dagster import SerializableErrorInfo
from resources.adapters.dagster_k8s import (
    CheckStepHealthResult,
    EngineEventData,
    IStepContext,
    K8sStepHandler,
    KnownExecutionState,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
    StepRetryData,
)

if TYPE_CHECKING:
    from kubernetes.client import V1Pod

_TRIES = 2
_HEALTH_SECONDS = 10


class ExplainedStepHandler(StepHandler):
    """Runs steps as Kubernetes jobs; where one is lost or waits for a node, says what Kubernetes knows of its pod.

    Parameters
    ----------
    handler
        Creates, watches and deletes the jobs.
    """

    def __init__(self, handler: K8sStepHandler) -> None:
        super().__init__()
        self._handler = handler
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """Name in the event log."""
        return str(self._handler.name)

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Create the step's job."""
        return self._handler.launch_step(step_handler_context)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Delete the step's job."""
        return self._handler.terminate_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Ask whether the step's job runs; of one that does not, say why."""
        result = self._handler.check_step_health(step_handler_context)
        job = k8s.job_of(self._handler, step_handler_context)
        pods = k8s.pods_of(self._handler, step_handler_context)
        if result.is_healthy:
            reasons = why_waiting(pods)
            if reasons and job not in self._told:
                self._told.add(job)
                step = k8s.step_of(self._handler, step_handler_context)
                DagsterEvent.engine_event(step, f"{step.step.key} waits: {reasons[0]}", EngineEventData())
            return result
        return CheckStepHealthResult.unhealthy(" ".join([str(result.unhealthy_reason), *why_dead(pods)]))


def why_waiting(pods: "Sequence[V1Pod]") -> list[str]:
    """Return what the scheduler says of pods that it finds no node for."""
    return [
        f"no node has room for its pod. {condition.message}"
        for pod in pods
        for condition in pod.status.conditions or []
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable"
    ]


def why_dead(pods: "Sequence[V1Pod]") -> list[str]:
    """Return a sentence for everything that Kubernetes knows of the end of the pods."""
    found = []
    for pod in pods:
        if pod.status.reason:
            found.append(f"Its pod was ended by the cluster: {pod.status.reason}: {pod.status.message}")
        limits = {container.name: (container.resources.limits or {}) for container in pod.spec.containers}
        for status in pod.status.container_statuses or []:
            ended = status.state.terminated
            if ended is None or ended.exit_code == 0:
                continue
            if ended.reason == "OOMKilled":
                limit = limits[status.name].get("memory", "of its node")
                found.append(
                    f"OOMKilled: it passed its memory limit {limit}. "
                    "Give the step more with execution.config.memory_mib of the run, or for good in jobs/pod_sizes.py."
                )
            else:
                found.append(f"Its container ended with exit code {ended.exit_code} ({ended.reason}).")
    return found


class LostStepExecutor(StepDelegatingExecutor):
    """Gives a step whose pod is lost one more try, whatever its retry policy."""

    def log_failure_or_retry_event_after_error(
        self, step_context: IStepContext, err_info: SerializableErrorInfo, known_state: KnownExecutionState
    ) -> DagsterEvent:
        """Log the loss of a step: as a retry the first time, then as its failure."""
        attempts = known_state.get_retry_state().get_attempt_count(step_context.step.key)
        if attempts + 1 < _TRIES and not step_context.retry_mode.disabled:
            data = StepRetryData(error=err_info, seconds_to_wait=None)  # type: ignore[no-untyped-call]
            return DagsterEvent.step_retry_event(step_context, data)
        return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)


@dg.executor(
    name="step_pods",
    config_schema=k8s.EXECUTOR_CONFIG,
    requirements=dg.multiple_process_executor_requirements(),
)
def step_pods(context: dg.InitExecutorContext) -> LostStepExecutor:
    """Run every step as a Kubernetes job; takes the configuration of `dagster_k8s.k8s_job_executor`."""
    executor = k8s.create_executor(context)
    return LostStepExecutor(
        ExplainedStepHandler(k8s.step_handler_of(executor)),
        retries=executor.retries,
        check_step_health_interval_seconds=_HEALTH_SECONDS,
        max_concurrent=k8s.max_concurrent_of(executor),
        tag_concurrency_limits=k8s.tag_limits_of(executor),
        should_verify_step=True,
        step_dependency_config=executor.step_dependency_config,
    )

"""What steps as pods borrow from inside dagster-k8s and from Dagster's executors that hand on their steps.

Importing it takes most of a second, for Kubernetes' client: only what runs in a cluster does.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.execution.context.system import IStepContext
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)
from dagster_k8s.executor import K8sStepHandler, k8s_job_executor

if TYPE_CHECKING:
    from kubernetes.client import V1Pod

__all__ = [
    "EXECUTOR_CONFIG",
    "CheckStepHealthResult",
    "EngineEventData",
    "IStepContext",
    "K8sStepHandler",
    "KnownExecutionState",
    "StepDelegatingExecutor",
    "StepHandler",
    "StepHandlerContext",
    "StepRetryData",
    "create_executor",
    "job_of",
    "max_concurrent_of",
    "pods_of",
    "step_handler_of",
    "step_of",
    "tag_limits_of",
]

EXECUTOR_CONFIG: Any = k8s_job_executor.config_schema
"""Configuration that `create_executor` takes."""


def create_executor(context: dg.InitExecutorContext) -> StepDelegatingExecutor:
    """Return the executor of `dagster_k8s`, which runs every step as a Kubernetes job."""
    create: Any = k8s_job_executor.executor_creation_fn
    executor: StepDelegatingExecutor = create(context)
    return executor


def step_handler_of(executor: StepDelegatingExecutor) -> K8sStepHandler:
    """Return what creates, watches and deletes the jobs of the executor's steps."""
    handler = executor._step_handler
    assert isinstance(handler, K8sStepHandler)
    return handler


def max_concurrent_of(executor: StepDelegatingExecutor) -> int | None:
    """Return how many steps the executor runs at a time; None means any number."""
    return executor._max_concurrent


def tag_limits_of(executor: StepDelegatingExecutor) -> list[dict[str, Any]]:
    """Return how many steps of some tags the executor runs at a time."""
    return list(executor._tag_concurrency_limits)


def job_of(handler: K8sStepHandler, context: StepHandlerContext) -> str:
    """Return the name of the Kubernetes job of a step."""
    return str(handler._get_k8s_step_job_name(context))


def pods_of(handler: K8sStepHandler, context: StepHandlerContext) -> "Sequence[V1Pod]":
    """Return the pods of the Kubernetes job of a step."""
    namespace = handler._get_container_context(context).namespace
    pods: Sequence[V1Pod] = handler._api_client.get_pods_in_job(job_of(handler, context), namespace)
    return pods


def step_of(handler: K8sStepHandler, context: StepHandlerContext) -> IStepContext:
    """Return the step, for events to be logged of it."""
    return context.get_step_context(handler._get_step_key(context))

"""What steps as pods borrow from inside dagster-k8s and Dagster is still there, and still takes what it is given."""

from pathlib import Path

import pytest

from tests.resources.adapters.borrowed import Borrowed, imported, private_imports, require

ADAPTER = "resources/adapters/dagster_k8s.py"
USE = "steps as pods, in resources.step_pods"
SELF = object()

K8S = [
    Borrowed("dagster_k8s.executor:k8s_job_executor.config_schema", USE),
    Borrowed("dagster_k8s.executor:k8s_job_executor.executor_creation_fn", USE, ("context",)),
    Borrowed("dagster_k8s.executor:K8sStepHandler.name", USE),
    Borrowed("dagster_k8s.executor:K8sStepHandler.launch_step", USE, (SELF, "context")),
    Borrowed("dagster_k8s.executor:K8sStepHandler.terminate_step", USE, (SELF, "context")),
    Borrowed("dagster_k8s.executor:K8sStepHandler.check_step_health", USE, (SELF, "context")),
    Borrowed("dagster_k8s.executor:K8sStepHandler._get_step_key", USE, (SELF, "context")),
    Borrowed("dagster_k8s.executor:K8sStepHandler._get_k8s_step_job_name", USE, (SELF, "context")),
    Borrowed("dagster_k8s.executor:K8sStepHandler._get_container_context", USE, (SELF, "context")),
    Borrowed("dagster_k8s.container_context:K8sContainerContext.namespace", USE),
    Borrowed("dagster_k8s.client:DagsterKubernetesClient.get_pods_in_job", USE, (SELF, "job", "namespace")),
]
DAGSTER = [
    Borrowed("dagster._core.events:EngineEventData", USE, ()),
    Borrowed("dagster._core.events:DagsterEvent.engine_event", USE, ("context", "message", "data")),
    Borrowed("dagster._core.events:DagsterEvent.step_retry_event", USE, ("context", "data")),
    Borrowed("dagster._core.execution.context.system:IStepContext.step", USE),
    Borrowed("dagster._core.execution.context.system:IStepContext.retry_mode", USE),
    Borrowed("dagster._core.execution.retries:RetryMode.disabled", USE),
    Borrowed("dagster._core.execution.retries:RetryState.get_attempt_count", USE, (SELF, "step")),
    Borrowed("dagster._core.execution.plan.objects:StepRetryData", USE, (), {"error": None, "seconds_to_wait": None}),
    Borrowed("dagster._core.execution.plan.state:KnownExecutionState.get_retry_state", USE, (SELF,)),
    Borrowed("dagster._core.executor.step_delegating:CheckStepHealthResult.is_healthy", USE),
    Borrowed("dagster._core.executor.step_delegating:CheckStepHealthResult.unhealthy_reason", USE),
    Borrowed("dagster._core.executor.step_delegating:CheckStepHealthResult.unhealthy", USE, ("reason",)),
    Borrowed("dagster._core.executor.step_delegating:StepHandler.launch_step", USE, (SELF, "context")),
    Borrowed("dagster._core.executor.step_delegating:StepHandler.terminate_step", USE, (SELF, "context")),
    Borrowed("dagster._core.executor.step_delegating:StepHandler.check_step_health", USE, (SELF, "context")),
    Borrowed("dagster._core.executor.step_delegating:StepHandlerContext.get_step_context", USE, (SELF, "step")),
    Borrowed(
        "dagster._core.executor.step_delegating:StepDelegatingExecutor",
        USE,
        ("handler",),
        {
            "retries": None,
            "check_step_health_interval_seconds": 10,
            "max_concurrent": None,
            "tag_concurrency_limits": [],
            "should_verify_step": True,
            "step_dependency_config": None,
        },
    ),
    Borrowed("dagster._core.executor.step_delegating:StepDelegatingExecutor.retries", USE),
    Borrowed("dagster._core.executor.step_delegating:StepDelegatingExecutor.step_dependency_config", USE),
    Borrowed(
        "dagster._core.executor.step_delegating:StepDelegatingExecutor.log_failure_or_retry_event_after_error",
        USE,
        (SELF, "context", "error", "state"),
    ),
]


@pytest.mark.parametrize("borrowed", K8S, ids=str)
def test_what_the_adapter_borrows_of_dagster_k8s_is_there(borrowed: Borrowed) -> None:
    require(borrowed, "dagster-k8s", ADAPTER)


@pytest.mark.parametrize("borrowed", DAGSTER, ids=str)
def test_what_the_adapter_borrows_of_dagster_is_there(borrowed: Borrowed) -> None:
    require(borrowed, "dagster", ADAPTER)


def test_no_import_of_the_adapter_is_forgotten_here() -> None:
    assert private_imports(ADAPTER, "dagster._", "dagster_k8s") <= imported([*K8S, *DAGSTER])


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
"""


def test_what_an_executor_keeps_to_itself_is_still_under_these_names(tmp_path: Path) -> None:
    from dagster._core.execution.retries import RetryMode
    from dagster_k8s.container_context import K8sContainerContext

    from resources.adapters import dagster_k8s as adapter

    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    handler = adapter.K8sStepHandler(
        image="wafer:1",
        container_context=K8sContainerContext(),
        load_incluster_config=False,
        kubeconfig_file=str(tmp_path / "kubeconfig"),
    )
    limits = [{"key": "size", "value": "large", "limit": 1}]
    executor = adapter.StepDelegatingExecutor(
        handler, retries=RetryMode.ENABLED, max_concurrent=3, tag_concurrency_limits=limits
    )
    kept = "dagster-k8s or dagster keeps it elsewhere now; see resources/adapters/dagster_k8s.py"
    assert hasattr(handler, "_api_client"), kept
    assert adapter.step_handler_of(executor) is handler, kept
    assert adapter.max_concurrent_of(executor) == 3, kept
    assert adapter.tag_limits_of(executor) == limits, kept

"""What is said of a step that lost its pod, or whose pod waits."""

from kubernetes.client import (
    V1Container,
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStatus,
    V1Pod,
    V1PodCondition,
    V1PodSpec,
    V1PodStatus,
    V1ResourceRequirements,
)

from resources.step_pods import why_dead, why_waiting


def pod(exit_code: int, why: str, limits: dict[str, str] | None = None, **status: str) -> V1Pod:
    ended = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=exit_code, reason=why))
    container = V1Container(name="dagster", resources=V1ResourceRequirements(limits=limits))
    found = V1ContainerStatus(
        name="dagster", image="wafer:1", image_id="", ready=False, restart_count=0, state=ended, started=False
    )
    return V1Pod(spec=V1PodSpec(containers=[container]), status=V1PodStatus(container_statuses=[found], **status))


def test_a_killed_step_names_its_memory_limit_and_where_to_raise_it() -> None:
    (reason,) = why_dead([pod(137, "OOMKilled", {"memory": "512Mi"})])
    assert "OOMKilled" in reason
    assert "512Mi" in reason
    assert "jobs/pod_sizes.py" in reason


def test_without_a_limit_it_was_the_node_that_had_no_memory_left() -> None:
    (reason,) = why_dead([pod(137, "OOMKilled")])
    assert "of its node" in reason


def test_any_other_end_is_told_with_its_exit_code() -> None:
    assert why_dead([pod(3, "Error")]) == ["Its container ended with exit code 3 (Error)."]


def test_an_evicted_pod_says_what_the_cluster_said() -> None:
    reasons = why_dead([pod(137, "Error", reason="Evicted", message="The node was low on resource: memory.")])
    assert reasons[0] == "Its pod was ended by the cluster: Evicted: The node was low on resource: memory."


def test_a_pod_that_is_gone_or_ended_well_tells_nothing() -> None:
    assert why_dead([]) == []
    assert why_dead([pod(0, "Completed")]) == []


def test_a_pod_that_no_node_has_room_for_tells_what_the_scheduler_says() -> None:
    said = "0/3 nodes are available: 3 Insufficient memory."
    unscheduled = V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=said)
    (reason,) = why_waiting([V1Pod(status=V1PodStatus(conditions=[unscheduled]))])
    assert said in reason


def test_a_pod_that_starts_waits_for_nothing() -> None:
    scheduled = V1PodCondition(type="PodScheduled", status="True")
    assert why_waiting([V1Pod(status=V1PodStatus(conditions=[scheduled])), V1Pod(status=V1PodStatus())]) == []

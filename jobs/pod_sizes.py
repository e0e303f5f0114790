"""What the pods of a training ask for: the one table of CPU and memory per step.

Memory is the peak that ``python -m benchmarks.step_memory`` measures of a step at 15,000 wafers, ten times the real
line's table, with the margin below, rounded up. A step that passes it is killed, reported with its limit, and tried
once more. There is no limit on CPU: a throttled learner only holds its memory for longer. Requests of memory equal the
limits, so that no node promises what it has not got.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PodSize:
    """What the pod of one step gets.

    Attributes
    ----------
    cpu : CPUs that are reserved
    memory_mib : memory in MiB, reserved and at most
    """

    cpu: float
    memory_mib: int

    @property
    def k8s_config(self) -> dict[str, Any]:
        """The configuration of the step's container, as dagster-k8s takes it."""
        memory = f"{self.memory_mib}Mi"
        requests = {"cpu": f"{round(self.cpu * 1000)}m", "memory": memory}
        return {"container_config": {"resources": {"requests": requests, "limits": {"memory": memory}}}}


MARGIN = 1.5
"""Of a step's memory over the largest that the benchmark saw it hold."""

SMALL = PodSize(cpu=0.25, memory_mib=512)
"""Of steps that are not named: they read or write a little and compute nothing."""

STEPS: Mapping[str, PodSize] = {
    "ingest_training_batches": PodSize(cpu=1, memory_mib=512),
    "training__wafer_table": PodSize(cpu=1, memory_mib=768),
    "training__preprocessor": PodSize(cpu=1, memory_mib=1024),
    "training__features": PodSize(cpu=1, memory_mib=1024),
    "training__elbow": PodSize(cpu=1, memory_mib=1024),
    "cluster_wafers": PodSize(cpu=1, memory_mib=1024),
    "fit_group": PodSize(cpu=0.5, memory_mib=1024),
    "collect_groups": PodSize(cpu=0.25, memory_mib=768),
    "training__evaluation": PodSize(cpu=1, memory_mib=3072),
    "training__model_bundle": PodSize(cpu=1, memory_mib=1280),
    "training__champion": PodSize(cpu=1, memory_mib=768),
}
"""By the name of the op, without the line that it begins with."""

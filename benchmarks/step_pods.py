"""What a pod per step costs a training, against the same training in one pod.

Run with ``python -m benchmarks.step_pods --help``.
"""

import sys
import time
from pathlib import Path

import click

from benchmarks.report import Figure, report

_HERE = "--on-this-cluster"


@click.command()
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option(_HERE, "here", is_flag=True, hidden=True, help="The environment says where the cluster is.")
def main(json_path: Path | None, here: bool) -> None:
    """Train on a Kubernetes cluster, in a pod per step and then in one pod, and compare.

    The cluster is that of KUBECONFIG or a one-node one, as for ``make test-kubernetes``; WAFER_TEST_BATCHES names the
    folder of batch files to train on. Both runs are the job `train` on the same table, launched through the webserver
    and timed from the request to the end. On a cluster of one small node the steps share what one pod has for itself;
    what they can win, cores and memory of their own, is not in these figures.
    """
    if not here:
        from tests.kubernetes.kit import on_a_cluster

        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.step_pods", _HERE]
        sys.exit(on_a_cluster([*command, "--json", str(json_path.absolute())] if json_path else command))
    report("A pod per step", measure(), json_path)


def measure() -> list[Figure]:
    """Train both ways; one figure for each, and how they compare."""
    from tests.kubernetes.cluster import STEP
    from tests.kubernetes.platform import Platform, given_batches, running_platform
    from tests.landing import land

    def timed(platform: Platform, job: str, tags: dict[str, str]) -> tuple[float, str]:
        started = time.monotonic()
        run_id = platform.launch(job, tags)
        if platform.finished(run_id, 900).value != "SUCCESS":
            raise RuntimeError(platform.messages(run_id))
        return time.monotonic() - started, run_id

    with running_platform() as platform:
        timed(platform, "secom__ingest_training", land(platform.settings, platform.instance, given_batches()))
        timed(platform, "secom__train", {})  # makes the table, which later ones find unchanged
        in_pods, run_id = timed(platform, "secom__train", {})
        steps = len(platform.cluster.pods_of(run_id, STEP))
        platform.roll(env=[{"name": "WAFER_EXECUTOR", "value": "in_process"}])
        settings = {"data": {"WAFER_EXECUTOR": "in_process"}}
        platform.cluster.core.patch_namespaced_config_map("wafer-settings", platform.cluster.namespace, settings)
        in_one, run_id = timed(platform, "secom__train", {})
        if platform.cluster.pods_of(run_id, STEP):
            raise RuntimeError("the steps of the second run had pods of their own")
    return [
        Figure("train, one pod for all steps", in_one, "s"),
        Figure("train, a pod per step", in_pods, "s", note=f"{steps} pods"),
        Figure("a pod per step, to one pod", in_pods / in_one),
        Figure("overhead a step", (in_pods - in_one) / steps, "s"),
    ]


if __name__ == "__main__":
    main()

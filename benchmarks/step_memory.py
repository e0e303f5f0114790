"""What the steps of a training hold in memory: the figures behind the sizes of their pods.

Run with ``python -m benchmarks.step_memory --help``.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.report import Figure, Goal, Meter, report
from jobs.pod_sizes import MARGIN, STEPS
from schemas.loader import load_schema

TRAINING = load_schema("training").line_feed

# In the order in which they run: a step, and the assets that it makes.
STEPS_OF_TRAIN = {
    "training__wafer_table": ("wafer_table",),
    "training__preprocessor": ("preprocessor",),
    "training__features": ("features",),
    "training__elbow": ("elbow",),
    "cluster_wafers": ("clusterer", "cluster_labels"),
    # All groups one after the other in one process, which holds no less than each in its own.
    "fit_group": ("cluster_models",),
    "training__evaluation": ("evaluation",),
    "training__model_bundle": ("model_bundle",),
    "training__champion": ("champion",),
}
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
INGESTION = "ingest_training_batches"


@click.command()
@click.option("--files", default=150, show_default=True, help="Simulated batch files of 100 wafers.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulated files.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--one", hidden=True, help="Run this step in this process, on running services, and print JSON.")
def main(files: int, seed: int, json_path: Path | None, one: str | None) -> None:
    """Ingest simulated files and train on them, each step in a process of its own, as in a pod.

    A figure is the largest sum of the resident memory of a step's processes. Its goal is the memory of the step's pod
    divided by the margin that `jobs.pod_sizes` states.
    """
    if one is not None:
        click.echo(json.dumps(measure(one)))
        return
    from resources.local_services import LocalServices
    from resources.s3 import S3Store
    from wafer_assets.domain.simulation import simulate_batches
    from wafer_assets.keys import landing_key
    from wafer_assets.settings import Settings

    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServices(Settings(state_dir=Path(folder))) as settings,
    ):
        s3 = S3Store(settings)
        for batch in simulate_batches(files, feed="training", seed=seed):
            s3.put(s3.landing, landing_key(TRAINING, batch.name), batch.content)
        for step in (INGESTION, *STEPS_OF_TRAIN):
            click.echo(f"{step} …", err=True)
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.step_memory", "--one", step]
            environment = os.environ | {"WAFER_STATE_DIR": folder, "GIT_PYTHON_REFRESH": "quiet"}
            finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            found = json.loads(finished.stdout.splitlines()[-1])
            goal = Goal("<=", STEPS[step].memory_mib / MARGIN)
            rows.append(
                Figure(f"{step}, {files * 100:,} wafers", found["peak_mb"], "MiB", goal, f"{found['seconds']:.1f} s")
            )
    if not report("Steps of a training", rows, json_path):
        sys.exit(1)


def measure(step: str) -> dict[str, float]:
    """Run one step on the services of the environment; its peak memory in MiB and its seconds."""
    from resources.mongo import WaferStore
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.definitions import build_defs
    from wafer_assets.keys import training_key
    from wafer_assets.operations.landing import take_up
    from wafer_assets.settings import load_settings

    settings = load_settings()
    with open_instance(settings) as instance, Meter() as meter:
        if step == INGESTION:
            (landed,) = take_up(instance, TRAINING, S3Store(settings), WaferStore(settings))
            job, chosen, tags = "secom__ingest_training", None, landed.tags
        else:
            job, chosen, tags = "secom__train", [training_key("secom", name) for name in STEPS_OF_TRAIN[step]], {}
        result = (
            build_defs(settings)
            .resolve_job_def(job)
            .execute_in_process(instance=instance, asset_selection=chosen, tags=tags, run_config=QUIET)
        )
        if not result.success:
            raise RuntimeError(f"{step} failed")
    return {"peak_mb": meter.peak_mb, "seconds": meter.wall_seconds}


if __name__ == "__main__":
    main()

"""What ingesting a batch file costs, and whether that stays constant with their number.

Run with ``python -m benchmarks.ingest --help``.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from unittest.mock import patch

import click

from benchmarks.report import Figure, Goal, Meter, report
from schemas.loader import load_schema

TRAINING = load_schema("training").line_feed
SIZES = (100, 500, 2_000)
SECONDS_PER_FILE = 0.15
MEMORY_GROWTH = 1.25


@click.command()
@click.option("--files", multiple=True, type=int, default=SIZES, show_default=True, help="Numbers of files.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulated files.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--one", type=int, hidden=True, help="Ingest this many files in this process and print JSON.")
def main(files: tuple[int, ...], seed: int, json_path: Path | None, one: int | None) -> None:
    """Ingest simulated files of 100 wafers, each number of them in one run on fresh local services.

    A file's cost is the wall time of the run, from its creation to its end, divided by the files. The stages are
    what is spent per file in validation, S3 and MongoDB; two files are worked on at a time while Dagster writes its
    events, and the copy in the lake is written during the stage of MongoDB: they add up to more than the wall time.
    Every number of files runs in a process of its own, so that peak memory is its own; the servers' memory has bounds
    of its own, which large numbers of files fill.
    """
    if one is not None:
        click.echo(json.dumps(ingest(one, seed)))
        return
    measured: dict[int, dict[str, float]] = {}
    for count in sorted(files):
        click.echo(f"{count:,} files …", err=True)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.ingest", "--one", str(count), "--seed", str(seed)]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured[count] = json.loads(finished.stdout)
    if not report("Ingestion", figures(measured), json_path):
        sys.exit(1)


def ingest(files: int, seed: int) -> dict[str, float]:
    """Ingest files in one run; seconds per file and stage, and peak memory in MB."""
    from resources.local_services import LocalServices
    from resources.mongo import WaferStore
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import open_instance, run_job
    from wafer_assets.domain.simulation import simulate_batches
    from wafer_assets.keys import landing_key
    from wafer_assets.operations import ingestion
    from wafer_assets.operations.landing import take_up
    from wafer_assets.settings import Settings

    seconds: dict[str, float] = defaultdict(float)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServices(Settings(state_dir=Path(folder)), ("s3", "mongo")) as settings,
        open_instance(settings) as instance,
    ):
        s3 = S3Store(settings)
        for batch in simulate_batches(files, feed="training", seed=seed):
            s3.put(s3.landing, landing_key(TRAINING, batch.name), batch.content)
        started = time.perf_counter()
        (landed,) = take_up(instance, TRAINING, s3, WaferStore(settings))
        registered = time.perf_counter() - started
        with (
            timed(ingestion, "validate", "validation", seconds),
            timed(S3Store, "get", "S3", seconds),
            timed(S3Store, "put", "S3", seconds),
            timed(WaferStore, "replace_batch", "MongoDB", seconds),
            Meter() as run,
        ):
            result = run_job(settings, instance, "secom__ingest_training", tags=landed.tags)
        store = WaferStore(settings)
        accepted = store.batches(TRAINING, "accepted")
        if not result.success or len(accepted) != files or store.miscounted(TRAINING, accepted):
            raise RuntimeError("the run did not ingest every file")
    stages = {stage: value / files for stage, value in seconds.items()}
    return {
        "registration": registered / files,
        **stages,
        "a file": run.wall_seconds / files,
        "peak_mb": getrusage(RUSAGE_SELF).ru_maxrss / 2**10,
        "server_mb": run.peak_process_mb,
    }


@contextmanager
def timed(owner: object, name: str, stage: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add the time spent in a function to a stage."""
    function: Callable[..., object] = getattr(owner, name)

    def measured(*args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.perf_counter() - started

    with patch.object(owner, name, measured):
        yield


def figures(measured: dict[int, dict[str, float]]) -> list[Figure]:
    """Return one figure per number of files and stage, then how the largest compares with the smallest."""
    rows = []
    for count, stages in measured.items():
        for stage, value in stages.items():
            memory = {"peak_mb": "peak memory", "server_mb": "peak memory of the largest process, servers included"}
            goal = Goal("<=", SECONDS_PER_FILE) if stage == "a file" else None
            note = "" if stage in memory else f"{1 / value:,.0f} files/s"
            unit = "MB" if stage in memory else "s"
            rows.append(Figure(f"{count:,} files: {memory.get(stage, stage)}", value, unit, goal, note))
    smallest, largest = measured[min(measured)], measured[max(measured)]
    for name, stage in (("seconds per file", "a file"), ("peak memory", "peak_mb")):
        rows.append(
            Figure(
                f"{name}, most files to fewest",
                largest[stage] / smallest[stage],
                goal=Goal("<=", MEMORY_GROWTH),
            )
        )
    return rows


if __name__ == "__main__":
    main()

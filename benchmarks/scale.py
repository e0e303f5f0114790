"""How training grows with the number of wafers: time and memory per stage on simulated tables.

Run with ``python -m benchmarks.scale --help``.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.report import Figure, Goal, Meter, report

SIZES = (1_500, 15_000, 150_000)


@click.command()
@click.option("--wafers", multiple=True, type=int, default=SIZES, show_default=True, help="Table sizes.")
@click.option("--threads", default=2, show_default=True, help="Threads that fit learners side by side.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulated tables.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--one", type=int, hidden=True, help="Train on one table in this process and print JSON.")
def main(wafers: tuple[int, ...], threads: int, seed: int, json_path: Path | None, one: int | None) -> None:
    """Train the whole fault model, without its repeated evaluation, on tables of growing size.

    Every size runs in a process of its own, so that peak memory is its own; the simulated table itself is in
    it (708 MB at 150,000 wafers x 590 sensors). Growth is the exponent b of time ~ wafers^b between
    neighbouring sizes: 1 is linear. Goals hold at 150,000 wafers.
    """
    if one is not None:
        click.echo(json.dumps(train(one, threads, seed)))
        return
    measured: dict[int, dict[str, float]] = {}
    for size in sorted(wafers):
        click.echo(f"{size:,} wafers …", err=True)
        command = [sys.executable, "-m", "benchmarks.scale", "--one", str(size)]
        command += ["--threads", str(threads), "--seed", str(seed)]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured[size] = json.loads(finished.stdout)
    if not report("Training at scale", figures(measured), json_path):
        sys.exit(1)


def train(wafers: int, threads: int, seed: int) -> dict[str, float]:
    """Train stage by stage as the asset graph does; seconds per stage and peak memory in MB."""
    from wafer_assets.domain.config import ModelConfig
    from wafer_assets.domain.simulation import simulate_table
    from wafer_assets.domain.table import sensor_readings
    from wafer_assets.domain.training import (
        assemble,
        find_elbow,
        fit_cluster,
        fit_clusterer,
        fit_members,
        fit_preprocessor,
    )

    config = ModelConfig()
    table = simulate_table(wafers, seed=seed)
    y = table["faulty"].to_numpy(dtype=int)
    readings = sensor_readings(table)
    del table
    seconds: dict[str, float] = {}
    with Meter() as total:
        with Meter() as stage:
            preprocessor = fit_preprocessor(readings, config)
        seconds["preprocessor"] = stage.wall_seconds
        with Meter() as stage:
            features = preprocessor.transform(readings)
        seconds["features"] = stage.wall_seconds
        with Meter() as stage:
            k = find_elbow(features, config).k
        seconds["elbow"] = stage.wall_seconds
        with Meter() as stage:
            clusterer = fit_clusterer(features, k, config)
            labels = clusterer.predict(features)
        seconds["cluster_labels"] = stage.wall_seconds
        with Meter() as stage:
            overall = fit_members(features, y, config, threads)
            clusters = [fit_cluster(features, y, labels, one, config, threads) for one in range(k)]
        seconds["cluster_models"] = stage.wall_seconds
        with Meter() as stage:
            model = assemble(preprocessor, clusterer, overall, clusters, labels, y, config)
        seconds["model_bundle"] = stage.wall_seconds
    with Meter() as stage:
        model.predict_proba(readings.iloc[:1_000])
    return {
        **seconds,
        "total": total.wall_seconds,
        "predict 1,000": stage.wall_seconds,
        "cpu": total.cpu_seconds,
        "peak_mb": total.peak_process_mb,
        "clusters": k,
    }


def figures(measured: dict[int, dict[str, float]]) -> list[Figure]:
    """Return one figure per size and stage, with the growth from the size before."""
    rows = []
    sizes = list(measured)
    for before, size in zip([None, *sizes], sizes, strict=False):
        for stage, value in measured[size].items():
            goal = {("total", SIZES[-1]): Goal("<=", 120), ("peak_mb", SIZES[-1]): Goal("<=", 3_000)}
            unit = {"peak_mb": "MB", "clusters": ""}.get(stage, "s")
            note = ""
            if before is not None and unit and min(value, measured[before][stage]) > 0:
                growth = math.log(value / measured[before][stage]) / math.log(size / before)
                note = f"growth {growth:.2f}"
            rows.append(Figure(f"{size:,} wafers: {stage}", value, unit, goal.get((stage, size)), note))
    return rows


if __name__ == "__main__":
    main()

"""How fast wafers are scored: in batches with and without evidence, and online behind the scoring server.

Run with ``python -m benchmarks.scoring --help``.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click
import numpy as np

from benchmarks.report import Figure, Goal, Meter, report
from resources.local_services import free_port

if TYPE_CHECKING:
    import pandas as pd

    from wafer_assets.domain.scoring import Bundle

SIZES = (100, 10_000, 100_000)
REQUESTS = ((1, 8), (100, 8), (1_000, 8), (1_000, 1))  # wafers, clients
TRAINING_WAFERS = 1_500
BUNDLE_VARIABLE = "WAFER_BENCHMARK_BUNDLE"


@click.command()
@click.option("--wafers", multiple=True, type=int, default=SIZES, show_default=True, help="Sizes of batches.")
@click.option("--workers", default=2, show_default=True, help="Processes of the scoring server.")
@click.option("--seconds", default=10.0, show_default=True, help="How long each size of request is sent.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulated wafers.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--one", type=int, hidden=True, help="Score one batch in this process and print JSON.")
def main(
    wafers: tuple[int, ...], workers: int, seconds: float, seed: int, json_path: Path | None, one: int | None
) -> None:
    """Score simulated wafers with a model trained on 1,500, in batches and through the scoring server.

    Every batch is scored in a process of its own on one thread, once loaded; its peak memory includes the
    wafers themselves (472 MB at 100,000). The ratio compares scoring in a batch with one wafer after the other
    through MLflow's pyfunc, which checks its signature. Online, clients on kept connections each send their
    next request when they have the answer; they share the cores with the server.
    """
    if one is not None:
        click.echo(json.dumps(score_batch(one, seed)))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[BUNDLE_VARIABLE] = str(Path(folder, "bundle.skops"))
        click.echo("training …", err=True)
        Path(os.environ[BUNDLE_VARIABLE]).write_bytes(train(seed))
        rows = []
        for size in sorted(wafers):
            click.echo(f"{size:,} wafers …", err=True)
            command = [sys.executable, "-m", "benchmarks.scoring", "--one", str(size), "--seed", str(seed)]
            finished = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            rows += batch_figures(size, json.loads(finished.stdout))
        click.echo("online …", err=True)
        rows += online(workers, seconds, seed)
    if not report("Scoring", rows, json_path):
        sys.exit(1)


def train(seed: int) -> bytes:
    """Return a bundle as it is stored."""
    from schemas.loader import load_schema
    from wafer_assets.domain.persistence import dump
    from wafer_assets.domain.scoring import make_bundle
    from wafer_assets.domain.simulation import simulate_table
    from wafer_assets.domain.table import sensor_readings
    from wafer_assets.domain.training import FaultModel

    table = simulate_table(TRAINING_WAFERS, seed=seed)
    readings = sensor_readings(table)
    model = FaultModel(n_jobs=os.cpu_count() or 1).fit(readings, table["faulty"])
    features = model.preprocessor_.transform(readings)
    bundle = make_bundle(
        model,
        table,
        model.clusterer_.predict(features),
        model.clusterer_.coordinates(features)[:, :2],
        contract_version="1.0",
        optional=load_schema("training").optional_columns,
        card={},
    )
    return dump(bundle)


def new_wafers(count: int, seed: int) -> pd.DataFrame:
    """Simulate wafers that come after those of the training."""
    from wafer_assets.domain.simulation import simulate_table

    table = simulate_table(count, seed=seed + 1, first_wafer=TRAINING_WAFERS + 1)
    return table.drop(columns=["batch", "faulty"])


def stored_bundle() -> Bundle:
    """Load the bundle of this benchmark."""
    from wafer_assets.domain.persistence import load
    from wafer_assets.domain.scoring import Bundle

    bundle = load(Path(os.environ[BUNDLE_VARIABLE]).read_bytes())
    assert isinstance(bundle, Bundle)
    return bundle


def score_batch(count: int, seed: int) -> dict[str, float]:
    """Score a batch with and without evidence, and a few wafers one at a time through the pyfunc."""
    from wafer_assets.domain.scoring import score

    table, bundle = new_wafers(count, seed), stored_bundle()
    score(bundle, table.head(2), 1)  # prepares the explanation
    seconds = {}
    # Memory first of what takes more: a process's resident memory hardly shrinks.
    with Meter() as meter:
        score(bundle, table, 1)
    seconds["with evidence"] = meter.wall_seconds
    peak = meter.peak_process_mb
    with Meter() as meter:
        score(bundle, table, 1, evidence=False)
    seconds["without evidence"] = meter.wall_seconds
    return {**seconds, "peak_mb": peak, "pyfunc_per_wafer": pyfunc_seconds(table.head(20))}


def pyfunc_seconds(table: pd.DataFrame) -> float:
    """Return the seconds a wafer takes through MLflow's pyfunc, which enforces its signature."""
    from mlflow import pyfunc

    from resources import bundle_pyfunc
    from resources.mlflow import bundle_signature
    from schemas.loader import load_schema

    schema = load_schema("training")
    with tempfile.TemporaryDirectory() as folder:
        pyfunc.save_model(
            f"{folder}/model",
            python_model=bundle_pyfunc.__file__,
            artifacts={"bundle": os.environ[BUNDLE_VARIABLE]},
            signature=bundle_signature(schema.sensors, schema.optional_columns),
            pip_requirements=[],
        )
        model = pyfunc.load_model(f"{folder}/model")
        wafers = [table.iloc[[row]] for row in range(len(table))]
        model.predict(wafers[0])
        start = time.perf_counter()
        for wafer in wafers:
            model.predict(wafer)
        return (time.perf_counter() - start) / len(wafers)


def batch_figures(size: int, measured: dict[str, float]) -> list[Figure]:
    """Return the figures of one size of batch."""
    goals = {SIZES[0]: Goal("<=", 0.3), SIZES[-1]: Goal("<=", 60)}
    rows = []
    for kind in ("with evidence", "without evidence"):
        goal = goals.get(size) if kind == "with evidence" else None
        speed = f"{size / measured[kind]:,.0f} wafers/s"
        rows.append(Figure(f"{size:,} wafers {kind}", measured[kind], "s", goal, speed))
    rows.append(
        Figure(
            f"{size:,} wafers: speed-up",
            measured["pyfunc_per_wafer"] * size / measured["with evidence"],
            note=f"one at a time through the pyfunc: {measured['pyfunc_per_wafer'] * 1_000:.1f} ms a wafer",
        )
    )
    memory = Goal("<=", 2_000) if size == SIZES[-1] else None
    rows.append(Figure(f"{size:,} wafers: peak memory", measured["peak_mb"], "MB", memory))
    return rows


def online(workers: int, seconds: float, seed: int) -> list[Figure]:
    """Measure the latency of the scoring server for requests of each size, and its memory."""
    from wafer_assets.web.champions import shared_folder
    from wafer_assets.web.guard import origins_of
    from wafer_assets.web.scoring import Served
    from wafer_assets.web.scoring_server import command, environment, prepare

    port = free_port()
    bodies = {count: request_body(new_wafers(count, seed)) for count, _ in REQUESTS}
    rows = []
    with Meter() as meter, shared_folder() as folder:
        served = Served(line="secom", origins=origins_of("127.0.0.1", port))
        prepare(folder, served, 1, Path(os.environ[BUNDLE_VARIABLE]).read_bytes())
        process = subprocess.Popen(command(port, workers), env=environment(folder.path))
        try:
            await_answer(port, process)
            for count, clients in REQUESTS:
                latencies = closed_loop(port, bodies[count], seconds, clients)
                p50, p95 = np.quantile(latencies, [0.5, 0.95]) * 1_000
                what, note = (
                    f"online, {count:,} wafers, {clients} clients",
                    f"{len(latencies) * count / seconds:,.0f} wafers/s",
                )
                goal = {(1, 8): Goal("<=", 20), (1_000, 1): Goal("<=", 1_000)}.get((count, clients))
                rows.append(Figure(f"{what}: p50", p50, "ms", goal, note))
                rows.append(Figure(f"{what}: p95", p95, "ms"))
        finally:
            process.terminate()
            process.wait()
    rows.append(Figure("online: peak memory of a process", meter.peak_process_mb, "MB", note=f"{workers} workers"))
    return rows


def request_body(table: pd.DataFrame) -> bytes:
    """Write wafers as JSON, with null for missing readings."""
    data = [[None if cell != cell else cell for cell in row] for row in table.to_numpy(dtype=object).tolist()]
    return json.dumps({"dataframe_split": {"columns": list(table), "data": data}}).encode()


def await_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers and every worker had time to load."""
    while True:
        if process.poll() is not None:
            raise click.ClickException("The scoring server ended by itself; it has said why above.")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/ping")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.2)
        else:
            time.sleep(3)
            return


def closed_loop(port: int, body: bytes, seconds: float, clients: int) -> list[float]:
    """Send a request again and again from every client; return the seconds until each answer."""
    latencies: list[float] = []
    failures: list[str] = []
    start = time.perf_counter()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.connect()
        while time.perf_counter() < start + seconds and not failures:
            sent = time.perf_counter()
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                failures.append(content[:500].decode())
            latencies.append(time.perf_counter() - sent)

    threads = [Thread(target=client) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if failures:
        raise click.ClickException(f"The scoring server refused a request: {failures[0]}")
    return latencies


if __name__ == "__main__":
    main()

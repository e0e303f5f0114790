"""How long a file that lands takes to become records and part of the table, by itself, and what that costs.

Run with ``python -m benchmarks.automation --help``.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psutil

from benchmarks.report import Figure, Goal, report
from schemas.loader import load_schema

if TYPE_CHECKING:
    import dagster as dg

    from wafer_assets.settings import Settings

ROOT = Path(__file__).parents[1]
TRAINING = load_schema("training").line_feed
DROPS = (1, 100, 2_000)
PATIENCE_SECONDS = 1_800
GOALS = {1: 75, 2_000: 480}
MAX_RUNS = 12


@click.command()
@click.option("--drop", "drops", multiple=True, type=int, default=DROPS, show_default=True, help="Files at once.")
@click.option("--stream", default=600, show_default=True, help="Files of the stream.")
@click.option("--rate", default=2.0, show_default=True, help="Files of the stream a second.")
@click.option("--known", default=20_000, show_default=True, help="Known files in the measurement of a single tick.")
@click.option("--wafers", default=100, show_default=True, help="Wafers per file.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
def main(drops: tuple[int, ...], stream: int, rate: float, known: int, wafers: int, json_path: Path | None) -> None:
    """Start the daemon on an empty state, drop files, then stream some, and watch them arrive.

    Local servers and `dagster-daemon` run as they do in `wafer dev`, with the default intervals; retraining is off.
    A drop's times run from its first upload to the last record, and to the table that holds all its wafers. A
    file's delay in the stream runs from its upload to its records. Memory is sampled once a second.
    """
    from resources.local_services import LocalServices
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.settings import Settings

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        click.echo(f"{sum(drops) + stream:,} files are made …", err=True)
        paths = simulate(files, sum(drops) + stream, wafers)
        state = Path(folder) / "state"
        with (
            LocalServices(Settings(state_dir=state)) as settings,
            open_instance(settings) as instance,
            daemon(settings),
        ):
            watch = Watch(settings, instance, wafers)
            with watch.memory():
                for count in drops:
                    click.echo(f"{count:,} files at once …", err=True)
                    figures += drop(watch, [next(paths) for _ in range(count)])
                if stream:
                    click.echo(f"{stream:,} files at {rate:g} a second …", err=True)
                    figures += flow(watch, [next(paths) for _ in range(stream)], rate)
            figures += watch.memory_figures()
    if known:
        click.echo(f"a tick with {known:,} known files …", err=True)
        figures += tick(known)
    if not report("Automation", figures, json_path):
        sys.exit(1)


def simulate(folder: Path, count: int, wafers: int) -> Iterator[Path]:
    """Write batch files and return their paths."""
    from schemas.loader import load_schema
    from wafer_assets.domain.simulation import simulate_batches

    folder.mkdir()
    for batch in simulate_batches(count, wafers, feed="training", schema=load_schema("training"), seed=0):
        (folder / batch.name).write_bytes(batch.content)
    return iter(sorted(folder.iterdir()))


@contextmanager
def daemon(settings: "Settings") -> Iterator[None]:
    """Run Dagster's daemon, with its code server, on the settings' state."""
    log = settings.state_dir / "daemon.log"
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(ROOT / "workspace.yaml")]
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(settings.state_dir / "dagster"),
        "WAFER_STATE_DIR": str(settings.state_dir),
        "WAFER_RETRAINING__ENABLED": "false",
        "PYTHONWARNINGS": "ignore",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(60)
            # The code server would wait for a heartbeat that does not come.
            _, alive = psutil.wait_procs(children, 5)
            for child in alive:
                child.kill()


@dataclass
class Watch:
    """Looks at what has arrived.

    Attributes
    ----------
    arrived
        When each batch was first seen with its outcome, by name.
    tables
        When a new table was first seen, and its rows.
    """

    settings: "Settings"
    instance: "dg.DagsterInstance"
    wafers: int
    sent: dict[str, float] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)
    tables: list[tuple[float, int]] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    runs_before: int = 0

    def send(self, path: Path) -> None:
        """Upload a file."""
        from resources.s3 import S3Store
        from wafer_assets.keys import landing_key

        store = S3Store(self.settings)
        store.put(store.landing, landing_key(TRAINING, path.name), path.read_bytes())
        self.sent[path.name] = time.time()

    def look(self) -> None:
        """Note what has arrived since the last look."""
        from resources.mongo import WaferStore
        from wafer_assets.keys import training_key

        now = time.time()
        for manifest in WaferStore(self.settings).batches(TRAINING):
            self.arrived.setdefault(manifest.batch, now)
        event = self.instance.get_latest_materialization_event(training_key("secom", "wafer_table"))
        if event and event.asset_materialization:
            rows = int(str(event.asset_materialization.metadata["dagster/row_count"].value))
            if not self.tables or self.tables[-1][1] != rows:
                self.tables.append((now, rows))

    def until(self, names: Sequence[str]) -> tuple[float, float]:
        """Wait until all files have their outcome and the table holds every wafer; return both times."""
        deadline = time.time() + PATIENCE_SECONDS
        while time.time() < deadline:
            self.look()
            complete = self.tables and self.tables[-1][1] == len(self.sent) * self.wafers
            if complete and all(name in self.arrived for name in names):
                return max(self.arrived[name] for name in names), self.tables[-1][0]
            time.sleep(1)
        missing = [name for name in names if name not in self.arrived]
        raise RuntimeError(f"{len(missing)} of {len(names)} files have no outcome after {PATIENCE_SECONDS} s")

    def runs(self) -> int:
        """Return how many runs were launched since the last call."""
        total = self.instance.get_runs_count()
        self.runs_before, before = total, self.runs_before
        return total - before

    @contextmanager
    def memory(self) -> Iterator[None]:
        """Sample the memory of every process of the platform."""
        stop = threading.Event()

        def sample() -> None:
            state = str(self.settings.state_dir)
            while not stop.wait(1):
                for process in psutil.process_iter():
                    with suppress(psutil.Error):
                        if state in process.environ().values():
                            name = _role(process.cmdline())
                            used = process.memory_info().rss / 2**20
                            self.peaks[name] = max(used, self.peaks.get(name, 0))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def memory_figures(self) -> list[Figure]:
        """Return the peak of every kind of process."""
        return [Figure(f"peak memory: {name}", peak, "MB") for name, peak in sorted(self.peaks.items())]


def _role(command: Sequence[str]) -> str:
    words = " ".join(command)
    for mark, role in (
        ("weed", "S3"),
        ("secantusd", "MongoDB"),
        ("mlflow", "MLflow"),
        ("dagster-daemon", "daemon"),
        ("spawn_main", "run"),
        ("api grpc", "code server"),
    ):
        if mark in words:
            return role
    return "other"


def drop(watch: Watch, paths: Sequence[Path]) -> list[Figure]:
    """Drop files at once and wait for them."""
    began = time.time()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(watch.send, paths))
    records, table = watch.until([path.name for path in paths])
    count, runs = len(paths), watch.runs()
    goal = Goal("<=", GOALS[count]) if count in GOALS else None
    label = f"{count:,} files" if count > 1 else "1 file"
    return [
        Figure(f"{label}: to records", records - began, "s", goal),
        Figure(f"{label}: to the table", table - began, "s"),
        Figure(f"{label}: runs", runs, "", Goal("<=", MAX_RUNS) if count == max(DROPS) else None),
    ]


def flow(watch: Watch, paths: Sequence[Path], rate: float) -> list[Figure]:
    """Upload files one after another and see how far the records and the table stay behind."""
    began = time.time()
    seen = len(watch.tables)

    def upload() -> None:
        for number, path in enumerate(paths):
            time.sleep(max(0.0, began + number / rate - time.time()))
            watch.send(path)

    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    while thread.is_alive():
        watch.look()
        time.sleep(1)
    ended = time.time()
    _, table = watch.until([path.name for path in paths])
    delays = [watch.arrived[path.name] - watch.sent[path.name] for path in paths]
    half = len(delays) // 2
    moments = [began, *(at for at, _ in watch.tables[seen:])]
    return [
        Figure("stream: median delay to records", statistics.median(delays), "s"),
        Figure("stream: largest delay to records", max(delays), "s"),
        Figure(
            "stream: median delay, second half to first",
            statistics.median(delays[half:]) / statistics.median(delays[:half]),
            goal=Goal("<=", 1.5),
            note="it keeps up",
        ),
        Figure("stream: longest time without a new table", max(b - a for a, b in pairwise(moments)), "s"),
        Figure("stream: table complete after the last upload", table - ended, "s"),
        Figure("stream: runs", watch.runs()),
    ]


def tick(known: int) -> list[Figure]:
    """Measure one tick of the landing sensor and of each automation sensor with many known files."""
    import dagster as dg

    from resources.local_services import LocalServices
    from resources.mongo import WaferStore
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.definitions import build_defs
    from wafer_assets.keys import landing_key
    from wafer_assets.operations.landing import take_up
    from wafer_assets.settings import Settings

    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServices(Settings(state_dir=Path(folder)), ("s3", "mongo")) as settings,
        open_instance(settings) as instance,
    ):
        store = S3Store(settings)
        names = [landing_key(TRAINING, f"wafer_{number:08d}_000000.csv") for number in range(known)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(store.landing, key, b"x"), names))
        take_up(instance, TRAINING, store, WaferStore(settings))
        defs = build_defs(settings)
        repository = defs.get_repository_def()
        times: dict[str, float] = {}
        cursor = None
        for _ in range(2):  # the first tick searches for what was forgotten, the second is as usual
            began = time.perf_counter()
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, resources={"s3": store, "wafers": WaferStore(settings)}
            )
            result = repository.get_sensor_def("secom__land_training_batches").evaluate_tick(context)
            cursor = result.cursor
            times.setdefault("landing, first tick" if not times else "landing", time.perf_counter() - began)
        automation = dg.evaluate_automation_conditions(defs, instance)
        began = time.perf_counter()
        dg.evaluate_automation_conditions(defs, instance, cursor=automation.cursor)
        times["all automation conditions"] = time.perf_counter() - began
    return [Figure(f"tick, {known:,} known files: {name}", value, "s", Goal("<=", 10)) for name, value in times.items()]


if __name__ == "__main__":
    main()

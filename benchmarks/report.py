"""What the benchmark scripts share: measuring a process tree, and one table of figures beside their goals."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a figure should keep."""

    relation: Literal["<=", ">="]
    bound: float

    def met(self, value: float) -> bool:
        """Say whether a figure keeps the bound; an undefined figure does not."""
        return value <= self.bound if self.relation == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.relation == '<=' else '≥'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes
    ----------
    name : what was measured
    value : the number
    unit : its unit; empty for a ratio or a score
    goal : the bound it should keep, if there is one
    note : what else a reader needs, such as the interval
    """

    name: str
    value: float
    unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, or by how much the goal is missed; empty without a goal."""
        if self.goal is None:
            return ""
        return "met" if self.goal.met(self.value) else f"missed by {abs(self.value - self.goal.bound):.3g}"


@dataclass
class Meter:
    """Wall time, CPU time and peak memory of this process and all its descendants inside a `with` block.

    Descendants are sampled, so that what one does in its last 0.05 s may be missed.

    Attributes
    ----------
    wall_seconds, cpu_seconds : float
    peak_mb : float, largest sum of resident memory of the tree
    peak_process_mb : float, largest resident memory of one process
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    peak_process_mb: float = 0.0
    _cpu: dict[tuple[int, float], float] = field(default_factory=dict, repr=False)
    _baseline: float = field(default=0.0, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def __enter__(self) -> Self:
        self._root = psutil.Process(os.getpid())
        self._sample()
        self._baseline = sum(self._cpu.values())
        self._started = time.perf_counter()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self.wall_seconds = time.perf_counter() - self._started
        self.cpu_seconds = sum(self._cpu.values()) - self._baseline

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        sizes = []
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                with process.oneshot():
                    used = process.cpu_times()
                    sizes.append(process.memory_info().rss / 2**20)
                    self._cpu[process.pid, process.create_time()] = used.user + used.system
            except psutil.NoSuchProcess:
                continue
        self.peak_mb = max(self.peak_mb, sum(sizes))
        self.peak_process_mb = max(self.peak_process_mb, *sizes)


def report(title: str, figures: Iterable[Figure], json_path: Path | None = None) -> bool:
    """Print the figures as one table, write them as JSON, and say whether every goal is met."""
    figures = list(figures)
    table = Table(title=title)
    for heading, justify in (
        ("figure", "left"),
        ("value", "right"),
        ("goal", "right"),
        ("", "left"),
        ("note", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for figure in figures:
        colour = "" if figure.goal is None else "green" if figure.verdict == "met" else "red"
        table.add_row(
            figure.name,
            f"{figure.value:,.4g} {figure.unit}".strip(),
            str(figure.goal or ""),
            f"[{colour}]{figure.verdict}[/]" if colour else "",
            escape(figure.note),
        )
    Console(width=None if Console().is_terminal else 140).print(table)
    if json_path is not None:
        machine = {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
        content = {
            "title": title,
            "machine": machine,
            "figures": [{**asdict(figure), "verdict": figure.verdict} for figure in figures],
        }
        json_path.write_text(json.dumps(content, indent=2) + "\n")
    return all(figure.verdict in {"", "met"} for figure in figures)

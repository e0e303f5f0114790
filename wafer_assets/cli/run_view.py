"""How a run is shown in the terminal while a command waits for it: its steps, their progress, their warnings."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import dagster as dg
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from wafer_assets.cli.console import console, printable

_COUNT = re.compile(r"(\d+) of (\d+) ")


class RunView(logging.Handler):
    """Shows the steps of a run as they start and end, and how far the running one is.

    A step tells how far it is by logging `<done> of <total> <things>`.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}

    @contextmanager
    def shown(self, title: str) -> Iterator[None]:
        """Show what is logged while the block runs."""
        console.print(title, style="bold")
        self._tasks.clear()
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
        )
        with warnings.catch_warnings():
            # Dagster is pinned, and what it calls beta is chosen with that in mind.
            warnings.simplefilter("ignore", dg.BetaWarning)
            with Progress(*columns, console=console, transient=True) as self._progress:
                yield
        self._progress = None

    def emit(self, record: logging.LogRecord) -> None:
        """Turn one Dagster log record into progress."""
        meta = getattr(record, "dagster_meta", None) or {}
        event: dg.DagsterEvent | None = meta.get("dagster_event")
        step = printable(str(meta.get("step_key") or "").replace("__", "/"))
        if event is None:
            self._message(record.levelno, step, str(meta.get("orig_message") or record.getMessage()))
        elif event.is_step_start:
            self._started[step] = monotonic()
            if self._progress:
                self._tasks[step] = self._progress.add_task(step, total=None)
        elif event.is_step_success or event.is_step_failure:
            if self._progress and step in self._tasks:
                self._progress.remove_task(self._tasks.pop(step))
            seconds = monotonic() - self._started.pop(step, monotonic())
            mark = ("✓", "green") if event.is_step_success else ("✗", "red")
            console.print(Text.assemble("  ", mark, f" {step} ", (f"{seconds:.1f} s", "dim")))

    def _message(self, level: int, step: str, message: str) -> None:
        if message.startswith("Dependencies for step "):
            return  # the step that failed is shown
        text = "\n".join(map(printable, message.splitlines()))
        if level >= logging.WARNING:
            console.print(Text.assemble("  ", ("!", "yellow"), f" {step}: {text}"))
        elif (count := _COUNT.match(message)) and self._progress and step in self._tasks:
            done, total = map(int, count.groups())
            self._progress.update(self._tasks[step], completed=done, total=total)
            if not console.is_terminal:
                console.print(f"    {step}: {text}")


view = RunView()


def _viewed_logger(_: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("wafer.terminal", logging.DEBUG)
    logger.addHandler(view)
    return logger


terminal_logger = dg.LoggerDefinition(_viewed_logger, description="Progress in the terminal of the `wafer` command.")

"""Asking all sources at once, none for longer than it may take, and telling of each whether it answered."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as PrometheusCollector

from resources.store_errors import in_short

DEADLINE = 5.0
"""Seconds that a source may take; Prometheus itself gives up after ten."""

_log = logging.getLogger("wafer.metrics")


@dataclass(frozen=True, slots=True)
class Source:
    """What one store tells.

    Attributes
    ----------
    name
        Value of the label `source`.
    read
        Returns the metrics; what it raises means that the store is away.
    """

    name: str
    read: Callable[[], Iterable[Metric]]


@dataclass
class _State:
    """Of one source between two scrapes."""

    running: "Future[list[Metric]] | None" = None
    seconds: float = 0.0
    errors: int = 0
    said: str = ""


class Collector(PrometheusCollector):
    """Reads all sources at every scrape.

    A source that fails or takes too long is left out, and the others are not. One that still hangs from the scrape
    before is not asked again until it has come back.

    Parameters
    ----------
    sources
        What to read.
    deadline
        Seconds that a source may take.
    """

    def __init__(self, sources: Sequence[Source], deadline: float = DEADLINE) -> None:
        self._sources = tuple(sources)
        self._deadline = deadline
        self._states = {source.name: _State() for source in self._sources}
        self._lock = Lock()  # two scrapes at a time would count a source's errors twice

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering a collector asks no store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the sources that answer, and of each source whether it did."""
        up = GaugeMetricFamily(
            "wafer_source_up", "Whether a source of metrics answered (1) or not (0).", None, ["source"]
        )
        took = GaugeMetricFamily(
            "wafer_source_read_seconds", "Time that reading a source took, failed or not.", None, ["source"]
        )
        errors = CounterMetricFamily("wafer_source_errors", "Scrapes that a source did not answer.", None, ["source"])
        with self._lock:
            end = time.monotonic() + self._deadline
            hanging = {source.name for source in self._sources if self._hangs(source)}
            for source in self._sources:
                if source.name not in hanging:
                    self._begin(source)
            for source in self._sources:
                state = self._states[source.name]
                found = None if source.name in hanging else self._result(source, end)
                state.errors += found is None
                up.add_metric([source.name], found is not None)
                took.add_metric([source.name], state.seconds)
                errors.add_metric([source.name], state.errors)
                yield from found or ()
        yield from (up, took, errors)

    def _hangs(self, source: Source) -> bool:
        running = self._states[source.name].running
        return running is not None and not running.done()

    def _begin(self, source: Source) -> None:
        state = self._states[source.name]
        state.running = future = Future[list[Metric]]()

        def read() -> None:
            begun = time.monotonic()
            try:
                found = list(source.read())
            except Exception as error:
                state.seconds = time.monotonic() - begun
                future.set_exception(error)
            else:
                state.seconds = time.monotonic() - begun
                future.set_result(found)

        # A thread that hangs on a server must not keep the process from ending.
        Thread(target=read, name=f"metrics of {source.name}", daemon=True).start()

    def _result(self, source: Source, end: float) -> list[Metric] | None:
        state = self._states[source.name]
        assert state.running is not None
        try:
            found = state.running.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            state.seconds = self._deadline
            self._say(source, f"no answer within {self._deadline:g} s")
        except Exception as error:
            self._say(source, in_short(error))
        else:
            state.said = ""
            return found
        return None

    def _say(self, source: Source, problem: str) -> None:
        # Once, for a store that is away is asked again every few seconds.
        state = self._states[source.name]
        if problem != state.said:
            _log.warning("No metrics of %s: %s", source.name, problem)
        state.said = problem


class Refreshed:
    """Reads what takes long beside the scrapes: each gets what was read last, with the time of it.

    Parameters
    ----------
    read
        Returns the metrics.
    seconds
        After which they are read again, when somebody asks.
    """

    def __init__(self, read: Callable[[], Iterable[Metric]], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._begun = float("-inf")
        self._found: list[Metric] = []
        self._error: Exception | None = None
        self._lock = Lock()

    def __call__(self) -> list[Metric]:
        """Return what was read last, nothing before the first time.

        Raises
        ------
        Exception
            That the last reading ended with.
        """
        with self._lock:
            if time.monotonic() - self._begun >= self._seconds:
                self._begun = float("inf")  # until it has ended
                Thread(target=self._refresh, name="metrics that take long", daemon=True).start()
            if self._error is not None:
                raise self._error
            return self._found

    def _refresh(self) -> None:
        begun = time.monotonic()
        try:
            found, error = list(self._read()), None
        except Exception as failed:
            found, error = [], failed
        with self._lock:
            self._begun, self._found, self._error = begun, found, error

"""The processes of Dagster behind `wafer dev`: started, looked after, and never left behind.

What ends by itself is started again, after longer and longer pauses, and a limit. A code server whose child was killed
answers nothing for good unless it is told to load the code again.
"""

import http.client
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress

import psutil

from resources.adapters.dagster import load_code_again
from resources.local_services.restarts import LIMIT, WINDOW_SECONDS, Restarts
from resources.reaper import MARK, end_marked, marked
from wafer_assets.cli.console import console

_STOP_SECONDS = 30
_LOOK_SECONDS = 3.0
_RELOAD_SECONDS = 120


class DagsterEndedError(RuntimeError):
    """Dagster's processes ended by themselves, again and again."""

    code = "dagster_ended"


class DagsterProcesses:
    """Dagster's UI, daemon and code servers, and the runs that they start.

    Parameters
    ----------
    command
        Returns the command that runs them all, and the port of the UI, for each start.
    environment
        Of the command.
    mark
        What they are known by; no other processes carry it.
    host
        Where the UI listens.
    """

    def __init__(
        self, command: Callable[[], tuple[Sequence[str], int]], environment: Mapping[str, str], mark: str, host: str
    ) -> None:
        self._command = command
        self._environment = {**environment, MARK: mark}
        self._mark = mark
        self._host = host
        self._restarts = Restarts()
        self._starts_at: float | None = None
        self._looks_at = 0.0
        self._loaded: set[int] = set()  # code servers that have had a child
        self.port = 0

    def start(self) -> None:
        """Start them, in a session of their own: Ctrl-C reaches them once, by `stop`."""
        command, self.port = self._command()
        self._starts_at = None
        self._process = subprocess.Popen(command, env=self._environment, start_new_session=True)

    def stop(self) -> None:
        """Ask them to end, and let nothing be left of them."""
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        end_marked(self._mark)
        self._process.wait()

    def is_open(self) -> bool:
        """Return whether the UI answers, and is this one: its port may be another program's by now."""
        for process in marked(self._mark):
            with suppress(psutil.Error):
                for each in process.net_connections("tcp"):
                    if each.status == psutil.CONN_LISTEN and each.laddr.port == self.port:
                        return self._answers()
        return False

    def look_after(self) -> None:
        """Start again what has ended.

        Raises
        ------
        DagsterEndedError
            It has ended too often.
        """
        now = time.monotonic()
        if self._starts_at is not None:
            if now >= self._starts_at:
                self.start()
        elif (exit_code := self._process.poll()) is not None:
            self._begin_anew(exit_code, now)
        elif now >= self._looks_at:
            self._revive_code_servers()
            self._looks_at = time.monotonic() + _LOOK_SECONDS

    def _begin_anew(self, exit_code: int, now: float) -> None:
        end_marked(self._mark)
        pause = self._restarts.pause(now)
        if pause is None:
            raise DagsterEndedError(
                f"Dagster ended by itself (exit code {exit_code}), for the {LIMIT + 1}th time in "
                f"{WINDOW_SECONDS / 60:.0f} minutes, and is not started again. What it said is above."
            )
        console.print(f"Dagster ended by itself (exit code {exit_code}) and is started again in {pause:.1f} s.")
        self._starts_at = now + pause

    def _revive_code_servers(self) -> None:
        for server, socket in self._code_servers():
            if any(_serves_code(child) for child in server.children()):
                self._loaded.add(server.pid)
            elif server.pid in self._loaded:
                console.print("The process with the platform's code was killed; it is loaded again.")
                load_code_again(socket, _RELOAD_SECONDS)

    def _code_servers(self) -> list[tuple[psutil.Process, str]]:
        found = []
        for process in marked(self._mark):
            with suppress(psutil.Error):
                words = process.cmdline()
                if "code-server" in words and "--socket" in words:
                    found.append((process, words[words.index("--socket") + 1]))
        return found

    def _answers(self) -> bool:
        try:
            with closing(http.client.HTTPConnection(self._host, self.port, timeout=2)) as connection:
                connection.request("GET", "/server_info")
                return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def _serves_code(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE and {"api", "grpc"} <= set(process.cmdline())
    return False

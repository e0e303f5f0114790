"""The processes of the scoring server: a leader that follows the champion, and workers that answer.

``uvicorn --factory wafer_assets.web.scoring:app`` is the workers; `serve` is the leader.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from resources.champion import bundle_of, champion_of
from resources.mlflow import CHAMPION, BundleUnusableError, BundleVersion, LineTracking, TrackingUnreachableError
from wafer_assets.domain.persistence import NewerFormat
from wafer_assets.web.champions import FOLDER_VARIABLE, SharedFolder, await_workers, shared_folder
from wafer_assets.web.scoring import SERVED_FILE, Served

HOST = "127.0.0.1"
PORT = 5001
WORKERS = 2
FOLLOW_SECONDS = 5.0
"""Between two looks at which version is the champion."""

# Requests are the parallel work. A pool of threads for the trees of one wafer only takes the other worker's core.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Otherwise what large requests took stays with the process: the C library keeps back what it may need again.
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "4000000", "MALLOC_ARENA_MAX": "2"}
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Checked:
    """A version whose file was checked and loaded once, and the file's content."""

    version: BundleVersion
    content: bytes


def check(tracking: LineTracking, version: BundleVersion) -> Checked:
    """Fetch a version's file, and load it once.

    Raises
    ------
    BundleUnusableError, NewerFormat
        It cannot be used, and the error says why.
    """
    content = tracking.content_of(version)
    bundle_of(version, content)
    return Checked(version, content)


def checked_champion(tracking: LineTracking) -> Checked:
    """Return the champion that a server started now would serve.

    Raises
    ------
    NoChampionError
        No version is the champion.
    BundleUnusableError, NewerFormat
        Its file cannot be used.
    """
    return check(tracking, champion_of(tracking))


def prepare(folder: SharedFolder, served: Served, number: int, content: bytes) -> None:
    """Put into the folder what workers need to start."""
    (folder.path / SERVED_FILE).write_text(served.model_dump_json())
    folder.offer(number, content)
    folder.switch()


@dataclass
class Follower:
    """Lets the workers of a server follow the champion.

    Attributes
    ----------
    tracking
        Says who it is.
    folder
        That the workers share.
    workers
        How many there are.
    say
        Takes remarks.
    """

    tracking: LineTracking
    folder: SharedFolder
    workers: int
    say: Callable[[str], None]
    _said: str | None = field(default=None, init=False)

    def look(self, goes_on: Callable[[], bool]) -> None:
        """Let the workers answer with the champion, if that is another version now, and can be used."""
        try:
            version = self.tracking.version(CHAMPION)
            if version is None or version.version == self.folder.current:
                return
            self.folder.offer(version.version, check(self.tracking, version).content)
        except (BundleUnusableError, NewerFormat, TrackingUnreachableError) as error:
            self._remark(f"{error} Version {self.folder.current} goes on answering.")
            return
        if await_workers(self.folder, version.version, self.workers, goes_on):
            self.folder.switch()
            self._remark(f"Version {version.version} answers now.")
        elif goes_on():
            self._remark(f"Not every process has loaded version {version.version}; it is tried again.")

    def _remark(self, remark: str) -> None:
        if remark != self._said:
            self.say(remark)
        self._said = remark


def serve(
    tracking: LineTracking,
    champion: Checked,
    served: Served,
    say: Callable[[str], None],
    *,
    port: int = PORT,
    workers: int = WORKERS,
    host: str = HOST,
) -> int:
    """Serve the champion of a line, and whichever is it later, until asked to end; return the exit code of the server.

    Ctrl-C and SIGTERM, where they arrive as KeyboardInterrupt, end the server with all its workers, and are no failure.
    """
    with shared_folder() as folder:
        prepare(folder, served, champion.version.version, champion.content)
        follower = Follower(tracking, folder, workers, say)
        # In a session of its own, so that Ctrl-C reaches it once, from here, and it can stop its workers.
        with subprocess.Popen(
            command(port, workers, host),
            env=environment(folder.path),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(FOLLOW_SECONDS)
                    follower.look(lambda: process.poll() is None)
            except KeyboardInterrupt:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_SECONDS)
                return 0
            finally:
                # Whatever is left: a worker that hangs, or those of a server that was killed.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def command(port: int = PORT, workers: int = WORKERS, host: str = HOST) -> list[str]:
    """Return the command that runs the workers."""
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", "wafer_assets.web.scoring:app"),
        *("--host", host, "--port", str(port), "--workers", str(workers)),
        # The one of its parsers that bounds the size of a request's head.
        *("--http", "h11", "--ws", "none", "--lifespan", "off", "--no-server-header"),
        *("--limit-concurrency", "512", "--backlog", "512"),
        *("--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5"),
    ]


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of the workers."""
    return {**os.environ, **_ONE_THREAD, **_GIVE_BACK, FOLDER_VARIABLE: str(folder)}

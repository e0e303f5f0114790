"""Which model the workers of a scoring server answer with: all of them the same, and a new one without a restart.

One process, the leader, asks MLflow for the champion. It puts a new one's file into a folder that it shares with its
workers, waits until each has loaded it, and then writes its number into memory that all of them read before each
answer: with that one write, all switch.
"""

import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import psutil

from schemas.loader import BatchSchema
from wafer_assets.domain.persistence import load
from wafer_assets.domain.scoring import Bundle
from wafer_assets.web.served_bundle import ServedBundle

FOLDER_VARIABLE = "WAFER_SERVED_FOLDER"
"""Tells a worker where the folder is."""

_LOOK_SECONDS = 0.2
_WANTED, _CURRENT = 0, 1  # places of two numbers in the shared memory
_NUMBER_BYTES = 8


class SharedFolder:
    """A folder of models, with the numbers of the version that is to be loaded, and of the one that answers.

    Parameters
    ----------
    path
        Readable by one user alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = path / "numbers"
        if not file.exists():
            file.write_bytes(bytes(2 * _NUMBER_BYTES))
        with file.open("r+b") as opened:
            self._numbers = memoryview(mmap.mmap(opened.fileno(), 0)).cast("q")

    @property
    def wanted(self) -> int:
        """The version that workers are to load."""
        return self._numbers[_WANTED]

    @property
    def current(self) -> int:
        """The version that answers."""
        return self._numbers[_CURRENT]

    def bundle(self, version: int) -> Bundle:
        """Load a version that was offered."""
        bundle = load(self._file(version).read_bytes())
        assert isinstance(bundle, Bundle)
        return bundle

    def offer(self, version: int, content: bytes) -> None:
        """Let the workers load a version, whose file was checked."""
        self._file(version).write_bytes(content)
        self._numbers[_WANTED] = version

    def switch(self) -> None:
        """Let the version that was offered answer, and forget the files of others."""
        self._numbers[_CURRENT] = self.wanted
        for file in self.path.glob("*.skops"):
            if file != self._file(self.current):
                file.unlink(missing_ok=True)

    def tell_loaded(self, version: int) -> None:
        """Say that this process has loaded a version."""
        (self.path / f"loaded-{os.getpid()}").write_text(str(version))

    def have_loaded(self, version: int) -> int:
        """Return how many processes that still run have loaded a version."""
        files = {int(file.name.partition("-")[2]): file for file in self.path.glob("loaded-*")}
        return sum(psutil.pid_exists(pid) and file.read_text() == str(version) for pid, file in files.items())

    def _file(self, version: int) -> Path:
        return self.path / f"{version}.skops"


@contextmanager
def shared_folder() -> Iterator[SharedFolder]:
    """Make a folder for a server, and remove it with the models in it."""
    with TemporaryDirectory(prefix="wafer-serve-") as path:
        yield SharedFolder(Path(path))


class Champions:
    """The models of a worker.

    Parameters
    ----------
    folder
        Where the leader puts them.
    schema
        The contract of the wafers that they score.

    Attributes
    ----------
    folder
        The same.
    """

    def __init__(self, folder: SharedFolder, schema: BatchSchema) -> None:
        self.folder = folder
        self._schema = schema
        self._bundles: dict[int, ServedBundle] = {}
        self._load(folder.current)
        Thread(target=self._follow, name="champions", daemon=True).start()

    def current(self) -> ServedBundle:
        """Return the model that answers now."""
        while True:
            version = self.folder.current
            if bundle := self._bundles.get(version):
                return bundle
            # Only a worker that starts while the others switch comes here.
            self._load(version)

    def _load(self, version: int) -> None:
        try:
            self._bundles[version] = ServedBundle(self.folder.bundle(version), version, self._schema)
        except FileNotFoundError:  # there is a newer one already
            return
        self.folder.tell_loaded(version)

    def _follow(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            current, wanted = self.folder.current, self.folder.wanted
            if wanted not in self._bundles:
                self._load(wanted)
            for version in set(self._bundles) - {current, wanted, self.folder.current}:
                self._bundles.pop(version)


def await_workers(
    folder: SharedFolder, version: int, workers: int, goes_on: Callable[[], bool], seconds: float = 60
) -> bool:
    """Wait until so many workers have loaded a version; False where they have not, or the server has ended."""
    deadline = time.monotonic() + seconds
    while folder.have_loaded(version) < workers:
        if time.monotonic() > deadline or not goes_on():
            return False
        time.sleep(_LOOK_SECONDS / 4)
    return True

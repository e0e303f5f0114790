"""The state folder as the local services use it: who runs there, where the services are, and their logs.

What the servers themselves store there is theirs alone.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import SecretStr, TypeAdapter, ValidationError

from resources.local_services.identity import Identity
from resources.local_services.processes import POLL_SECONDS, end
from resources.local_services.service import Away, ServiceError, ServiceName
from wafer_assets.settings import SERVICES_FILE, SERVICES_LOCK, Settings, services_run
from wafer_assets.settings.layout import make_ready

PROGRAM = __package__
"""What ``python -m`` runs as the supervisor, and its processes are known by."""

STATE_VARIABLE = "WAFER_SERVICE_STATE"
"""Variable of every server's process: the state folder that it belongs to."""

NAME_VARIABLE = "WAFER_SERVICE_NAME"
"""Variable of every server's process: the service that it belongs to."""

_LOG_LINES = 15
_AWAY = TypeAdapter(dict[ServiceName, Away])


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A process of a server, found by its variables."""

    name: str
    process: psutil.Process


class StateFolder:
    """The state folder as the services use it.

    Attributes
    ----------
    path
        The folder.
    settings
        The file that tells every other process where the services are, while they work.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / SERVICES_FILE
        self._lock = path / SERVICES_LOCK
        self._identity = path / "services.json"
        self._away = path / "services.away"
        self._epitaph = path / "services.ended"

    def create(self) -> None:
        """Make the folder ready for its first start.

        Raises
        ------
        ServiceError
            It cannot be written.
        StateLayoutError
            It has a layout of another version of the platform.
        """
        try:
            make_ready(self.path)
            self.log("").parent.mkdir(exist_ok=True)
            self.path.chmod(0o700)
            self._lock.touch()
        except OSError as error:
            raise ServiceError(
                "state_not_writable",
                f"The state folder {self.path} cannot be written: {error.strerror}. "
                "Make it writable, or set WAFER_STATE_DIR to another folder.",
            ) from error

    def log(self, name: str) -> Path:
        """Return where the log of a server is, or that of the supervisor."""
        return self.path / "logs" / f"{name}.log"

    def end_of_log(self, name: str) -> str:
        """Return the last lines of a log, for an error to show."""
        lines = self.log(name).read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"The end of {self.log(name)}:", *(f"  {line}" for line in lines)])

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Let nobody else start or end the folder's servers; yields False where somebody does, or nobody ever did."""
        if not self._lock.exists():
            yield False
            return
        with self._lock.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield True

    def supervisor(self) -> psutil.Process | None:
        """Return the process that holds the lock; a process id of the past is never taken for it."""
        while services_run(self.path):
            # Between taking the lock and writing its id, the file is empty or holds an id of the past; and whoever
            # clears up after a supervisor has the lock, too.
            with suppress(ValueError, psutil.NoSuchProcess):
                process = psutil.Process(int(self._lock.read_text()))
                if PROGRAM in process.cmdline():
                    return process
            time.sleep(POLL_SECONDS)
        return None

    def servers(self) -> list[RunningServer]:
        """Find every server process of this folder, its children and the leftovers of a crash included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if environment.get(STATE_VARIABLE) == str(self.path):
                    found.append(RunningServer(environment[NAME_VARIABLE], process))
        return found

    def clear(self) -> bool:
        """End what runs, and let nobody look for it; returns whether anything did. Only for who has the lock."""
        self.settings.unlink(missing_ok=True)
        self._away.unlink(missing_ok=True)
        servers = self.servers()
        end([server.process for server in servers])
        return bool(servers)

    def away(self) -> Mapping[ServiceName, Away]:
        """Return the services that are being started again."""
        try:
            return _AWAY.validate_json(self._away.read_bytes())
        except FileNotFoundError:
            return {}

    def note_away(self, away: Mapping[ServiceName, Away]) -> None:
        """Say which services are being started again."""
        write_private(self._away, _AWAY.dump_json(dict(away)).decode())

    def epitaph(self) -> str:
        """Return why the services ended by themselves; empty where they did not."""
        return self._epitaph.read_text() if self._epitaph.exists() else ""

    def note_epitaph(self, text: str) -> None:
        """Say why the services ended by themselves; empty when they start."""
        write_private(self._epitaph, text)

    def identity(self) -> Identity:
        """Return credentials and ports of the last start, or new ones without ports.

        Raises
        ------
        ServiceError
            The file that holds them is damaged.
        """
        if not self._identity.exists():
            return Identity()
        try:
            return Identity.model_validate_json(self._identity.read_bytes())
        except ValidationError as error:
            cause = "no JSON of ours" if self._identity.stat().st_size else "empty"
            raise ServiceError(
                "state_damaged",
                f"{self._identity} is damaged: it is {cause}. "
                "Remove it: the next start makes new keys and ports, and what is stored stays.",
            ) from error

    def save(self, identity: Identity) -> None:
        """Keep credentials and ports for the next start."""
        write_private(self._identity, identity.model_dump_json(indent=2))

    def publish(self, settings: Settings) -> None:
        """Tell every other process of this platform where the services are."""
        values = {
            "S3__ENDPOINT_URL": settings.s3.endpoint_url,
            "S3__ACCESS_KEY_ID": settings.s3.access_key_id,
            "S3__SECRET_ACCESS_KEY": settings.s3.secret_access_key,
            "MONGO__URI": settings.mongo.uri,
            "MLFLOW__TRACKING_URI": settings.mlflow.tracking_uri,
        }
        lines = [
            f"WAFER_{name}={value.get_secret_value() if isinstance(value, SecretStr) else value}\n"
            for name, value in values.items()
            if value is not None
        ]
        write_private(self.settings, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Write a file that holds secrets, whole or not at all, for this user only."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)

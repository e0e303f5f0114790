"""The supervisor: the process that owns the servers of a state folder, and how it is told what to run.

It starts them side by side, checks that each really works, and starts again, on its port, what dies or hangs. It stops
them all when it is told to, when the process that started it is gone, or when one dies too often. Whoever wants
services asks `resources.local_services.services`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pydantic import BaseModel, Field, IPvAnyAddress

from resources.local_services import seaweedfs
from resources.local_services.health import answers
from resources.local_services.mlflow_server import MLflow
from resources.local_services.processes import POLL_SECONDS, die_with, end
from resources.local_services.restarts import LIMIT, WINDOW_SECONDS, Restarts
from resources.local_services.seaweedfs import SeaweedFS
from resources.local_services.secantusdb import SecantusDB
from resources.local_services.server import Server
from resources.local_services.service import SERVICES, Away, ServiceError, ServiceName
from resources.local_services.state import NAME_VARIABLE, STATE_VARIABLE, StateFolder
from wafer_assets.settings import PortSettings, S3Settings, Settings

_SERVERS: Mapping[ServiceName, type[Server]] = {"s3": SeaweedFS, "mongo": SecantusDB, "mlflow": MLflow}
_START_SECONDS = 90.0
ASK_SECONDS = 2.0
"""Between two requests that ask a server whether it is well."""
ANSWER_SECONDS = 2.0
"""After this long without an answer, a request has none."""
HANG_SECONDS = 20.0
"""After this long without an answer to any request, a server counts as dead; a new one starts in less."""


class Plan(BaseModel):
    """What a supervisor is asked to run; it holds no secret."""

    state_dir: Path
    services: tuple[ServiceName, ...]
    parent: int | None = Field(description="Process whose end ends the services; None in the background.")
    host: IPvAnyAddress
    ports: PortSettings
    s3: S3Settings


class Answer(BaseModel):
    """What a supervisor says once: ready, busy (another one has the folder), or a ServiceError."""

    code: str
    message: str = ""


@dataclass
class Watched:
    """A server that works, or is on its way to do so again; times are those of a clock that only goes forward."""

    server: Server
    restarts: Restarts = field(default_factory=Restarts)
    away: Away | None = None
    starts_at: float | None = None
    asks_at: float = 0.0
    answered_at: float = field(default_factory=time.monotonic)


class Supervisor:
    """Starts the servers and watches them; runs in a process of its own, in one thread."""

    def __init__(self, plan: Plan, folder: StateFolder) -> None:
        self._asked_to_end = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_end)
        self._plan = plan
        self._folder = folder
        self._identity = folder.identity()
        self._identity.assign_ports(plan.ports, plan.host, (*SERVICES, *seaweedfs.INNER_PORTS))
        # Not from this process's environment: the plan says all.
        self._settings = self._identity.connect(
            Settings.model_construct(s3=plan.s3, state_dir=plan.state_dir, services_host=plan.host), plan.services
        )

    def run(self) -> None:
        """Serve until the process is asked to end, its parent is gone, or a server dies."""
        # The user went with the data, if somebody removed them.
        self._identity.mongo_user_exists &= (self._folder.path / "mongo" / "data").exists()
        self._folder.save(self._identity)
        servers = [_SERVERS[name](self._folder, self._identity, self._settings) for name in self._plan.services]
        for server in servers:
            server.prepare()
        for server in servers:
            self._spawn(server)
        for server in servers:
            if isinstance(server, SecantusDB) and not self._identity.mongo_user_exists:
                self._await([server])
                server.create_user()
                self._spawn(server)
        self._await(servers)
        self._folder.publish(self._settings)
        _say(Answer(code="ready"))
        watched = [Watched(server) for server in servers]
        while True:
            for each in watched:
                self._require_wanted()
                self._look_after(each)
            away = {each.server.name: each.away for each in watched if each.away is not None}
            if away != self._folder.away():
                self._folder.note_away(away)
            time.sleep(4 * POLL_SECONDS)

    def _look_after(self, watched: "Watched") -> None:
        """Start a server again that has died, once its pause is over, and see whether it answers."""
        server, now = watched.server, time.monotonic()
        if watched.starts_at is not None:
            if now >= watched.starts_at:
                self._spawn(server, again=True)
                watched.starts_at, watched.answered_at = None, time.monotonic()
            return
        exit_code = server.process.poll()
        if exit_code is not None:
            self._bury(watched, f"ended by itself with exit code {exit_code}")
        elif now >= watched.asks_at:
            watched.asks_at = now + (POLL_SECONDS if watched.away else ASK_SECONDS)
            if self._answers(server, thoroughly=watched.away is not None):
                watched.answered_at, watched.away = time.monotonic(), None
            elif time.monotonic() - watched.answered_at > HANG_SECONDS:
                self._bury(watched, f"did not answer for {HANG_SECONDS:.0f} s")

    def _answers(self, server: Server, *, thoroughly: bool) -> bool:
        if not answers(server.name, self._identity, self._plan.host, ANSWER_SECONDS):
            return False
        try:
            if thoroughly:
                server.check()
        except Exception:
            return False
        return True

    def _bury(self, watched: "Watched", reason: str) -> None:
        server, now = watched.server, time.monotonic()
        pause = watched.restarts.pause(now)
        if pause is None:
            raise ServiceError(
                "service_died",
                f"{server.name} {reason}, for the {LIMIT + 1}th time in {WINDOW_SECONDS / 60:.0f} minutes, and is not "
                f"started again.\n{self._folder.end_of_log(server.name)}\n"
                "Remove the cause that the log names, then start again with `wafer services up`.",
            )
        # Those that it has started hold its port.
        end([each.process for each in self._folder.servers() if each.name == server.name])
        server.process.wait()
        since = watched.away.since if watched.away else datetime.now(UTC)
        watched.away = Away(since=since, reason=reason, log=self._folder.log(server.name))
        watched.starts_at = now + pause

    def _spawn(self, server: Server, *, again: bool = False) -> None:
        log = self._folder.log(server.name)
        if log.exists() and not again:
            log.replace(log.with_suffix(".previous.log"))
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MLFLOW_", "_MLFLOW_", "WAFER_"))
        }
        with log.open("ab") as output:
            server.process = subprocess.Popen(
                server.command(),
                cwd=server.folder,
                env={
                    **inherited,
                    **server.environment,
                    STATE_VARIABLE: str(self._folder.path),
                    NAME_VARIABLE: server.name,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=partial(die_with, os.getpid()) if sys.platform == "linux" else None,
            )

    def _await(self, servers: Sequence[Server]) -> None:
        """Return when every server has done real work."""
        waiting = list(servers)
        deadline = time.monotonic() + _START_SECONDS
        while waiting:
            self._require_alive(servers)
            for server in list(waiting):
                try:
                    server.check()
                    waiting.remove(server)
                except Exception as error:
                    if time.monotonic() > deadline:
                        raise ServiceError(
                            "start_timeout",
                            f"{server.name} does not answer after {_START_SECONDS:.0f} s: {error}\n"
                            f"{self._folder.end_of_log(server.name)}",
                        ) from error
            time.sleep(POLL_SECONDS)

    def _ask_to_end(self, *_: object) -> None:
        # No exception: Python drops those raised in a hook or a finalizer, such as the hooks that follow a fork.
        self._asked_to_end = True

    def _require_wanted(self) -> None:
        if self._asked_to_end or (self._plan.parent is not None and os.getppid() != self._plan.parent):
            sys.exit()

    def _require_alive(self, servers: Sequence[Server]) -> None:
        self._require_wanted()
        for server in servers:
            exit_code = server.process.poll()
            if exit_code is not None:
                raise ServiceError(
                    "start_failed",
                    f"{server.name} ended by itself with exit code {exit_code}.\n"
                    f"{self._folder.end_of_log(server.name)}\n"
                    "Remove the cause that the log names, then start again with `wafer services up`.",
                )


def _say(answer: Answer) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(answer.model_dump_json() + "\n")
        sys.stdout.flush()


def main() -> None:
    """Be the supervisor of a state folder, as the plan on the standard input says."""
    plan = Plan.model_validate_json(sys.stdin.read())
    folder = StateFolder(plan.state_dir)
    with folder.lock() as locked:
        if not locked:
            _say(Answer(code="busy"))
            return
        folder.clear()  # what a crash left behind
        folder.note_epitaph("")
        try:
            try:
                Supervisor(plan, folder).run()
            finally:
                folder.clear()
                seaweedfs.remove_sockets(folder.identity())
        except ServiceError as error:
            sys.stderr.write(f"{error}\n")
            if error.code == "service_died":
                folder.note_epitaph(f"Since {datetime.now().astimezone():%Y-%m-%d %H:%M:%S}: {error}")
            _say(Answer(code=error.code, message=str(error)))

"""The supervisor: the process that owns the servers of a state folder, and how it is told what to run.

It starts them side by side, checks that each really works, and stops them all when it is told to, when one of them
dies, or when the process that started it is gone. Whoever wants services asks `resources.local_services.services`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import BaseModel, Field, IPvAnyAddress

from resources.local_services import seaweedfs
from resources.local_services.mlflow_server import MLflow
from resources.local_services.processes import POLL_SECONDS, die_with
from resources.local_services.seaweedfs import SeaweedFS
from resources.local_services.secantusdb import SecantusDB
from resources.local_services.server import Server
from resources.local_services.service import SERVICES, ServiceError, ServiceName
from resources.local_services.state import NAME_VARIABLE, STATE_VARIABLE, StateFolder
from wafer_assets.settings import PortSettings, S3Settings, Settings

_SERVERS: Mapping[ServiceName, type[Server]] = {"s3": SeaweedFS, "mongo": SecantusDB, "mlflow": MLflow}
_START_SECONDS = 90.0


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
        while True:
            self._require_alive(servers, "service_died")
            time.sleep(4 * POLL_SECONDS)

    def _spawn(self, server: Server) -> None:
        log = self._folder.log(server.name)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MLFLOW_", "_MLFLOW_", "WAFER_"))
        }
        with log.open("wb") as output:
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
            self._require_alive(servers, "start_failed")
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

    def _require_alive(self, servers: Sequence[Server], code: str) -> None:
        if self._asked_to_end or (self._plan.parent is not None and os.getppid() != self._plan.parent):
            sys.exit()
        for server in servers:
            exit_code = server.process.poll()
            if exit_code is not None:
                raise ServiceError(
                    code,
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
        try:
            try:
                Supervisor(plan, folder).run()
            finally:
                folder.clear()
                seaweedfs.remove_sockets(folder.identity())
        except ServiceError as error:
            sys.stderr.write(f"{error}\n")
            _say(Answer(code=error.code, message=str(error)))

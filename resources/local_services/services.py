"""Starting, finding and stopping the local services, for whoever needs them.

The servers run in processes of their own, below a supervisor (`resources.local_services.supervisor`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from resources.local_services.health import answers
from resources.local_services.processes import POLL_SECONDS, STOP_SECONDS, end, memory
from resources.local_services.service import SERVICES, Away, ServiceError, ServiceName, ServiceStatus, url
from resources.local_services.state import PROGRAM, StateFolder
from resources.local_services.supervisor import Answer, Plan
from wafer_assets.settings import S3Settings, Settings
from wafer_assets.settings.layout import require_layout

_PORT_TRIES = 3
_ANSWER_SECONDS = 3.0


class LocalServices:
    """The local services of one state folder.

    As a context manager it yields settings that point at the services, and stops at the end what it started.

    Parameters
    ----------
    settings
        Gives the state folder, the names of the buckets, and the ports where they are set.
    services
        Which services to run.

    Attributes
    ----------
    started
        Whether `up` started the services; False where they already ran.

    Raises
    ------
    StateLayoutError
        The state folder has a layout of another version of the platform.
    """

    def __init__(self, settings: Settings, services: Sequence[ServiceName] = SERVICES) -> None:
        require_layout(settings.state_dir)
        self._settings = settings
        self._services = tuple(services)
        self._folder = StateFolder(settings.state_dir)
        self._supervisor: subprocess.Popen[str] | None = None
        self.started = False

    def __enter__(self) -> Settings:
        return self.up()

    def __exit__(self, *_: object) -> None:
        if self.started:
            self.down()

    def up(self, *, background: bool = False) -> Settings:
        """Return settings that point at the services, once all of them work.

        Services that already run are used as they are. New ones stop with this process, however it ends, or,
        in the background, outlive it until `down`.

        Raises
        ------
        ServiceError
            A service cannot start, in which case none is left running; or others run than those asked for.
        """
        if self._settings.environment != "local":
            raise ServiceError(
                "not_local", "Local services do not run in production. Unset WAFER_ENVIRONMENT to use them."
            )
        self._folder.create()
        self._folder.identity()  # a damaged one is said here and not by the supervisor
        try:
            while True:
                if self._folder.supervisor() is None:
                    self.started = self._start_on_free_ports(None if background else os.getpid())
                # Two processes may start at the same time: the slower one waits for the other's result.
                while self._folder.supervisor() is not None:
                    if self._runs():
                        return self._folder.identity().connect(self._settings, self._services)
                    time.sleep(POLL_SECONDS)
        except BaseException:
            if self._supervisor is not None and self._supervisor.poll() is None:
                self._stop(psutil.Process(self._supervisor.pid))
            raise

    def down(self) -> bool:
        """Stop the services, whoever started them, and return whether any ran. Safe to repeat."""
        return self._stop(self._folder.supervisor())

    def _stop(self, supervisor: psutil.Process | None) -> bool:
        if supervisor is not None:
            end([supervisor], seconds=2 * STOP_SECONDS)  # it gives its servers their time first
        if self._supervisor is not None:
            self._supervisor.wait()
        self.started = False
        with self._folder.lock() as locked:  # whoever has it by now clears by itself
            leftovers = locked and self._folder.clear()
        return leftovers or supervisor is not None

    def status(self) -> list[ServiceStatus]:
        """Describe every service, running or not."""
        supervisor = self._folder.supervisor()
        servers = self._folder.servers() if supervisor else []
        away = self._folder.away() if supervisor else {}
        ports = self._folder.identity().ports
        found = []
        for name in SERVICES:
            processes = [server.process for server in servers if server.name == name]
            found.append(
                ServiceStatus(
                    name=name,
                    running=bool(processes) and name not in away,
                    url=url(name, self._settings.services_host, ports[name]) if processes or name in away else None,
                    pids=tuple(process.pid for process in processes),
                    memory_mb=sum(map(memory, processes)) / 1e6,
                    away=away.get(name),
                )
            )
        return found

    def answers(self, name: ServiceName) -> bool:
        """Ask a service whether it is well; one that does not answer in time is not, whatever processes it has."""
        return answers(name, self._folder.identity(), self._settings.services_host, _ANSWER_SECONDS)

    def ended(self) -> str | None:
        """Return why the services are gone, where they are; empty where nothing but their supervisor was at fault."""
        if self._supervisor is not None:
            self._supervisor.poll()  # else it would stay a zombie, which seems to run
        return None if self._folder.supervisor() else self._folder.epitaph()

    @property
    def lost_supervisor(self) -> bool:
        """Whether the supervisor that `up` started here was killed, and did not end in order."""
        return self._supervisor is not None and (self._supervisor.poll() or 0) < 0

    def away(self) -> Mapping[ServiceName, Away]:
        """Return the services that are away, and are being started again."""
        return self._folder.away()

    def _start_on_free_ports(self, parent: int | None) -> bool:
        """Start again on other ports where a program took one between its choice and its use."""
        for _ in range(_PORT_TRIES - 1):
            try:
                return self._start(parent)
            except ServiceError as error:
                if error.code != "start_failed" or "address already in use" not in str(error).lower():
                    raise
        return self._start(parent)

    def _start(self, parent: int | None) -> bool:
        """Run a supervisor until its services work; False where another supervisor has the folder."""
        plan = Plan(
            state_dir=self._folder.path,
            services=self._services,
            parent=parent,
            host=self._settings.services_host,
            ports=self._settings.ports,
            s3=S3Settings(
                region=self._settings.s3.region,
                landing_bucket=self._settings.s3.landing_bucket,
                lake_bucket=self._settings.s3.lake_bucket,
            ),
        )
        with self._folder.log("supervisor").open("w") as log:
            self._supervisor = supervisor = subprocess.Popen(
                [sys.executable, "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process only, which stops things in order
                text=True,
            )
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        with supervisor.stdout, suppress(BrokenPipeError):
            with supervisor.stdin:
                supervisor.stdin.write(plan.model_dump_json())
            line = supervisor.stdout.readline()
        answer = Answer.model_validate_json(line) if line else Answer(code="start_failed")
        if answer.code in ("ready", "busy"):
            return answer.code == "ready"
        supervisor.wait()
        raise ServiceError(
            answer.code,
            answer.message or f"The supervisor ended early.\n{self._folder.end_of_log('supervisor')}",
        )

    def _runs(self) -> bool:
        """Return whether the folder's services are ready, and are those asked for."""
        if not self._folder.settings.exists() or self._folder.away():
            return False
        running = {server.name for server in self._folder.servers()}
        missing = [name for name in self._services if name not in running]
        # A supervisor that ends its servers removes the settings first.
        if missing and self._folder.settings.exists():
            raise ServiceError(
                "other_services_running",
                f"Services already run in {self._folder.path}, but without {', '.join(missing)}. "
                "Stop them with `wafer services down` and try again.",
            )
        return not missing

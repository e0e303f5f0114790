"""The servers a laptop runs instead of AWS S3, MongoDB Atlas and a remote MLflow.

SeaweedFS, SecantusDB and ``mlflow server`` run as processes of their own, listen on 127.0.0.1 unless the settings
say otherwise, and keep all their state in the state folder. One supervisor process per state folder owns them: it
starts them side by side, checks that each really works, and stops them all when it is told to, when one of them
dies, or when the process that started it is gone. The supervisor holds a lock on the state folder, and its servers
carry the folder's name in their environment, so that what a crash left behind is found and ended.

S3 and MongoDB ask for generated credentials. MLflow and the inner ports of SeaweedFS have none: they trust
whoever can reach the address.
"""

import ctypes
import fcntl
import http.client
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import psutil
from pydantic import BaseModel, Field, IPvAnyAddress, SecretStr

from resources.s3 import s3_client
from wafer_assets.settings import SERVICES_FILE, SERVICES_LOCK, PortSettings, S3Settings, Settings, services_run

if TYPE_CHECKING:
    from pymongo import MongoClient

ServiceName: TypeAlias = Literal["s3", "mongo", "mlflow"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)

_SEAWEEDFS_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
_SEAWEEDFS_SOCKETS = Path("/tmp")  # noqa: S108 (it asks nobody)
# Below the range from which the kernel takes the ports of outgoing connections.
_FREE_PORTS = range(20_000, 32_000)
_LOOPBACK = IPv4Address("127.0.0.1")
_START_SECONDS = 90.0
_PORT_TRIES = 3
# SeaweedFS waits ten seconds for its maintenance; killed, it loses no acknowledged object.
_STOP_SECONDS = 3.0
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 3.0
_LOG_LINES = 15
_STATE_VARIABLE = "WAFER_SERVICE_STATE"
_NAME_VARIABLE = "WAFER_SERVICE_NAME"
_PR_SET_PDEATHSIG = 1


class ServiceError(RuntimeError):
    """A local service cannot run; the message says which, why and what to do.

    ``code`` is one of ``not_local``, ``state_not_writable``, ``program_missing``, ``port_taken``,
    ``start_failed``, ``start_timeout``, ``service_died`` and ``other_services_running``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What one local service is doing now."""

    name: ServiceName
    running: bool
    url: str | None
    pids: tuple[int, ...]
    memory_mb: float


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
    """

    def __init__(self, settings: Settings, services: Sequence[ServiceName] = SERVICES) -> None:
        self._settings = settings
        self._services = tuple(services)
        self._folder = _StateFolder(settings.state_dir)
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
        try:
            while True:
                if self._folder.supervisor() is None:
                    self.started = self._start_on_free_ports(None if background else os.getpid())
                # Two processes may start at the same time: the slower one waits for the other's result.
                while self._folder.supervisor() is not None:
                    if self._runs():
                        return self._folder.identity().connect(self._settings, self._services)
                    time.sleep(_POLL_SECONDS)
        except BaseException:
            if self._supervisor is not None and self._supervisor.poll() is None:
                self._stop(psutil.Process(self._supervisor.pid))
            raise

    def down(self) -> bool:
        """Stop the services, whoever started them, and return whether any ran. Safe to repeat."""
        return self._stop(self._folder.supervisor())

    def _stop(self, supervisor: psutil.Process | None) -> bool:
        if supervisor is not None:
            _end([supervisor], seconds=2 * _STOP_SECONDS)  # it gives its servers their time first
        if self._supervisor is not None:
            self._supervisor.wait()
        self.started = False
        with self._folder.lock() as locked:  # whoever has it by now clears by itself
            leftovers = locked and self._folder.clear()
        return leftovers or supervisor is not None

    def status(self) -> list[ServiceStatus]:
        """Describe every service, running or not."""
        servers = self._folder.servers() if self._folder.supervisor() else []
        ports = self._folder.identity().ports
        found = []
        for name in SERVICES:
            processes = [server.process for server in servers if server.name == name]
            found.append(
                ServiceStatus(
                    name=name,
                    running=bool(processes),
                    url=_url(name, self._settings.services_host, ports[name]) if processes else None,
                    pids=tuple(process.pid for process in processes),
                    memory_mb=sum(map(_memory, processes)) / 1e6,
                )
            )
        return found

    def answers(self, name: ServiceName) -> bool:
        """Ask a service whether it is well; one that does not answer in time is not, whatever processes it has."""
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError

        identity, host = self._folder.identity(), self._settings.services_host
        try:
            if name == "mongo":
                milliseconds = int(_ANSWER_SECONDS * 1_000)
                with MongoClient[dict[str, object]](
                    identity.mongo_uri(host), serverSelectionTimeoutMS=milliseconds, timeoutMS=milliseconds
                ) as client:
                    client.admin.command("ping")
                return True
            connection = http.client.HTTPConnection(str(host), identity.ports[name], timeout=_ANSWER_SECONDS)
            with closing(connection):
                connection.request("GET", "/health" if name == "mlflow" else "/")
                return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
        except (OSError, http.client.HTTPException, PyMongoError):
            return False

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
        plan = _Plan(
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
                [sys.executable, "-m", __spec__.name],
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
        answer = _Answer.model_validate_json(line) if line else _Answer(code="start_failed")
        if answer.code in ("ready", "busy"):
            return answer.code == "ready"
        supervisor.wait()
        raise ServiceError(
            answer.code,
            answer.message or f"The supervisor ended early.\n{self._folder.end_of_log('supervisor')}",
        )

    def _runs(self) -> bool:
        """Return whether the folder's services are ready, and are those asked for."""
        if not self._folder.settings.exists():
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


class _Plan(BaseModel):
    """What a supervisor is asked to run; it holds no secret."""

    state_dir: Path
    services: tuple[ServiceName, ...]
    parent: int | None = Field(description="Process whose end ends the services; None in the background.")
    host: IPvAnyAddress
    ports: PortSettings
    s3: S3Settings


class _Answer(BaseModel):
    """What a supervisor says once: ready, busy (another one has the folder), or a ServiceError."""

    code: str
    message: str = ""


class _Identity(BaseModel):
    """What the services of a state folder keep from start to start: credentials and ports."""

    s3_access_key: str = Field(default_factory=lambda: secrets.token_hex(10).upper())
    s3_secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(30))
    s3_admin_access_key: str = Field(default_factory=lambda: secrets.token_hex(10).upper())
    s3_admin_secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(30))
    mongo_password: str = Field(default_factory=lambda: secrets.token_urlsafe(30))
    mongo_user_exists: bool = False
    ports: dict[str, int] = {}

    def assign_ports(self, wanted: PortSettings, host: IPvAnyAddress) -> None:
        """Take the wanted ports; elsewhere keep last time's where they are still free."""
        chosen: dict[str, int] = {}
        for name, port in wanted.model_dump().items():
            if port is not None and not _is_free(host, port):
                raise ServiceError(
                    "port_taken",
                    f"Port {port} for {name} is taken by another program. "
                    f"Free it, or unset WAFER_PORTS__{name.upper()} to have a free one chosen.",
                )
            if port is not None:
                chosen[name] = port
        for name in (*SERVICES, *_SEAWEEDFS_PORTS):
            port = self.ports.get(name, _any_port())
            while name not in chosen:
                if port not in chosen.values() and _is_free(host, port):
                    chosen[name] = port
                port = _any_port()
        self.ports = chosen

    def connect(self, settings: Settings, services: Sequence[ServiceName]) -> Settings:
        """Return the settings, pointing at the services."""
        s3, mongo, mlflow, host = settings.s3, settings.mongo, settings.mlflow, settings.services_host
        if "s3" in services:
            s3 = s3.model_copy(
                update={
                    "endpoint_url": _url("s3", host, self.ports["s3"]),
                    "access_key_id": SecretStr(self.s3_access_key),
                    "secret_access_key": SecretStr(self.s3_secret_key),
                }
            )
        if "mongo" in services:
            mongo = mongo.model_copy(update={"uri": SecretStr(self.mongo_uri(host))})
        if "mlflow" in services:
            mlflow = mlflow.model_copy(update={"tracking_uri": _url("mlflow", host, self.ports["mlflow"])})
        return settings.model_copy(update={"s3": s3, "mongo": mongo, "mlflow": mlflow})

    def mongo_uri(self, host: IPvAnyAddress) -> str:
        return f"mongodb://wafer:{self.mongo_password}@{host}:{self.ports['mongo']}/?authSource=admin"


@dataclass(frozen=True, slots=True)
class _RunningServer:
    name: str
    process: psutil.Process


class _StateFolder:
    """The state folder as the services use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / SERVICES_FILE
        self._lock = path / SERVICES_LOCK
        self._identity = path / "services.json"

    def create(self) -> None:
        try:
            self.log("").parent.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self._lock.touch()
        except OSError as error:
            raise ServiceError(
                "state_not_writable",
                f"The state folder {self.path} cannot be written: {error.strerror}. "
                "Make it writable, or set WAFER_STATE_DIR to another folder.",
            ) from error

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def end_of_log(self, name: str) -> str:
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
                if __spec__.name in process.cmdline():
                    return process
            time.sleep(_POLL_SECONDS)
        return None

    def servers(self) -> list[_RunningServer]:
        """Find every server process of this folder, its children and the leftovers of a crash included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if environment.get(_STATE_VARIABLE) == str(self.path):
                    found.append(_RunningServer(environment[_NAME_VARIABLE], process))
        return found

    def clear(self) -> bool:
        """End what runs, and let nobody look for it; returns whether anything did. Only for who has the lock."""
        self.settings.unlink(missing_ok=True)
        servers = self.servers()
        _end([server.process for server in servers])
        return bool(servers)

    def identity(self) -> _Identity:
        if self._identity.exists():
            return _Identity.model_validate_json(self._identity.read_bytes())
        return _Identity()

    def save(self, identity: _Identity) -> None:
        _write_private(self._identity, identity.model_dump_json(indent=2))

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
        _write_private(self.settings, "".join(lines))


@dataclass
class _Server:
    """How to start one server and how to find out whether it works; `check` raises while it does not."""

    name: ServiceName
    command: list[str]
    folder: Path
    check: Callable[[], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None


class _Supervisor:
    """Starts the servers and watches them; runs in a process of its own, in one thread."""

    def __init__(self, plan: _Plan, folder: _StateFolder) -> None:
        self._asked_to_end = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_end)
        self._plan = plan
        self._folder = folder
        self._identity = folder.identity()
        self._identity.assign_ports(plan.ports, plan.host)
        # Not from this process's environment: the plan says all.
        self._settings = self._identity.connect(
            Settings.model_construct(s3=plan.s3, state_dir=plan.state_dir, services_host=plan.host), plan.services
        )

    def run(self) -> None:
        """Serve until the process is asked to end, its parent is gone, or a server dies."""
        # The user went with the data, if somebody removed them.
        self._identity.mongo_user_exists &= (self._folder.path / "mongo" / "data").exists()
        self._folder.save(self._identity)
        builders = {"s3": self._seaweedfs, "mongo": self._secantusdb, "mlflow": self._mlflow}
        for name in self._plan.services:
            (self._folder.path / name).mkdir(mode=0o700, exist_ok=True)
        servers = [builders[name]() for name in self._plan.services]
        for server in servers:
            self._spawn(server)
        for server in servers:
            if server.name == "mongo" and not self._identity.mongo_user_exists:
                self._await([server])
                self._create_mongo_user(server)
                servers[servers.index(server)] = restarted = self._secantusdb()
                self._spawn(restarted)
        self._await(servers)
        self._folder.publish(self._settings)
        _say(_Answer(code="ready"))
        while True:
            self._require_alive(servers, "service_died")
            time.sleep(4 * _POLL_SECONDS)

    def _spawn(self, server: _Server) -> None:
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
                server.command,
                cwd=server.folder,
                env={
                    **inherited,
                    **server.environment,
                    _STATE_VARIABLE: str(self._folder.path),
                    _NAME_VARIABLE: server.name,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=partial(_die_with, os.getpid()) if sys.platform == "linux" else None,
            )

    def _await(self, servers: Sequence[_Server]) -> None:
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
            time.sleep(_POLL_SECONDS)

    def _ask_to_end(self, *_: object) -> None:
        # No exception: Python drops those raised in a hook or a finalizer, such as the hooks that follow a fork.
        self._asked_to_end = True

    def _require_alive(self, servers: Sequence[_Server], code: str) -> None:
        if self._asked_to_end or (self._plan.parent is not None and os.getppid() != self._plan.parent):
            sys.exit()
        for server in servers:
            exit_code = self._process(server).poll()
            if exit_code is not None:
                raise ServiceError(
                    code,
                    f"{server.name} ended by itself with exit code {exit_code}.\n"
                    f"{self._folder.end_of_log(server.name)}\n"
                    "Remove the cause that the log names, then start again with `wafer services up`.",
                )

    def _seaweedfs(self) -> _Server:
        folder = self._folder.path / "s3"
        identity, s3 = self._identity, self._settings.s3
        buckets = (s3.landing_bucket, s3.lake_bucket)
        rights = [f"{action}:{bucket}" for action in ("Read", "Write", "List") for bucket in buckets]
        credentials = self._folder.path / "s3.json"
        _write_private(
            credentials,
            json.dumps(
                {
                    "identities": [
                        _s3_identity("admin", identity.s3_admin_access_key, identity.s3_admin_secret_key, ["Admin"]),
                        _s3_identity("platform", identity.s3_access_key, identity.s3_secret_key, rights),
                    ]
                }
            ),
        )
        options = {
            "dir": folder,
            "ip": self._plan.host,
            "ip.bind": self._plan.host,
            "s3.port": identity.ports["s3"],
            **{name: identity.ports[name] for name in _SEAWEEDFS_PORTS},
            "s3.config": credentials,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.autoCreateBucket": "false",
            "s3.allowDeleteBucketNotEmpty": "false",
            # Relative, because the path of a socket is at most 107 bytes long.
            "s3.localSocket": "s3.sock",
            "filer.localSocket": "filer.sock",
            "master.telemetry": "false",
            # Resuming lets the volume server ask too early now and then, and then wait for five seconds.
            "master.resumeState": "false",
            "master.volumeSizeLimitMB": 256,
            "volume.max": 0,
            "volume.preStopSeconds": 0,
            "webdav": "false",
            "admin.ui": "false",
        }
        # SeaweedFS writes the options of its last start there and would read them again.
        (folder / "mini.options").unlink(missing_ok=True)
        return _Server(
            name="s3",
            command=[
                _program("weed"),
                "-logtostderr=true",
                "mini",
                *(f"-{name}={value}" for name, value in options.items()),
            ],
            folder=folder,
            check=self._check_s3,
            environment={"HOME": str(folder), "GOMEMLIMIT": "512MiB"},
        )

    def _check_s3(self) -> None:
        s3 = self._settings.s3
        admin = s3_client(
            s3.model_copy(
                update={
                    "access_key_id": SecretStr(self._identity.s3_admin_access_key),
                    "secret_access_key": SecretStr(self._identity.s3_admin_secret_key),
                }
            ),
            attempts=1,
        )
        existing = {bucket["Name"] for bucket in admin.list_buckets()["Buckets"]}
        for bucket in {s3.landing_bucket, s3.lake_bucket} - existing:
            admin.create_bucket(Bucket=bucket)
        platform = s3_client(s3, attempts=1)
        probe = ".ready"
        for bucket in (s3.landing_bucket, s3.lake_bucket):
            platform.put_object(Bucket=bucket, Key=probe, Body=b"ready")
            platform.get_object(Bucket=bucket, Key=probe)["Body"].read()
            platform.delete_object(Bucket=bucket, Key=probe)

    def _secantusdb(self) -> _Server:
        folder = self._folder.path / "mongo"
        configuration = folder / "secantusd.toml"
        configuration.touch()  # empty, or the server takes the one of the user's home
        return _Server(
            name="mongo",
            command=[
                _program("secantusd-py"),
                *("--config", str(configuration)),
                *("--host", str(self._plan.host)),
                *("--port", str(self._identity.ports["mongo"])),
                *("--storage-path", str(folder / "data")),
                *("--cache-size", "256M"),
                "--sync-on-commit",  # its transactions are not journalled when only the client asks for it
                *(["--auth"] if self._identity.mongo_user_exists else []),
            ],
            folder=folder,
            check=self._check_mongo,
        )

    def _check_mongo(self) -> None:
        with self._mongo_client() as client:
            scratch = client["ready"]["ready"]
            inserted = scratch.insert_one({})
            scratch.delete_one({"_id": inserted.inserted_id})

    def _create_mongo_user(self, server: _Server) -> None:
        """Create the one user, which SecantusDB allows only while it asks for none, and end the server."""
        from pymongo.errors import OperationFailure

        password = self._identity.mongo_password
        with self._mongo_client() as client:
            try:
                client.admin.command("createUser", "wafer", pwd=password, roles=["root"])
            except OperationFailure:  # it exists, and its password was lost with `services.json`
                client.admin.command("updateUser", "wafer", pwd=password)
            # With the client still there: without any, the server takes two seconds longer to stop.
            _end([psutil.Process(self._process(server).pid)])
        self._identity.mongo_user_exists = True
        self._folder.save(self._identity)

    def _mongo_client(self) -> "MongoClient[dict[str, object]]":
        from pymongo import MongoClient

        user_exists, host = self._identity.mongo_user_exists, self._plan.host
        return MongoClient(
            self._identity.mongo_uri(host) if user_exists else _url("mongo", host, self._identity.ports["mongo"]),
            serverSelectionTimeoutMS=200,
            directConnection=True,
        )

    def _mlflow(self) -> _Server:
        folder = self._folder.path / "mlflow"
        s3 = self._settings.s3
        host, port = self._plan.host, self._identity.ports["mlflow"]
        storage = {}
        if s3.endpoint_url and s3.access_key_id and s3.secret_access_key:
            storage = {
                "MLFLOW_S3_ENDPOINT_URL": s3.endpoint_url,
                "AWS_ACCESS_KEY_ID": s3.access_key_id.get_secret_value(),
                "AWS_SECRET_ACCESS_KEY": s3.secret_access_key.get_secret_value(),
                "AWS_DEFAULT_REGION": s3.region,
            }
        return _Server(
            name="mlflow",
            command=[
                _program("mlflow"),
                "server",
                *("--host", str(self._plan.host)),
                *("--port", str(port)),
                *("--allowed-hosts", f"{host}:{port},localhost:{port}"),
                *("--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                "--serve-artifacts",
                *("--artifacts-destination", f"s3://{s3.lake_bucket}/mlflow"),
            ],
            folder=folder,
            check=self._check_mlflow,
            environment={
                **storage,
                "NO_PROXY": f"{host},localhost",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                # Its runner of background jobs doubles the memory and the time to start.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
        )

    def _check_mlflow(self) -> None:
        connection = http.client.HTTPConnection(str(self._plan.host), self._identity.ports["mlflow"], timeout=5)
        with closing(connection):
            connection.request("GET", "/health")
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise OSError(f"/health answers {response.status}")

    @staticmethod
    def _process(server: _Server) -> subprocess.Popen[bytes]:
        assert server.process is not None
        return server.process


def _write_private(path: Path, text: str) -> None:
    """Write a file that holds secrets, whole or not at all, for this user only."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def _url(name: ServiceName, host: IPvAnyAddress, port: int) -> str:
    return f"{'mongodb' if name == 'mongo' else 'http'}://{host}:{port}"


def _s3_identity(name: str, access_key: str, secret_key: str, actions: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": actions,
    }


def _program(name: str) -> str:
    program = shutil.which(name, path=sysconfig.get_path("scripts"))
    if program is None:
        raise ServiceError(
            "program_missing",
            f"The program {name} is not installed beside {sys.executable}. Run `make setup`.",
        )
    return program


def _any_port() -> int:
    return random.SystemRandom().choice(_FREE_PORTS)


def free_port(wanted: int | None = None) -> int:
    """Return the wanted port of this machine, or where that is taken a free one.

    Until it is used, no outgoing connection takes it, only a program that asks for this very port.
    """
    port = wanted or _any_port()
    while not _is_free(_LOOPBACK, port):
        port = _any_port()
    return port


def _is_free(host: IPvAnyAddress, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(host), port))
        except OSError:
            return False
        return True


def _die_with(supervisor: int) -> None:
    """Ask the kernel, in a new process before its program starts, to end it with the supervisor."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the supervisor's handler would only take note
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it ended before it could be asked for
        os._exit(1)


def _end(processes: Sequence[psutil.Process], *, seconds: float = _STOP_SECONDS) -> None:
    """Ask the processes to end, kill those that have not after some seconds, and return when all are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        deadline = time.monotonic() + seconds
        while (processes := [each for each in processes if _is_alive(each)]) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def _is_alive(process: psutil.Process) -> bool:
    """Return whether the process runs; one that ended and waits for its parent to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _memory(process: psutil.Process) -> int:
    """Return the bytes that a process holds; none where it has just ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _say(answer: _Answer) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(answer.model_dump_json() + "\n")
        sys.stdout.flush()


def main() -> None:
    """Be the supervisor of a state folder, as the plan on the standard input says."""
    plan = _Plan.model_validate_json(sys.stdin.read())
    folder = _StateFolder(plan.state_dir)
    with folder.lock() as locked:
        if not locked:
            _say(_Answer(code="busy"))
            return
        folder.clear()  # what a crash left behind
        try:
            try:
                _Supervisor(plan, folder).run()
            finally:
                folder.clear()
                for port in folder.identity().ports.values():
                    for forgotten in _SEAWEEDFS_SOCKETS.glob(f"seaweedfs-*-grpc-{port}.sock"):
                        forgotten.unlink(missing_ok=True)
        except ServiceError as error:
            sys.stderr.write(f"{error}\n")
            _say(_Answer(code=error.code, message=str(error)))


if __name__ == "__main__":
    main()

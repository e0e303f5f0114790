"""What a local service is to whoever uses it: a name, an address, a state and errors.

How the servers behind them are started is in `resources.local_services.server`.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, IPvAnyAddress

ServiceName: TypeAlias = Literal["s3", "mongo", "mlflow"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)


class ServiceError(RuntimeError):
    """A local service cannot run; the message says which, why and what to do.

    ``code`` is one of ``not_local``, ``state_not_writable``, ``state_damaged``, ``program_missing``, ``port_taken``,
    ``start_failed``, ``start_timeout``, ``service_died`` and ``other_services_running``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Away(BaseModel):
    """A service that is away, and is being started again.

    Attributes
    ----------
    since
        When it was noticed.
    reason
        What was seen.
    log
        Where the server wrote what it has to say.
    """

    since: datetime
    reason: str
    log: Path

    def __str__(self) -> str:
        return f"{self.reason} at {self.since.astimezone():%H:%M:%S} and is being started again; its log is {self.log}"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What one local service is doing now; ``away`` says why one that should run does not."""

    name: ServiceName
    running: bool
    url: str | None
    pids: tuple[int, ...]
    memory_mb: float
    away: Away | None = None


def url(name: ServiceName, host: IPvAnyAddress, port: int) -> str:
    """Return the address of a service for its clients."""
    return f"{'mongodb' if name == 'mongo' else 'http'}://{host}:{port}"

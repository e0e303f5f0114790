"""How a local server is started, and how one finds out whether it works; what each needs is in its own module."""

import shutil
import subprocess
import sys
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from resources.local_services.identity import Identity
from resources.local_services.service import ServiceError, ServiceName
from resources.local_services.state import StateFolder
from wafer_assets.settings import Settings


class Server(ABC):
    """One server of a state folder.

    Parameters
    ----------
    state
        The state folder; what the server stores is in a folder of its name there.
    identity
        Credentials and ports, of the other servers too.
    settings
        Point at the servers.

    Attributes
    ----------
    name
        Of the service.
    process
        The running server, once it was started.
    """

    name: ClassVar[ServiceName]
    process: "subprocess.Popen[bytes]"

    def __init__(self, state: StateFolder, identity: Identity, settings: Settings) -> None:
        self._state = state
        self._identity = identity
        self._settings = settings
        self._host = settings.services_host
        self.folder = state.path / self.name

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of the server's process beside those that every server gets."""
        return {}

    def prepare(self) -> None:
        """Make its folder ready for a start."""
        self.folder.mkdir(mode=0o700, exist_ok=True)

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server.

        Raises
        ------
        ServiceError
            Its program is not installed.
        """

    @abstractmethod
    def check(self) -> None:
        """Do real work with the server; raises whatever keeps that from succeeding."""


def program(name: str) -> str:
    """Return the path of a program that is installed beside this Python.

    Raises
    ------
    ServiceError
        It is not installed.
    """
    path = shutil.which(name, path=sysconfig.get_path("scripts"))
    if path is None:
        raise ServiceError(
            "program_missing",
            f"The program {name} is not installed beside {sys.executable}. Run `make setup`.",
        )
    return path

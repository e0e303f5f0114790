"""SecantusDB: the local MongoDB server, which asks for the password of its one user."""

from typing import TYPE_CHECKING

import psutil

from resources.local_services.processes import end
from resources.local_services.server import Server, program
from resources.local_services.service import url

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo import MongoClient


class SecantusDB(Server):
    """The local MongoDB server."""

    name = "mongo"

    @property
    def _configuration(self) -> "Path":
        return self.folder / "secantusd.toml"

    def prepare(self) -> None:
        """Make its folder ready."""
        super().prepare()
        self._configuration.touch()  # empty, or the server takes the one of the user's home

    def command(self) -> list[str]:
        """Return the command that runs it; it asks for a password as soon as there is a user."""
        return [
            program("secantusd-py"),
            *("--config", str(self._configuration)),
            *("--host", str(self._host)),
            *("--port", str(self._identity.ports["mongo"])),
            *("--storage-path", str(self.folder / "data")),
            *("--cache-size", "256M"),
            "--sync-on-commit",  # its transactions are not journalled when only the client asks for it
            *(["--auth"] if self._identity.mongo_user_exists else []),
        ]

    def check(self) -> None:
        """Insert a document and delete it again."""
        with self._client() as client:
            scratch = client["ready"]["ready"]
            inserted = scratch.insert_one({})
            scratch.delete_one({"_id": inserted.inserted_id})

    def create_user(self) -> None:
        """Create the one user, which SecantusDB allows only while it asks for none, and end the server."""
        from pymongo.errors import OperationFailure

        password = self._identity.mongo_password
        with self._client() as client:
            try:
                client.admin.command("createUser", "wafer", pwd=password, roles=["root"])
            except OperationFailure:  # it exists, and its password was lost with `services.json`
                client.admin.command("updateUser", "wafer", pwd=password)
            # With the client still there: without any, the server takes two seconds longer to stop.
            end([psutil.Process(self.process.pid)])
        self._identity.mongo_user_exists = True
        self._state.save(self._identity)

    def _client(self) -> "MongoClient[dict[str, object]]":
        from pymongo import MongoClient

        identity, host = self._identity, self._host
        return MongoClient(
            identity.mongo_uri(host) if identity.mongo_user_exists else url("mongo", host, identity.ports["mongo"]),
            serverSelectionTimeoutMS=200,
            directConnection=True,
        )

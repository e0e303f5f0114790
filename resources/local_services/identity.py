"""What the services of a state folder keep from start to start: their credentials and ports."""

import secrets
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, Field, IPvAnyAddress, SecretStr

from resources.local_services.ports import any_port, is_free
from resources.local_services.service import ServiceError, ServiceName, url
from wafer_assets.settings import PortSettings, Settings


class Identity(BaseModel):
    """What the services of a state folder keep from start to start: credentials and ports."""

    s3_access_key: str = Field(default_factory=lambda: secrets.token_hex(10).upper())
    s3_secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(30))
    s3_admin_access_key: str = Field(default_factory=lambda: secrets.token_hex(10).upper())
    s3_admin_secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(30))
    mongo_password: str = Field(default_factory=lambda: secrets.token_urlsafe(30))
    mongo_user_exists: bool = False
    ports: dict[str, int] = {}

    def assign_ports(self, wanted: PortSettings, host: IPvAnyAddress, names: Iterable[str]) -> None:
        """Choose the ports of `names`: those wanted, and elsewhere last time's where they are still free.

        Raises
        ------
        ServiceError
            A wanted port is taken.
        """
        chosen: dict[str, int] = {}
        for name, port in wanted.model_dump().items():
            if port is not None and not is_free(host, port):
                raise ServiceError(
                    "port_taken",
                    f"Port {port} for {name} is taken by another program. "
                    f"Free it, or unset WAFER_PORTS__{name.upper()} to have a free one chosen.",
                )
            if port is not None:
                chosen[name] = port
        for name in names:
            port = self.ports.get(name, any_port())
            while name not in chosen:
                if port not in chosen.values() and is_free(host, port):
                    chosen[name] = port
                port = any_port()
        self.ports = chosen

    def connect(self, settings: Settings, services: Sequence[ServiceName]) -> Settings:
        """Return the settings, pointing at the services."""
        s3, mongo, mlflow, host = settings.s3, settings.mongo, settings.mlflow, settings.services_host
        if "s3" in services:
            s3 = s3.model_copy(
                update={
                    "endpoint_url": url("s3", host, self.ports["s3"]),
                    "access_key_id": SecretStr(self.s3_access_key),
                    "secret_access_key": SecretStr(self.s3_secret_key),
                }
            )
        if "mongo" in services:
            mongo = mongo.model_copy(update={"uri": SecretStr(self.mongo_uri(host))})
        if "mlflow" in services:
            mlflow = mlflow.model_copy(update={"tracking_uri": url("mlflow", host, self.ports["mlflow"])})
        return settings.model_copy(update={"s3": s3, "mongo": mongo, "mlflow": mlflow})

    def mongo_uri(self, host: IPvAnyAddress) -> str:
        """Return the connection string of the platform's user, password included."""
        return f"mongodb://wafer:{self.mongo_password}@{host}:{self.ports['mongo']}/?authSource=admin"

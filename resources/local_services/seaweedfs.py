"""SeaweedFS: the local S3 server, with two users of which the platform is the lesser one."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from resources.local_services.identity import Identity
from resources.local_services.server import Server, program
from resources.local_services.state import write_private
from resources.s3 import s3_client

INNER_PORTS = (
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
"""Names of the ports that its parts talk to each other on."""

_SOCKETS = Path("/tmp")  # noqa: S108 (it asks nobody)


class SeaweedFS(Server):
    """The local S3 server."""

    name = "s3"

    @property
    def environment(self) -> Mapping[str, str]:
        """Its home and its limit of memory."""
        return {"HOME": str(self.folder), "GOMEMLIMIT": "512MiB"}

    @property
    def _credentials(self) -> Path:
        return self._state.path / "s3.json"

    @property
    def _certificate(self) -> Path:
        return self.folder / "grpc.crt"

    @property
    def _key(self) -> Path:
        return self.folder / "grpc.key"

    def prepare(self) -> None:
        """Make its folder ready, and write who may do what."""
        super().prepare()
        # SeaweedFS writes the options of its last start there and would read them again.
        (self.folder / "mini.options").unlink(missing_ok=True)
        certificate, key = _certificate()
        write_private(self._certificate, certificate)
        write_private(self._key, key)
        write_private(self.folder / "security.toml", _security(self._certificate, self._key))
        identity, s3 = self._identity, self._settings.s3
        buckets = (s3.landing_bucket, s3.lake_bucket)
        rights = [f"{action}:{bucket}" for action in ("Read", "Write", "List") for bucket in buckets]
        write_private(
            self._credentials,
            json.dumps(
                {
                    "identities": [
                        _user("admin", identity.s3_admin_access_key, identity.s3_admin_secret_key, ["Admin"]),
                        _user("platform", identity.s3_access_key, identity.s3_secret_key, rights),
                    ]
                }
            ),
        )

    def command(self) -> list[str]:
        """Return the command that runs master, volume server, filer and S3 in one process."""
        options = {
            "dir": self.folder,
            "ip": self._host,
            "ip.bind": self._host,
            "s3.port": self._identity.ports["s3"],
            **{name: self._identity.ports[name] for name in INNER_PORTS},
            "s3.config": self._credentials,
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
            # Else the filer gives all it holds to whoever asks, and to every web page.
            "disableHttp": "true",
            "s3.allowedOrigins": "https://nobody.invalid",
            "webdav": "false",
            "admin.ui": "false",
        }
        return [
            program("weed"),
            "-logtostderr=true",
            "mini",
            *(f"-{name}={value}" for name, value in options.items()),
        ]

    def check(self) -> None:
        """Create the buckets where there are none, and store and read in them as the platform does."""
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


def remove_sockets(identity: Identity) -> None:
    """Remove the sockets that it leaves behind, once it has ended."""
    for port in identity.ports.values():
        for forgotten in _SOCKETS.glob(f"seaweedfs-*-grpc-{port}.sock"):
            forgotten.unlink(missing_ok=True)


def _security(certificate: Path, key: Path) -> str:
    """Return what makes its parts ask each other for signed requests and for a certificate; new with every start."""
    signing = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    parts = ("master", "volume", "filer", "s3", "admin", "worker", "client")
    sections = [f'[{kind}]\nkey = "{secrets.token_urlsafe(30)}"\nexpires_after_seconds = 60\n' for kind in signing]
    sections.append(f"[grpc]\nca = {json.dumps(str(certificate))}\n")
    files = f"cert = {json.dumps(str(certificate))}\nkey = {json.dumps(str(key))}\n"
    return "".join([*sections, *(f"[grpc.{part}]\n{files}" for part in parts)])


def _certificate() -> tuple[str, str]:
    """Return a certificate and its key: whoever has it is one of the parts, and nobody else signs another."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wafer local S3")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return certificate.public_bytes(Encoding.PEM).decode(), text


def _user(name: str, access_key: str, secret_key: str, actions: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": actions,
    }

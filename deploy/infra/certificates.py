"""What the certificates of a region's databases are checked against; AWS publishes it."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path

from deploy.infra.environment import InfraError

PUBLISHED = "https://truststore.pki.rds.amazonaws.com"
_SECONDS = 30


def certificates_of(region: str, kept: Path, published: str = PUBLISHED) -> str:
    """Return a region's certificates in PEM: those that are kept, or else those that AWS publishes.

    Parameters
    ----------
    region : str
        AWS region.
    kept : Path
        File of an environment's folder. Whoever deletes it has them fetched anew.
    published : str
        Where AWS has them.

    Raises
    ------
    InfraError
        If there are none, or what there is are no certificates.
    """
    address = f"{published}/{region}/{region}-bundle.pem"
    advice = f"Put them there yourself: curl -fsSo {kept} {address}"
    try:
        if kept.is_file():
            address, text = str(kept), kept.read_text()
        else:
            with urllib.request.urlopen(address, timeout=_SECONDS) as answer:  # noqa: S310 (https, or a test's)
                text = answer.read(1_000_000).decode()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:  # what is no PEM is an SSLError, which is an OSError
        raise InfraError(f"{address} holds no certificates of {region}'s databases: {error}. {advice}") from None
    return text

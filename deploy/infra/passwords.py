"""Values for the secrets that Terraform made without one: none is in its state, in a file or on a command line."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import boto3

from deploy.infra.environment import InfraError

_LETTERS = 32  # bytes of randomness in a password
Ask = Callable[[str, bool], str]
"""Asks a person for a value; the second argument says whether it must not be shown."""


def fill(
    session: boto3.Session, facts: dict[str, Any], ask: Ask, replace: frozenset[str] = frozenset()
) -> dict[str, bool]:
    """Give every secret that has no value one, and return which were filled.

    Parameters
    ----------
    session : boto3.Session
        In the environment's account and region.
    facts : dict
        Terraform's output ``secrets``.
    ask : callable
        Asks for what only a person knows.
    replace : frozenset of str
        Secrets that get another value although they have one.

    Raises
    ------
    InfraError
        If there is no secret of a name in ``replace``, or a person gives nonsense.
    """
    names: dict[str, str] = facts["names"]
    if unknown := replace - set(names):
        raise InfraError(f"There is no secret {', '.join(sorted(unknown))}. There are: {', '.join(sorted(names))}.")
    client = session.client("secretsmanager")
    filled = {}
    for name, full_name in sorted(names.items()):
        filled[name] = name in replace or not _has_value(client, full_name)
        if filled[name]:
            client.put_secret_value(SecretId=full_name, SecretString=json.dumps(_value(name, facts, ask)))
    return filled


def value(session: boto3.Session, name: str) -> dict[str, str]:
    """Return a secret's value.

    Raises
    ------
    InfraError
        If it has none.
    """
    client = session.client("secretsmanager")
    if not _has_value(client, name):
        raise InfraError(f"The secret {name} has no value yet: `make secrets` gives it one.")
    found: dict[str, str] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
    return found


def _has_value(client: Any, name: str) -> bool:
    client.describe_secret(SecretId=name)  # one that is not there is an error
    try:
        return bool(client.get_secret_value(SecretId=name).get("SecretString"))
    except client.exceptions.ResourceNotFoundException:  # it is there, and has no value
        return False


def _value(name: str, facts: dict[str, Any], ask: Ask) -> dict[str, str]:
    password = secrets.token_urlsafe(_LETTERS)
    if name == "postgresql":
        return {"password": password}
    if name == "mlflow":
        checked = "sslmode=verify-full&sslrootcert=/etc/rds/ca.pem"
        address = f"postgresql+psycopg2://mlflow:{password}@{facts['postgresql']}:5432/mlflow?{checked}"
        return {"backend-store-uri": address}
    if name == "stores":
        urls = ask("Apprise addresses of notifications, as a JSON list", True) or "[]"
        try:
            listed = json.loads(urls)
        except ValueError:
            listed = None
        if not isinstance(listed, list) or not all(isinstance(url, str) for url in listed):
            raise InfraError('The addresses are no JSON list of texts: write ["slack://…"], or [] for none.')
        return {
            "mongo-uri": facts["mongo_uri"],
            "notification-urls": urls,
            "mlflow-username": "",
            "mlflow-password": "",
        }
    return {
        "client-id": ask("OIDC client id", False),
        "client-secret": ask("OIDC client secret", True),
        "cookie-secret": secrets.token_urlsafe(32),
    }

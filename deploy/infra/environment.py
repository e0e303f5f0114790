"""An environment as its file in ``deploy/terraform/environments`` declares it, and the account that it is in."""

import re
from dataclasses import dataclass
from pathlib import Path

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / "deploy" / "terraform"
ENVIRONMENTS = TERRAFORM / "environments"


class InfraError(click.ClickException):
    """Something that a person has to set right; its message says what was found and what to do."""


@dataclass(frozen=True)
class Environment:
    """What the commands must know of an environment before Terraform runs.

    Attributes
    ----------
    file : Path
        Terraform's variables, which hold all that differs between environments.
    name, project, region, account : str
        Variables of the same names in the file.
    awake : bool
        Whether there is to be a cluster; ``awake`` in the file.
    """

    file: Path
    name: str
    project: str
    region: str
    account: str
    awake: bool

    @classmethod
    def read(cls, name: str, folder: Path = ENVIRONMENTS) -> "Environment":
        """Return the environment of a name.

        Raises
        ------
        InfraError
            If there is no such file, or if it does not say what it must.
        """
        file = folder / f"{name}.tfvars"
        if not file.is_file():
            known = ", ".join(sorted(path.stem for path in folder.glob("*.tfvars"))) or "none"
            raise InfraError(f"There is no environment {name!r}: {file} is missing. There are: {known}.")
        text = file.read_text()

        def value(key: str, pattern: str, default: str | None = None) -> str:
            lines = re.findall(rf"^{key}\s*=\s*(.*?)\s*(?:#.*)?$", text, re.MULTILINE)
            found = lines[0].strip('"') if lines else default
            if len(lines) > 1 or found is None or not re.fullmatch(pattern, found):
                said = " and ".join(lines) or "nothing"
                raise InfraError(f"{file.name} says {said} for `{key}`: write it once, on a line of its own.")
            return found

        declared = value("environment", r"[a-z][a-z0-9]{1,11}")
        if declared != name:
            raise InfraError(f"{file.name} says that it is of {declared!r}: its name and `environment` must agree.")
        return cls(
            file,
            name,
            value("project", r"[a-z][a-z0-9]{1,11}", "wafer"),
            value("region", r"[a-z]{2}(-[a-z]+)+-\d"),
            value("account", r"\d{12}"),
            value("awake", "true|false", "true") == "true",
        )

    @property
    def full_name(self) -> str:
        """First part of every name in the account."""
        return f"{self.project}-{self.name}"

    @property
    def state_bucket(self) -> str:
        """The bucket of Terraform's state."""
        return f"{self.full_name}-terraform-{self.account}"


def sign_in(environment: Environment) -> boto3.Session:
    """Return a session in the environment's region, after a look at whose account it is.

    Raises
    ------
    InfraError
        If there are no credentials, or those of another account.
    """
    session = boto3.Session(region_name=environment.region)
    try:
        account = session.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise InfraError(
            f"AWS does not know who you are: {error}. Sign in, for example with `aws sso login` and AWS_PROFILE."
        ) from None
    if account != environment.account:
        raise InfraError(
            f"These credentials are of account {account}, and {environment.name} is in {environment.account}. "
            "Sign in to the other account, or correct `account` in the environment's file."
        )
    return session

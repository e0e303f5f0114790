"""Terraform's two stacks: ``cloud`` is all in AWS and Atlas, ``base`` what a cluster needs before the platform."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.infra.environment import TERRAFORM, Environment, InfraError

# What people run into, by Terraform's words, and what to do about it.
ADVICE = {
    r"Error acquiring the state lock": (
        "Somebody else changes {name} just now: wait. If nobody does, a run was killed: take the ID above and run\n"
        "  terraform -chdir=deploy/terraform/{stack} force-unlock ID"
    ),
    r"No valid credential sources|ExpiredToken|InvalidClientTokenId|no EC2 IMDS role": (
        "AWS does not know who you are: sign in, for example with `aws sso login` and AWS_PROFILE."
    ),
    r"AWS account ID not allowed": "These credentials are of another account than {name} is in: sign in to that one.",
    r"S3 bucket .* does not exist|NoSuchBucket": "There is no bucket for the state yet: `make state ENV={name}`.",
    r"BucketAlreadyExists|BucketAlreadyOwnedByYou": (
        "A bucket's name is taken, for names are unique in the world: set another `bucket_suffix` in {file}."
    ),
    r"scheduled for deletion": (
        "A secret of that name waits for its deletion. Delete it for good:\n"
        "  aws secretsmanager delete-secret --force-delete-without-recovery --secret-id NAME"
    ),
    r"already exists|EntityAlreadyExists": (
        "Something of that name is there already. If it is a leftover, `make sweep ENV={name}` names it: delete it. "
        "If it is somebody else's, change `project` in {file}."
    ),
    r"(?i)unauthorized.*atlas|atlas.*unauthorized|HTTP 401": (
        "Atlas does not know you: set MONGODB_ATLAS_PUBLIC_KEY and MONGODB_ATLAS_PRIVATE_KEY."
    ),
    r"limit exceeded|LimitExceeded|VcpuLimitExceeded": (
        "A quota of the account is used up: raise it in Service Quotas, or lower the size in {file}."
    ),
}


@dataclass(frozen=True)
class Stack:
    """One of the two stacks, of one environment."""

    environment: Environment
    name: str
    folder: Path = TERRAFORM

    def init(self) -> None:
        """Make Terraform ready to work on the environment's state."""
        environment = self.environment
        backend = {
            "bucket": environment.state_bucket,
            "key": f"{self.name}.tfstate",
            "region": environment.region,
        }
        self.run(
            "init", "-reconfigure", *(f"-backend-config={key}={value}" for key, value in backend.items()), quiet=True
        )

    def run(self, *arguments: str, quiet: bool = False, accept: Sequence[int] = (0,)) -> int:
        """Run Terraform, show what it says, and return its exit status.

        Parameters
        ----------
        *arguments : str
            Command and options.
        quiet : bool
            Show only errors.
        accept : sequence of int
            Exit statuses that are no failure.

        Raises
        ------
        InfraError
            If it fails, with advice where the cause is a known one.
        """
        command = self._command(*arguments)
        with subprocess.Popen(
            command,
            env=self.variables(),
            stdout=subprocess.DEVNULL if quiet else None,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                sys.stderr.write(line)
                said.append(line)
        if process.returncode not in accept:
            raise InfraError(self.advice("".join(said)) or f"`terraform {arguments[0]}` failed: see above.")
        return process.returncode

    def read(self, *arguments: str) -> str:
        """Return what Terraform prints.

        Raises
        ------
        InfraError
            If it fails.
        """
        done = subprocess.run(
            self._command(*arguments), env=self.variables(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InfraError(f"{done.stderr.strip()}\n{self.advice(done.stderr)}".strip())
        return done.stdout

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs by name; none if it was never applied."""
        return {name: output["value"] for name, output in json.loads(self.read("output", "-json")).items()}

    def resources(self) -> list[str]:
        """Return the addresses of all that is in the state; none if there is no state."""
        listed = subprocess.run(
            self._command("state", "list"), env=self.variables(), capture_output=True, text=True, check=False
        )
        if listed.returncode and "No state file was found" not in listed.stderr:
            raise InfraError(f"{listed.stderr.strip()}\n{self.advice(listed.stderr)}".strip())
        return [address for address in listed.stdout.splitlines() if ".data." not in f".{address}"]

    def _command(self, *arguments: str) -> list[str]:
        program = shutil.which("terraform")
        if program is None:
            raise InfraError("Terraform is not installed: 1.11 or later is needed, from its own project's pages.")
        return [program, f"-chdir={self.folder / self.name}", *arguments]

    def variables(self) -> dict[str, str]:
        """Return the environment that Terraform runs in."""
        # A folder for each environment: what was initialised for one must never be applied to another.
        return {**os.environ, "TF_DATA_DIR": f".terraform/{self.environment.name}"}

    def advice(self, said: str) -> str | None:
        """Return what to do about what Terraform said, if the cause is a known one."""
        for pattern, advice in ADVICE.items():
            if re.search(pattern, said):
                name, file = self.environment.name, self.environment.file.name
                return advice.format(name=name, file=file, stack=self.name)
        return None


def kind(address: str) -> str:
    """Return the type of the resource at an address, such as ``aws_subnet`` of ``module.a["b.c"].aws_subnet.d[0]``."""
    return re.sub(r"\[[^]]*\]", "", address).split(".")[-2]


@contextmanager
def variables(environment: Environment, cloud: Stack, stack: str) -> Iterator[list[str]]:
    """Yield the arguments that give a stack its variables: the environment's file, or what ``cloud`` hands to ``base``.

    Raises
    ------
    InfraError
        If ``cloud`` has nothing to hand on.
    """
    if stack == "cloud":
        yield [f"-var-file={environment.file}"]
        return
    outputs = cloud.outputs()
    if not outputs.get("base", {}).get("cluster"):
        raise InfraError(f"{environment.name} has no cluster: `make apply ENV={environment.name}` makes it.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "base.tfvars.json"
        file.write_text(json.dumps(outputs["base"]))
        yield [f"-var-file={file}"]

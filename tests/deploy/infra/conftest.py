"""Terraform with its providers' schemas, and a stand-in for AWS: for tests of what makes and unmakes an environment.

Terraform needs a kit that serves the schemas offline, in the folder that ``TERRAFORM_KIT`` names or beside the
project. The stand-in, on loopback, is one of the tools that ``make infra-check`` sets up. Where one is missing, its
tests are skipped and say so.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import certifi
import pytest

ROOT = Path(__file__).parents[3]
KIT = Path(os.environ.get("TERRAFORM_KIT", ROOT.parent / "shared" / "terraform"))
TOOLS = ROOT / ".venv-infra" / "bin"
CERTIFICATES = Path(certifi.where()).read_text()
ACCOUNT, REGION = "111122223333", "eu-central-1"

NO_TERRAFORM = pytest.mark.skipif(
    shutil.which("terraform") is None or not (KIT / "run").is_file(),
    reason=f"terraform, or the kit that serves its providers' schemas, is missing: TERRAFORM_KIT={KIT}",
)
NO_TOOLS = pytest.mark.skipif(
    not (TOOLS / "ministack").is_file(), reason=f"{TOOLS.parent.name} is missing: `make infra-check` sets it up"
)


def terraform(*arguments: str, folder: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run Terraform in a folder, with the providers' schemas."""
    command = [str(KIT / "run"), "terraform", f"-chdir={folder}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, **options)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's infrastructure: Terraform writes beside what it reads."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns(".terraform", "__pycache__", "environments.bak")
    for name in ("deploy", "helm_values"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("dev", "production"):  # AWS publishes them, and is out of reach
        kept = folder / "deploy" / "environments" / name / "ca.pem"
        kept.parent.mkdir(parents=True)
        kept.write_text(CERTIFICATES)
    return folder


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a stand-in for AWS, on loopback, that is empty at first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "DOCKER_HOST": "unix:///nowhere",
    }
    address = f"http://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("aws")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [TOOLS / "ministack"],
            env=os.environ | variables,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for(f"{address}/_ministack/health", server, folder / "log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=10)


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1):  # noqa: S310 (loopback)
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the stand-in for AWS did not start: {log.read_text()}")


@pytest.fixture
def aws(stand_in: str, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """A session with the stand-in, emptied: this process and all that it starts takes it for AWS."""
    variables = {f"AWS_ENDPOINT_URL{suffix}": stand_in for suffix in ("", "_S3", "_STS", "_IAM")}
    variables |= {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "none", "AWS_EC2_METADATA_DISABLED": "true"}
    # Buckets of AWS are hosts; those of the stand-in are folders.
    variables["TF_CLI_ARGS_init"] = "-backend-config=use_path_style=true"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    reset = urllib.request.Request(f"{stand_in}/_ministack/reset", method="POST")  # noqa: S310 (loopback)
    with urllib.request.urlopen(reset, timeout=10):  # noqa: S310
        pass
    return boto3.Session(region_name=REGION)


Infra = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def infra(project: Path) -> Infra:
    """Run one of the commands, as `make` does, on the copy of the project."""

    def run(*arguments: str, given: str = "", path: str | None = None) -> "subprocess.CompletedProcess[str]":
        python = str(ROOT / ".venv" / "bin" / "python")
        variables = os.environ | {"PYTHONPATH": str(project)} | ({"PATH": path} if path else {})
        # The one made-up attribute that is looked up in the stand-in.
        fixtures = project / "fixtures.json"
        fixtures.write_text(json.dumps({"aws_db_instance": {"secret_arn": "secret-of-rds"}}))
        variables["TF_KIT_FIXTURES"] = str(fixtures)
        command = [str(KIT / "run"), python, "-m", "deploy.infra", *arguments]
        return subprocess.run(
            command, cwd=project, env=variables, input=given, capture_output=True, text=True, timeout=280, check=False
        )

    return run


def outputs(project: Path, stack: str = "cloud", environment: str = "production") -> dict[str, Any]:
    """Outputs of a stack that was applied."""
    done = terraform(
        "output", "-json", folder=project / "deploy" / "terraform" / stack,
        env=os.environ | {"TF_DATA_DIR": f".terraform/{environment}"},
    )  # fmt: skip
    return {name: output["value"] for name, output in json.loads(done.stdout).items()}


@pytest.fixture
def bin_with_kubectl(tmp_path: Path) -> str:
    """A search path whose `kubectl` and `aws` write down what they are asked and given: there is no cluster."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("kubectl", "aws"):
        file = folder / program
        keep = f'case "$*" in *"run wafer-databases"*) cat > {tmp_path}/given;; esac'
        file.write_text(f'#!/bin/sh\necho "{program} $*" >> {tmp_path}/asked\n{keep}\n')
        file.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"

"""What is asked of the cluster with ``kubectl``: to let go of what AWS made for it, and to run one command inside."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from deploy.infra.environment import Environment, InfraError

# The order matters: who would make a thing again goes first, and who deletes what AWS made for it must still be there.
WAIT = ("--wait", "--timeout=15m", "--ignore-not-found")
DRAIN = {
    "what would make Argo CD's applications again": ("-n", "argocd", "delete", "applicationsets.argoproj.io", "--all"),
    "Argo CD's applications": ("-n", "argocd", "delete", "applications.argoproj.io", "--all"),
    "ingresses, and with them the load balancer": ("delete", "ingress", "--all", "-A"),
    "services with a load balancer": ("delete", "service", "-A", "--field-selector=spec.type=LoadBalancer"),
    "the platform, its runs included": ("delete", "namespace", "wafer", "wafer-runs"),
    "volumes": ("delete", "persistentvolumeclaim", "--all", "-A"),
}


@contextmanager
def reached(environment: Environment) -> Iterator[list[str]]:
    """Yield the beginning of every ``kubectl`` command for the environment's cluster; no file of the user is touched.

    Raises
    ------
    InfraError
        If AWS does not tell where the cluster is.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kubeconfig"
        command = ["aws", "eks", "update-kubeconfig", "--name", environment.full_name, "--region", environment.region]
        _call([*command, "--kubeconfig", str(file)], "find the cluster")
        yield ["kubectl", f"--kubeconfig={file}"]


def drain(kubectl: Sequence[str]) -> None:
    """Delete what AWS made for the cluster, and what would make it again; safe to repeat.

    Raises
    ------
    InfraError
        If the cluster does not answer, or keeps something.
    """
    for what, arguments in DRAIN.items():
        click.echo(f"Deleting {what} ...")
        # A kind that the cluster does not know has no objects.
        _call([*kubectl, *arguments, *WAIT], "drain the cluster", absent="the server doesn't have a resource type")


def _call(command: Sequence[str], purpose: str, absent: str | None = None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InfraError(f"`{command[0]}` is not installed, and is needed to {purpose}.") from None
    if done.returncode and not (absent and absent in done.stderr):
        raise InfraError(
            f"Could not {purpose}: `{' '.join(command[:1])}` says: {done.stderr.strip() or done.stdout.strip()}"
        )
    click.echo(done.stdout, nl=False)

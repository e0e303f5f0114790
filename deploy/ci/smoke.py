"""Whether what was delivered runs: Argo CD is done with the commit, and the pods have the image and are ready."""

import json
import time
from collections.abc import Callable, Collection
from typing import Any

import click

from deploy.ci.process import BUILD, output

_PAUSE = 5  # seconds
OUR_IMAGE = "wafer-fault-platform"


def missing(
    application: dict[str, Any],
    deployments: list[dict[str, Any]],
    commit: str,
    digest: str,
    may_wait: Collection[str] = (),
) -> list[str]:
    """Return what is still missing, in words; nothing if all of it runs.

    Parameters
    ----------
    application
        Argo CD's object for the environment.
    deployments
        Those of the namespace.
    commit
        Of the delivery repository.
    digest
        Of the image that every pod of ours should have.
    may_wait
        Names of Deployments that need not be ready.
    """
    status = application.get("status", {})
    sync, health = status.get("sync", {}), status.get("health", {})
    found = []
    if commit not in [sync.get("revision"), *sync.get("revisions", [])]:
        found.append(f"Argo CD has not seen commit {commit[:12]}")
    if sync.get("status") != "Synced":
        found.append(f"Argo CD says {sync.get('status', 'nothing')} where it should say Synced{_reason(status)}")
    if health.get("status") != "Healthy":
        found.append(f"Argo CD says {health.get('status', 'nothing')} where it should say Healthy")
    ours = [(one, image) for one in deployments for image in _images(one) if OUR_IMAGE in image]
    if not ours:
        found.append("no Deployment has our image")
    found += [f"{_name(one)} has {image}" for one, image in ours if not image.endswith(f"@{digest}")]
    return found + [reason for one in deployments if _name(one) not in may_wait and (reason := _unready(one))]


def wait(look: Callable[[], list[str]], seconds: float, pause: float = _PAUSE) -> None:
    """Look until nothing is missing.

    Raises
    ------
    click.ClickException
        Something is still missing after this time.
    """
    end = time.monotonic() + seconds
    while still := look():
        if time.monotonic() > end:
            raise click.ClickException(
                "\n".join([f"Not running after {seconds:.0f} s:", *(f"- {one}" for one in still)])
            )
        time.sleep(pause)


def _reason(status: dict[str, Any]) -> str:
    message = status.get("operationState", {}).get("message") or next(
        (condition.get("message") for condition in status.get("conditions", [])), None
    )
    return f": {message}" if message else ""


def _name(deployment: dict[str, Any]) -> str:
    return str(deployment["metadata"]["name"])


def _images(deployment: dict[str, Any]) -> list[str]:
    return [str(container["image"]) for container in deployment["spec"]["template"]["spec"]["containers"]]


def _unready(deployment: dict[str, Any]) -> str | None:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return f"{_name(deployment)} was not looked at yet"
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    return f"{_name(deployment)} has {ready} of {wanted} pods ready" if ready < wanted else None


def _get(*what: str) -> dict[str, Any]:
    return dict(json.loads(output("kubectl", "get", *what, "--output=json")))


@click.command("smoke")
@click.option("--argocd", default="argocd", show_default=True, help="Namespace of Argo CD.")
@click.option("--namespace", default="wafer", show_default=True, help="Namespace of the platform.")
@click.option(
    "--may-wait",
    default=["wafer-scoring"],
    show_default=True,
    multiple=True,
    metavar="DEPLOYMENT",
    help="One that need not be ready: the scoring server waits for the first champion.",
)
@click.option("--timeout", default=900, show_default=True, metavar="SECONDS", help="How long it may take.")
def command(argocd: str, namespace: str, may_wait: tuple[str, ...], timeout: int) -> None:
    """Wait until what build/delivered.json names runs, and say what is missing if it does not.

    It only reads: the account needs `get` on applications of --argocd and `list` on deployments of --namespace.
    """
    delivered = json.loads((BUILD / "delivered.json").read_text())
    name = f"wafer-{delivered['environment']}"

    def look() -> list[str]:
        deployments = _get("deployments", f"--namespace={namespace}")["items"]
        application = _get("applications.argoproj.io", name, f"--namespace={argocd}")
        return missing(application, deployments, delivered["commit"], delivered["image"]["digest"], may_wait)

    wait(look, timeout)
    click.echo(f"{name} runs {delivered['image']['tag']}")

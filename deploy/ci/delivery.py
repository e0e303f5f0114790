"""The delivery repository: a file per environment says what runs there, and a revert is a rollback."""

import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from deploy.ci.process import BUILD, output, succeeds
from deploy.image import ROOT

_TRIES = 5
_HEADER = "# What runs here. `chart`, `revision` and `image` are the pipeline's: revert its commit to roll back.\n"
_AUTHOR = ("-c", "user.name=wafer delivery", "-c", "user.email=delivery@wafer.invalid")


@dataclass(frozen=True)
class Release:
    """What runs in an environment.

    Attributes
    ----------
    chart
        Version of Dagster's chart.
    revision
        Commit of this repository whose manifests and values belong to the image.
    image
        ``repository``, ``tag`` and ``digest``.
    """

    chart: str
    revision: str
    image: dict[str, str]


class CannotDeliver(click.ClickException):
    """The delivery repository cannot take the change; its message says why and what to do."""


def deliver(repository: str, environment: str, release: Release, branch: str = "main") -> str:
    """Write a release into an environment's file, and return the commit that has it.

    Delivered twice, there is one commit. Where others push at the same time, theirs stay.

    Parameters
    ----------
    repository
        Address of the delivery repository.
    environment
        Name of its file in ``environments``.
    release
        What is to run there.
    branch
        Branch that Argo CD follows.

    Raises
    ------
    CannotDeliver
        There is no such environment, the digest is none, or the repository refuses.
    """
    image = release.image
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"]):
        raise CannotDeliver(f"{image['digest']!r} is no digest: an environment runs what cannot change.")
    with tempfile.TemporaryDirectory(prefix="wafer-delivery-") as folder:
        checkout = Path(folder, "delivery")
        output("git", "clone", "--quiet", "--depth=1", f"--branch={branch}", repository, str(checkout))
        for _ in range(_TRIES):
            file = checkout / "environments" / f"{environment}.yaml"
            known = sorted(path.stem for path in (checkout / "environments").glob("*.yaml"))
            if environment not in known:
                names = ", ".join(known) or "none"
                raise CannotDeliver(f"{repository} has no environments/{environment}.yaml; its environments: {names}.")
            file.write_text(changed(file.read_text(), release))
            if not output("git", "status", "--porcelain", within=checkout):
                return output("git", "rev-parse", "HEAD", within=checkout)
            message = f"Run {image['tag']} in {environment}\n\nrevision: {release.revision}\ndigest: {image['digest']}"
            output("git", *_AUTHOR, "commit", "--quiet", "--all", f"--message={message}", within=checkout)
            if succeeds("git", "push", "--quiet", "origin", f"HEAD:{branch}", within=checkout):
                return output("git", "rev-parse", "HEAD", within=checkout)
            output("git", "fetch", "--quiet", "--depth=1", "origin", branch, within=checkout)
            output("git", "reset", "--quiet", "--hard", "FETCH_HEAD", within=checkout)
    raise CannotDeliver(
        f"{repository} refused {_TRIES} pushes to {branch}: is the branch protected, or the key read-only?"
    )


def changed(text: str, release: Release) -> str:
    """Return an environment's file with another release; what people wrote stays."""
    environment: dict[str, Any] = yaml.safe_load(text)
    environment |= asdict(release)
    return _HEADER + yaml.safe_dump(environment, sort_keys=False)


def chart_version(values: Path = ROOT / "helm_values" / "base.yaml") -> str:
    """Return the version of the chart that the values are for: the first line of their file says it."""
    match = re.match(r"# chart: dagster (\d+\.\d+\.\d+)\n", values.read_text())
    if match is None:
        raise ValueError(f"{values.name} does not begin with the version of its chart")
    return match[1]


@click.command("deliver")
@click.argument("environment")
@click.option(
    "--repository", envvar="WAFER_DELIVERY_REPOSITORY", required=True, help="Address of the delivery repository."
)
@click.option("--branch", default="main", show_default=True, help="Its branch that Argo CD follows.")
def command(environment: str, repository: str, branch: str) -> None:
    """Let ENVIRONMENT run the image of build/image.json with the manifests of HEAD, by one commit.

    build/delivered.json names the commit, for the smoke test.
    """
    image = json.loads((BUILD / "image.json").read_text())
    release = Release(chart_version(), output("git", "rev-parse", "HEAD"), image)
    commit = deliver(repository, environment, release, branch)
    (BUILD / "delivered.json").write_text(
        json.dumps({"environment": environment, "commit": commit, "image": image}) + "\n"
    )
    click.echo(f"{environment} runs {image['tag']} from commit {commit[:12]} on")

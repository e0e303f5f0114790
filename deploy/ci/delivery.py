"""The delivery repository: a file per environment says what runs there, and a revert is a rollback."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import click
import yaml

from deploy.ci.process import BUILD, output, succeeds

_TRIES = 5
_HEADER = (
    "# What runs in this environment. `revision` and `image` are the pipeline's; revert its commit to roll back.\n"
)
_AUTHOR = ("-c", "user.name=wafer delivery", "-c", "user.email=delivery@wafer.invalid")


class CannotDeliver(click.ClickException):
    """The delivery repository cannot take the change; its message says why and what to do."""


def deliver(repository: str, environment: str, revision: str, image: dict[str, str], branch: str = "main") -> str:
    """Write image and revision into an environment's file, and return the commit that has them.

    Delivered twice, there is one commit. Where others push at the same time, theirs stay.

    Parameters
    ----------
    repository
        Address of the delivery repository.
    environment
        Name of its file in ``environments``.
    revision
        Commit of this repository whose manifests and values belong to the image.
    image
        ``repository``, ``tag`` and ``digest``.
    branch
        Branch that Argo CD follows.

    Raises
    ------
    CannotDeliver
        There is no such environment, the digest is none, or the repository refuses.
    """
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
            file.write_text(changed(file.read_text(), revision, image))
            if not output("git", "status", "--porcelain", within=checkout):
                return output("git", "rev-parse", "HEAD", within=checkout)
            message = f"Run {image['tag']} in {environment}\n\nrevision: {revision}\ndigest: {image['digest']}"
            output("git", *_AUTHOR, "commit", "--quiet", "--all", f"--message={message}", within=checkout)
            if succeeds("git", "push", "--quiet", "origin", f"HEAD:{branch}", within=checkout):
                return output("git", "rev-parse", "HEAD", within=checkout)
            output("git", "fetch", "--quiet", "--depth=1", "origin", branch, within=checkout)
            output("git", "reset", "--quiet", "--hard", "FETCH_HEAD", within=checkout)
    raise CannotDeliver(
        f"{repository} refused {_TRIES} pushes to {branch}: is the branch protected, or the key read-only?"
    )


def changed(text: str, revision: str, image: dict[str, str]) -> str:
    """Return an environment's file with another image and revision; what people wrote stays."""
    environment: dict[str, Any] = yaml.safe_load(text)
    environment |= {"revision": revision, "image": {key: image[key] for key in ("repository", "tag", "digest")}}
    return _HEADER + yaml.safe_dump(environment, sort_keys=False)


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
    commit = deliver(repository, environment, output("git", "rev-parse", "HEAD"), image, branch)
    (BUILD / "delivered.json").write_text(
        json.dumps({"environment": environment, "commit": commit, "image": image}) + "\n"
    )
    click.echo(f"{environment} runs {image['tag']} from commit {commit[:12]} on")

"""What a commit changes, decided from contents: the hashes that Git keeps of files, and the image's own tag."""

import io
import json
import tarfile
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from deploy.ci.process import BUILD, output, succeeds
from deploy.ci.registry import Registry
from deploy.image import ROOT, Base, content, tag_of

Subject = Literal["documentation", "lines", "infrastructure", "hosts", "delivery", "code"]
Tests = Literal["all", "lines", "documentation", "none"]

_FOLDERS: dict[str, Subject] = {
    "deploy/terraform/": "infrastructure",
    "deploy/environments/": "delivery",
    "deploy/ansible/": "hosts",
    "deploy/argocd/": "delivery",
    "deploy/manifests/": "delivery",
    "helm_values/": "delivery",
    "docs/": "documentation",
}


@dataclass(frozen=True)
class Plan:
    """What the pipeline has to do for a commit.

    Attributes
    ----------
    base
        The commit that it is compared with; None if there is none, and everything is new.
    subjects
        What changed, in words.
    paths
        The files that changed.
    tests
        ``all``; ``lines``, the contracts of lines; ``documentation``, what holds pages against the code; or ``none``.
    infrastructure
        Whether Terraform has to plan.
    tag
        The image's tag, which follows from its content.
    image
        Whether an image has to be built: its content changed, and no image of that content is in the registry.
    release
        Whether what runs changes: the image's content, its manifests or its values.
    """

    base: str | None
    subjects: list[Subject]
    paths: list[str]
    tests: Tests
    infrastructure: bool
    tag: str
    image: bool
    release: bool


def subject_of(path: str, in_image: bool) -> Subject:
    """Return what a file is about; what nobody thought of is code, and all tests run."""
    parts = path.split("/")
    if parts[0] == "schemas" and len(parts) > 2 and not path.endswith(".py"):
        return "lines"
    for folder, subject in _FOLDERS.items():
        if path.startswith(folder):
            return subject
    if not in_image and path.endswith(".md"):
        return "documentation"
    return "code"


def files_of(commit: str, repository: Path = ROOT) -> dict[str, str]:
    """Return the hash of every file's content and mode, by path."""
    entries = output("git", "ls-tree", "-r", "-z", "--full-tree", commit, within=repository).split("\0")
    pairs = (entry.split("\t", 1) for entry in entries if entry)
    return {path: about for about, path in pairs}


def decide(
    head: str, base: str | None, registry: Registry | None, repository: Path = ROOT, on: Base | None = None
) -> Plan:
    """Compare two commits and say what follows.

    Parameters
    ----------
    head, base
        Commits; without a base everything is new.
    registry
        Where images are; None if nobody can be asked, and then changed content means a new image.
    repository
        A folder of the Git repository.
    on
        The image's base; the Dockerfile's if not given.
    """
    new, old = files_of(head, repository), files_of(base, repository) if base else {}
    paths = sorted(path for path in new.keys() | old.keys() if new.get(path) != old.get(path))
    with tempfile.TemporaryDirectory(prefix="wafer-changes-") as folder:
        after = _exported(head, repository, Path(folder, "after"))
        tag, inside = tag_of(after, on or Base.default(after)), set(content(after))
        before = None
        if base:
            earlier = _exported(base, repository, Path(folder, "before"))
            before, inside = tag_of(earlier, on or Base.default(earlier)), inside | set(content(earlier))
    subjects = sorted({subject_of(path, path in inside) for path in paths})
    changed = tag != before
    return Plan(
        base=base,
        subjects=subjects,
        paths=paths,
        tests=tests_for(subjects),
        infrastructure="infrastructure" in subjects,
        tag=tag,
        image=changed and not (registry and registry.digest(tag)),
        release=changed or "delivery" in subjects,
    )


def tests_for(subjects: Collection[Subject]) -> Tests:
    """Return which tests can tell anything about such a change."""
    if {"code", "delivery", "hosts"} & set(subjects):
        return "all"
    if "lines" in subjects:
        return "lines"
    return "documentation" if "documentation" in subjects else "none"


def base_of(target: str | None, previous: str | None, repository: Path = ROOT) -> str | None:
    """Return what a build is compared with: where a change request left its target, or what was last built well."""
    if target:
        return output("git", "merge-base", "HEAD", target, within=repository)
    if previous and succeeds("git", "merge-base", "--is-ancestor", previous, "HEAD", within=repository):
        return previous
    return None


def _exported(commit: str, repository: Path, folder: Path) -> Path:
    """Lay out what an image may be made of, as it was at a commit."""
    archive = folder.with_suffix(".tar")
    output("git", "archive", f"--output={archive}", commit, within=repository)
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
        tar.extractall(folder, filter="data")
    return folder


@click.command("changes")
@click.option(
    "--target", envvar="CHANGE_TARGET", help="Branch that a change request is for; compares with where it left."
)
@click.option("--previous", envvar="GIT_PREVIOUS_SUCCESSFUL_COMMIT", help="Last commit that was built well.")
@click.option("--registry", "place", help="Where images are: docker://HOST/NAME or oci:FOLDER.")
@click.option("--base", "on", envvar="WAFER_IMAGE_BASE", help="What the image is built on, as for `image`.")
def command(target: str | None, previous: str | None, place: str | None, on: str | None) -> None:
    """Say what HEAD changes and what has to be done for it; also in build/plan.json.

    With neither --target nor --previous, or where history was rewritten, everything counts as changed.
    """
    base = base_of(f"origin/{target}" if target else None, previous)
    plan = decide("HEAD", base, Registry(place) if place else None, on=Base.named(on) if on else None)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "plan.json").write_text(json.dumps(asdict(plan), indent=2) + "\n")
    click.echo(f"compared with: {base or 'nothing, so everything is new'}")
    click.echo(f"changed:       {', '.join(plan.subjects) or 'nothing'} ({len(plan.paths)} files)")
    click.echo(f"tests:         {plan.tests}")
    click.echo(f"terraform:     {'plan' if plan.infrastructure else 'nothing to plan'}")
    click.echo(f"image:         {plan.tag}, {'to be built' if plan.image else 'nothing to build'}")
    click.echo(f"release:       {'yes' if plan.release else 'no: what runs does not change'}")

"""The image of a commit: built unless the registry has it, with a list of what is in it."""

import json
import tempfile
from pathlib import Path

import click

from deploy.ci.process import BUILD, output
from deploy.ci.registry import Registry
from deploy.ci.tools import tool
from deploy.image import ROOT, Base, build_image, tag_of


def released(registry: Registry, base: str | None, labels: dict[str, str], sbom: Path) -> tuple[str, str]:
    """Return tag and digest of the image that these sources make, which is in the registry afterwards.

    Parameters
    ----------
    registry
        Where the image is looked for, and pushed to.
    base
        What it is built on, as for `build_image`.
    labels
        Build arguments: ``REVISION`` and ``SOURCE``.
    sbom
        File for the bill of materials in SPDX's JSON; it is not written if the image was there.
    """
    tag = tag_of(ROOT, Base.named(base) if base else Base.default())
    if digest := registry.digest(tag):
        click.echo(f"{registry.place}:{tag} is there already.", err=True)
        return tag, digest
    engine, name = build_image(base, labels)
    built = name.partition(":")[2]
    if built != tag:
        raise click.ClickException(f"{name} is on another base than {tag}: say --base, so that tags mean the same.")
    with tempfile.TemporaryDirectory(prefix=".release-", dir=sbom.parent) as folder:
        archive = Path(folder, "image.tar")
        engine.save(name, archive)
        write_sbom(archive, name, sbom)
        return tag, registry.push(archive, tag)


def write_sbom(archive: Path, name: str, sbom: Path) -> None:
    """List every package of an image in SPDX's JSON, with Syft."""
    source, _, version = name.partition(":")
    output(
        *(tool("syft"), "scan", f"docker-archive:{archive}"),
        *("--quiet", "--source-name", source, "--source-version", version, "--output", f"spdx-json={sbom}"),
    )


@click.command("image")
@click.option("--registry", "place", required=True, help="Where the image goes: docker://HOST/NAME or oci:FOLDER.")
@click.option("--base", envvar="WAFER_IMAGE_BASE", help="`debian`, or a base by digest; else the Dockerfile's.")
@click.option("--source", envvar="GIT_URL", help="Where the sources are, for the image's label.")
def command(place: str, base: str | None, source: str | None) -> None:
    """Build the image unless the registry has its content, list its packages, push it, and print its digest.

    build/image.json names it; build/sbom.spdx.json lists what is in it, if it was built.
    """
    registry = Registry(place)
    BUILD.mkdir(exist_ok=True)
    labels = {"REVISION": output("git", "rev-parse", "HEAD")} | ({"SOURCE": source} if source else {})
    tag, digest = released(registry, base, labels, BUILD / "sbom.spdx.json")
    named = {"repository": registry.repository, "tag": tag, "digest": digest}
    (BUILD / "image.json").write_text(json.dumps(named) + "\n")
    click.echo(f"{registry.repository}@{digest}")

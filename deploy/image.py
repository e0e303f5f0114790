"""The platform's container image: a name derived from its content, and how it is built where.

``python -m deploy.image build`` prints the image's full name and builds it only if no image has that name yet, with
Docker where an engine answers and with Buildah, which needs none, elsewhere. Where the base image cannot be pulled,
the same Dockerfile is built on a base that debootstrap makes from Debian's packages.
"""

import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import click

ROOT = Path(__file__).resolve().parent.parent
NAME = "wafer-fault-platform"

_DOCKERFILE = "deploy/Dockerfile"
_IGNORE = f"{_DOCKERFILE}.dockerignore"
_DEBIAN = "debian"
# What the base from Debian's packages holds, and what its twin for the build stage holds besides.
_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "python3", "tzdata")
_BUILD_PACKAGES = ("python3-venv",)
# Left by the installer, of no use in a container, or of the machine that made the base rather than of Debian.
_LEFTOVERS = (
    *("dev/*", "etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/cache/*/*", "var/lib/apt/lists/*"),
    *("var/log/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/man/*"),
)
_BASE_DOCKERFILE = f"""
FROM scratch AS runtime
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["python3"]
FROM runtime AS build
RUN apt-get update && apt-get install --yes --no-install-recommends {" ".join(_BUILD_PACKAGES)}
"""


@dataclass(frozen=True)
class Base:
    """What the image is built on: a reference by digest, or Debian's packages."""

    image: str
    build_image: str

    @classmethod
    def named(cls, name: str) -> "Base":
        """Return the base that ``--base`` names."""
        if name == _DEBIAN:
            recipe = json.dumps([_SUITE, _PACKAGES, _BUILD_PACKAGES, _LEFTOVERS, _BASE_DOCKERFILE])
            tag = hashlib.sha256(recipe.encode()).hexdigest()[:12]
            return cls(f"localhost/wafer-base:{tag}", f"localhost/wafer-base-build:{tag}")
        if not re.search(r"@sha256:[0-9a-f]{64}$", name):
            raise click.BadParameter(f"a base is `{_DEBIAN}` or a reference by digest, name@sha256:..., not {name}")
        return cls(name, name)

    @classmethod
    def default(cls, root: Path = ROOT) -> "Base":
        """Return the base that the Dockerfile names."""
        arguments: dict[str, str] = {}
        for name, value in re.findall(r"^ARG (\w+)=(\S+)$", (root / _DOCKERFILE).read_text(), re.MULTILINE):
            arguments.setdefault(name, re.sub(r"\$\{(\w+)\}", lambda known: arguments.get(known[1], ""), value))
        return cls.named(arguments["BASE_IMAGE"])


def content(root: Path = ROOT) -> dict[str, bytes]:
    """Return the files that decide what is in the image, by path: those that its ignore file lets through."""
    lines = (root / _IGNORE).read_text().splitlines()
    allowed = [_DOCKERFILE, _IGNORE, *(line[1:] for line in lines if line.startswith("!"))]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for entry in allowed
        for path in ([root / entry] if (root / entry).is_file() else (root / entry).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def tag_of(root: Path, base: Base) -> str:
    """Return the tag of the image that these sources make on this base."""
    digest = hashlib.sha256(base.image.encode())
    for path, data in sorted(content(root).items()):
        digest.update(f"\0{path}\0{hashlib.sha256(data).hexdigest()}".encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Build:
    """One build: what is built, as what, and what only the build may see."""

    dockerfile: Path
    context: Path
    image: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    target: str | None = None
    ignore: Path | None = None

    @property
    def options(self) -> list[str]:
        """The options that Docker and Buildah share."""
        options = ["--file", str(self.dockerfile), "--tag", self.image]
        for name, value in self.arguments.items():
            options += ["--build-arg", f"{name}={value}"]
        for name, path in self.secrets.items():
            options += ["--secret", f"id={name},src={path}"]
        return options + (["--target", self.target] if self.target else [])


class Engine(Protocol):
    """What builds and keeps images."""

    def has(self, image: str) -> bool:
        """Tell whether an image of this name is there."""

    def pull(self, image: str) -> bool:
        """Tell whether an image of this name is there or could be fetched."""

    def digest(self, image: str) -> str:
        """Return the digest of an image that is there."""

    def build(self, build: Build) -> None:
        """Build an image."""

    def save(self, image: str, archive: Path) -> None:
        """Write an image into a file that ``ctr images import`` and ``docker load`` read."""


class Docker:
    """A Docker engine, with BuildKit."""

    @staticmethod
    def answers() -> bool:
        """Tell whether there is an engine: the client alone builds nothing."""
        return bool(shutil.which("docker")) and _succeeds("docker", "version", "--format", "{{.Server.Version}}")

    def has(self, image: str) -> bool:  # noqa: D102
        return _succeeds("docker", "image", "inspect", image)

    def pull(self, image: str) -> bool:  # noqa: D102
        return self.has(image) or _succeeds("docker", "pull", "--quiet", image)

    def digest(self, image: str) -> str:  # noqa: D102
        return _output("docker", "image", "inspect", "--format", "{{.Id}}", image)

    def build(self, build: Build) -> None:  # noqa: D102
        _run("docker", "build", *build.options, str(build.context), environment={"DOCKER_BUILDKIT": "1"})

    def save(self, image: str, archive: Path) -> None:  # noqa: D102
        _run("docker", "save", "--output", str(archive), image)


class Buildah:
    """Buildah, which needs no engine and, with chroot, no right to start containers either."""

    def __init__(self) -> None:
        # Some kernels have no overlay file system for us; whole copies work everywhere.
        self._environment = {} if _succeeds("buildah", "info") else {"STORAGE_DRIVER": "vfs"}

    def has(self, image: str) -> bool:  # noqa: D102
        return _succeeds("buildah", "inspect", "--type", "image", _local(image), environment=self._environment)

    def pull(self, image: str) -> bool:  # noqa: D102
        return self.has(image) or _succeeds("buildah", "pull", "--quiet", image, environment=self._environment)

    def digest(self, image: str) -> str:  # noqa: D102
        return _output("buildah", "images", "--format", "{{.Digest}}", _local(image), environment=self._environment)

    def build(self, build: Build) -> None:  # noqa: D102
        # The OCI format has no place for a health check.
        options = ["--layers", "--format", "docker", "--isolation", "chroot", *build.options]
        options += ["--ignorefile", str(build.ignore)] if build.ignore else []
        _run("buildah", "build", *options, str(build.context), environment=self._environment)

    def save(self, image: str, archive: Path) -> None:  # noqa: D102
        # Clusters look for a bare name where Docker would have put it.
        destination = f"docker-archive:{archive}:docker.io/library/{image}"
        _run("buildah", "push", "--quiet", _local(image), destination, environment=self._environment)


def _local(image: str) -> str:
    return image if "/" in image or "@" in image else f"localhost/{image}"


def engine_here() -> Engine:
    """Return what builds images on this machine."""
    if Docker.answers():
        return Docker()
    if shutil.which("buildah"):
        return Buildah()
    raise click.ClickException(
        "No Docker engine answers and there is no Buildah: start the one, or install the other "
        "(`apt-get install buildah debootstrap` on Debian)."
    )


def secrets_here(folder: Path) -> dict[str, Path]:
    """Return what this machine needs to reach its package index, for the build to mount and forget.

    Parameters
    ----------
    folder
        Where the configuration for the installers is written.
    """
    secrets: dict[str, Path] = {}
    if certificates := ssl.get_default_verify_paths().cafile:
        secrets["ca.crt"] = Path(certificates)
    if index := _index_here():
        secrets |= {"pip.conf": folder / "pip.conf", "uv.toml": folder / "uv.toml"}
        secrets["pip.conf"].write_text(f"[global]\nindex-url = {index}\n")
        secrets["uv.toml"].write_text(f"[[index]]\nurl = {json.dumps(index)}\ndefault = true\n")
    return secrets


def _index_here() -> str | None:
    """Return the package index that this machine is set to, if it is not everybody's."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if index := os.environ.get(variable):
            return index
    chosen = os.environ.get("PIP_CONFIG_FILE")
    usual = (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf"))
    for path in (Path(chosen),) if chosen else usual:
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except Error:
            continue
        if index := parser.get("global", "index-url", fallback=None):
            return index
    return None


def make_debian_base(engine: Engine, base: Base) -> None:
    """Make the base from Debian's packages, and its twin for the build stage, unless they are there."""
    if engine.has(base.image) and engine.has(base.build_image):
        return
    if not shutil.which("debootstrap") or os.geteuid() != 0:
        raise click.ClickException(
            "Making the base from Debian's packages takes root and debootstrap (`apt-get install debootstrap`)."
        )
    with tempfile.TemporaryDirectory(prefix="wafer-base-") as folder:
        root, dockerfile = Path(folder, "root"), Path(folder, "Dockerfile")
        _say(f"Making {base.image} from Debian's packages ...")
        _run("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(root))
        _apply_security_updates(root)
        for pattern in _LEFTOVERS:
            for path in root.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        _run(
            "tar",
            "--create",
            "--numeric-owner",
            "--sort=name",
            "--file",
            f"{folder}/root.tar",
            "--directory",
            str(root),
            ".",
        )
        shutil.rmtree(root)
        dockerfile.write_text(_BASE_DOCKERFILE)
        for target, image in (("runtime", base.image), ("build", base.build_image)):
            engine.build(Build(dockerfile, Path(folder), image, target=target))


def _apply_security_updates(root: Path) -> None:
    """Bring the packages up to date: what debootstrap installs is as old as the last point release."""
    sources = root / "etc/apt/sources.list"
    _, mirror, suite, component = sources.read_text().splitlines()[0].split()
    with sources.open("a") as file:
        file.write(f"deb {mirror}-security {suite}-security {component}\n")
    for arguments in (("update",), ("upgrade", "--yes", "--no-install-recommends")):
        _run("chroot", str(root), "apt-get", *arguments, environment={"DEBIAN_FRONTEND": "noninteractive"})


def build_image(base: str | None = None, labels: Mapping[str, str] | None = None) -> tuple[Engine, str]:
    """Build the image unless it is there, and return what built it and its full name.

    Parameters
    ----------
    base
        ``debian``, or a reference by digest; where it is not given, the Dockerfile's base if that can be pulled, and
        Debian's packages otherwise.
    labels
        More build arguments: ``REVISION`` and ``SOURCE``.
    """
    engine = engine_here()
    bases = [Base.named(base)] if base else [Base.default(), Base.named(_DEBIAN)]
    names = [f"{NAME}:{tag_of(ROOT, candidate)}" for candidate in bases]
    for name in names:
        if engine.has(name):
            _say(f"{name} is there already.")
            return engine, name
    for name, candidate in zip(names, bases, strict=True):
        if candidate == Base.named(_DEBIAN):
            make_debian_base(engine, candidate)
        elif not engine.pull(candidate.image):
            _say(f"{candidate.image} cannot be pulled.")
            continue
        _build_on(engine, candidate, name, labels or {})
        return engine, name
    raise click.ClickException("There is no base to build on.")


def _build_on(engine: Engine, base: Base, name: str, labels: Mapping[str, str]) -> None:
    _say(f"Building {name} on {base.image} ...")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    arguments = {
        "BASE_DIGEST": base.image.partition("@")[2] or engine.digest(base.image),
        "BASE_IMAGE": base.image,
        "BUILD_IMAGE": base.build_image,
        "VERSION": project["version"],
        **labels,
    }
    with tempfile.TemporaryDirectory(prefix="wafer-image-") as folder:
        secrets = secrets_here(Path(folder))
        engine.build(Build(ROOT / _DOCKERFILE, ROOT, name, arguments, secrets, ignore=ROOT / _IGNORE))


def _say(message: str) -> None:
    click.echo(message, err=True)


def _run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command whose output is progress: standard output is for the image's name alone."""
    finished = subprocess.run(command, env={**os.environ, **(environment or {})}, stdout=sys.stderr)
    if finished.returncode:
        raise click.ClickException(f"{' '.join(command[:2])} failed with exit code {finished.returncode}.")


def _succeeds(*command: str, environment: Mapping[str, str] | None = None) -> bool:
    return not subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True).returncode


def _output(*command: str, environment: Mapping[str, str] | None = None) -> str:
    finished = subprocess.run(command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, text=True)
    if finished.returncode:
        raise click.ClickException(f"{' '.join(command[:2])} failed with exit code {finished.returncode}.")
    return finished.stdout.strip()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Name and build the platform's container image."""


_base_option = click.option("--base", help="`debian`, or a base by digest; the default is the Dockerfile's.")


@main.command()
@_base_option
def tag(base: str | None) -> None:
    """Print the tag of what these sources make."""
    click.echo(tag_of(ROOT, Base.named(base) if base else Base.default()))


@main.command()
def base() -> None:
    """Make the base from Debian's packages, and print its name."""
    debian = Base.named(_DEBIAN)
    make_debian_base(engine_here(), debian)
    click.echo(debian.image)


@main.command()
@_base_option
@click.option("--archive", type=click.Path(path_type=Path), help="Also save the image in this file.")
@click.option("--revision", help="The commit, for the image's label.")
@click.option("--source", help="Where the sources are, for the image's label.")
def build(base: str | None, archive: Path | None, revision: str | None, source: str | None) -> None:
    """Build the image unless it is there, and print its full name."""
    labels = {name: value for name, value in (("REVISION", revision), ("SOURCE", source)) if value}
    engine, name = build_image(base, labels)
    if archive:
        with tempfile.TemporaryDirectory(prefix=".image-", dir=archive.resolve().parent) as folder:
            # An archive is whole or not there.
            part = Path(folder, "image.tar")
            engine.save(name, part)
            part.replace(archive)
    click.echo(name)


if __name__ == "__main__":
    main()

"""Where images are kept: a registry, or a folder in the layout of the Open Container Initiative."""

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from deploy.ci.process import output


@dataclass(frozen=True)
class Registry:
    """One repository of images; Skopeo talks to it, with the login of REGISTRY_AUTH_FILE.

    Attributes
    ----------
    place
        ``docker://HOST/NAME``, or ``oci:FOLDER``.
    """

    place: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"docker://[\w.-]+(:\d+)?(/[\w.-]+)+|oci:[^:]+", self.place):
            raise click.BadParameter(f"images are kept in docker://HOST/NAME or oci:FOLDER, not in {self.place!r}")

    @property
    def repository(self) -> str:
        """The name that Kubernetes knows it by."""
        return self.place.removeprefix("docker://")

    def digest(self, tag: str) -> str | None:
        """Return the digest of an image, or None if there is none of that tag.

        Raises
        ------
        click.ClickException
            The registry does not answer: that is no reason to build, or not to.
        """
        if self.place.startswith("oci:"):
            return self._in_folder(tag)
        command = ["skopeo", "inspect", *self._plain("--tls-verify=false"), "--no-tags", "--format", "{{.Digest}}"]
        try:
            asked = subprocess.run([*command, f"{self.place}:{tag}"], capture_output=True, text=True)
        except FileNotFoundError:
            raise click.ClickException("`skopeo` is not installed.") from None
        if asked.returncode == 0:
            return asked.stdout.strip()
        if re.search(r"manifest unknown|name unknown|repository .*not.*found", asked.stderr, re.IGNORECASE):
            return None
        raise click.ClickException(f"{self.place} does not say whether it has {tag}: {asked.stderr.strip()}")

    def push(self, archive: Path, tag: str) -> str:
        """Bring an image of a ``docker save`` file here under a tag, and return its digest."""
        with tempfile.TemporaryDirectory(prefix="wafer-push-") as folder:
            digest = Path(folder, "digest")
            options = ["--quiet", "--digestfile", str(digest), *self._plain("--dest-tls-verify=false")]
            output("skopeo", "copy", *options, f"docker-archive:{archive}", f"{self.place}:{tag}")
            return digest.read_text().strip()

    def _plain(self, option: str) -> list[str]:
        """Speak without encryption to this machine alone."""
        return [option] if re.match(r"docker://(127\.0\.0\.1|localhost)[:/]", self.place) else []

    def _in_folder(self, tag: str) -> str | None:
        index = Path(self.place.removeprefix("oci:"), "index.json")
        if not index.exists():
            return None
        for manifest in json.loads(index.read_text())["manifests"]:
            if manifest.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
                return str(manifest["digest"])
        return None

"""What Terraform made, written where Helm and kustomize read it: a folder of ``deploy/environments``.

Nobody edits the folder. It is committed, so that what is deployed can be read, compared and reverted.
"""

from pathlib import Path
from typing import Any

import yaml

from deploy.image import NAME
from deploy.infra.environment import ROOT

ENVIRONMENTS = ROOT / "deploy" / "environments"
_VALUES = ROOT / "helm_values" / "eks.yaml"
_MANIFEST = ROOT / "deploy" / "manifests" / "environment.yaml"
_OVERLAY = Path(__file__).with_name("overlay.yaml")
CERTIFICATES = "ca.pem"
PROXY = "oauth2-proxy"
"""Name of the sign-in proxy's image in the manifests."""
UNSET = "set-by-deploy"
"""Tag of an environment that nothing was deployed to; no image has it."""


def render(name: str, facts: dict[str, str], certificates: str, folder: Path = ENVIRONMENTS) -> Path:
    """Write an environment's folder anew, and return it. An image of ours that is set there stays.

    Parameters
    ----------
    name : str
        The environment.
    facts : dict of str to str
        Terraform's output ``environment``.
    certificates : str
        What PostgreSQL's certificate is checked against, in PEM.
    folder : Path
        Where environments are.

    Raises
    ------
    KeyError
        If a fact is missing.
    """
    written = folder / name
    written.mkdir(parents=True, exist_ok=True)
    header = f"# Written by `make render ENV={name}` from what Terraform made: change the environment's file there.\n"
    named = yaml.safe_load(_MANIFEST.read_text())["data"]
    (written / "environment.env").write_text(header + "".join(f"{key}={facts[key]}\n" for key in named))
    (written / CERTIFICATES).write_text(certificates)
    image = _image(written)
    tag = image.get("newTag", UNSET)
    for file, document in (("kustomization.yaml", _overlay(facts, image)), ("values.yaml", values(facts, tag))):
        (written / file).write_text(header + yaml.safe_dump(document, sort_keys=False, width=120))
    return written


def values(facts: dict[str, str], tag: str = UNSET) -> dict[str, Any]:
    """Return the values of Dagster's chart: those of EKS, with one environment's in place of their examples."""
    found: dict[str, Any] = yaml.safe_load(_VALUES.read_text())
    image = {"repository": facts["REPOSITORY"], "tag": tag}
    for place in (found["dagsterWebserver"], found["dagsterDaemon"]):
        place["image"] = place["image"] | image
    for location in found["dagster-user-deployments"]["deployments"]:
        location["image"] |= image
    found["computeLogManager"]["config"]["s3ComputeLogManager"] |= {
        "bucket": facts["LOGS_BUCKET"],
        "region": facts["REGION"],
    }
    found["postgresql"]["postgresqlHost"] = facts["POSTGRESQL_ADDRESS"]
    return found


def _overlay(facts: dict[str, str], image: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_OVERLAY.read_text())
    proxy, _, digest = facts["PROXY_IMAGE"].partition("@")
    ours = {**image, "name": NAME, "newName": facts["REPOSITORY"]}
    return found | {"images": [ours, {"name": PROXY, "newName": proxy, "digest": digest}]}


def _image(folder: Path) -> dict[str, str]:
    """Return which image of ours is set: a tag, a digest or both."""
    file = folder / "kustomization.yaml"
    if not file.is_file():
        return {"newTag": UNSET}
    (image,) = (image for image in yaml.safe_load(file.read_text())["images"] if image["name"] == NAME)
    return {key: str(value) for key, value in image.items() if key in ("newTag", "digest")}

"""The image, from sources to an environment: built, listed, pushed to a registry with a login, and delivered."""

import crypt
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
import yaml

from deploy.ci.process import BUILD
from deploy.ci.registry import Registry
from deploy.ci.tools import FOLDER as TOOLS
from deploy.image import ROOT, Base, tag_of

USER, PASSWORD = "builder", "correct horse"
NEEDED = ("buildah", "debootstrap", "docker-registry", "skopeo")
LACKING = [name for name in NEEDED if not shutil.which(name)] + ([] if (TOOLS / "syft").exists() else ["syft"])
pytestmark = pytest.mark.skipif(bool(LACKING) or os.geteuid() != 0, reason=f"needs root and {', '.join(LACKING)}")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on loopback that takes one user; yields its host and port."""
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    hashed = crypt.crypt(PASSWORD, crypt.mksalt(crypt.METHOD_BLOWFISH))  # noqa: S324 the only one that the registry knows
    (folder / "users").write_text(f"{USER}:{hashed}\n")
    (folder / "config.yml").write_text(
        yaml.safe_dump(
            {
                "version": 0.1,
                "log": {"accesslog": {"disabled": True}, "level": "error"},
                "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
                "http": {"addr": host},
                "auth": {"htpasswd": {"realm": "wafer", "path": str(folder / "users")}},
            }
        )
    )
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"http://{host}/v2/", timeout=1)
                except HTTPError:
                    break  # it asks who we are
                except OSError:
                    time.sleep(0.1)
            yield host
        finally:
            process.terminate()


def ci(host: str, *arguments: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run a command of the pipeline as the pipeline does, with the registry's login."""
    environment = os.environ | {"WAFER_REPOSITORY": f"{host}/wafer-fault-platform", "WAFER_IMAGE_BASE": "debian"}
    environment |= {"REGISTRY_USER": USER, "REGISTRY_PASSWORD": password}
    command = ["deploy/ci/with-registry", sys.executable, "-m", "deploy.ci", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def released(registry: str) -> dict[str, str]:
    """The image of these sources in the registry, as `build/image.json` names it."""
    done = ci(registry, "image", "--registry", f"docker://{registry}/wafer-fault-platform")
    assert done.returncode == 0, done.stderr[-3_000:]
    named = json.loads((BUILD / "image.json").read_text())
    assert done.stdout.strip() == f"{named['repository']}@{named['digest']}"
    return dict(named)


def test_the_image_is_named_by_its_content_and_its_digest(released: dict[str, str], registry: str) -> None:
    assert released["repository"] == f"{registry}/wafer-fault-platform"
    assert released["tag"] == tag_of(ROOT, Base.named("debian"))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", released["digest"])


@pytest.mark.usefixtures("released")
def test_the_bill_of_materials_has_what_the_lock_pins() -> None:
    document = json.loads((BUILD / "sbom.spdx.json").read_text())
    listed = {package["name"].lower(): package.get("versionInfo") for package in document["packages"]}
    assert listed["wafer-fault-platform"]
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "locks/runtime.txt").read_text(), re.MULTILINE))
    for name in ("dagster", "mlflow", "pymongo", "scikit-learn"):
        assert listed[name] == pinned[name]
    assert "libc6" in listed, "Debian's packages belong to it, too"


def test_what_is_there_is_not_built_again(released: dict[str, str], registry: str) -> None:
    began = time.monotonic()
    again = ci(registry, "image", "--registry", f"docker://{registry}/wafer-fault-platform")
    assert (again.returncode, released["digest"] in again.stdout) == (0, True), again.stderr
    assert "is there already" in again.stderr
    assert time.monotonic() - began < 20


def test_a_plan_knows_what_the_registry_has(released: dict[str, str], registry: str) -> None:
    planned = ci(registry, "changes", "--registry", f"docker://{registry}/wafer-fault-platform")
    assert planned.returncode == 0, planned.stderr
    status = ["git", "status", "--porcelain"]
    if subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True).stdout:
        pytest.skip("a plan is for what was committed, and there are changes that were not")
    plan = json.loads((BUILD / "plan.json").read_text())
    assert (plan["tag"], plan["image"]) == (released["tag"], False)


def test_nobody_pushes_or_asks_without_the_password(released: dict[str, str], registry: str) -> None:
    refused = ci(registry, "image", "--registry", f"docker://{registry}/wafer-fault-platform", password="wrong")
    assert refused.returncode != 0
    assert "wrong" not in refused.stdout + refused.stderr
    assert released["digest"] not in refused.stdout


def test_the_digest_gets_into_the_delivery_repository(released: dict[str, str], registry: str, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    shutil.copytree(ROOT / "deploy/argocd/environments", tmp_path / "work/environments")
    for arguments in (["init", "-qb", "main"], ["add", "-A"], ["commit", "-qm", "begin"]):
        subprocess.run([*git, *arguments], cwd=tmp_path / "work", check=True)
    subprocess.run([*git, "clone", "-q", "--bare", "work", "delivery.git"], cwd=tmp_path, check=True)
    done = ci(registry, "deliver", "dev", "--repository", str(tmp_path / "delivery.git"))
    assert done.returncode == 0, done.stderr
    show = [*git, "show", "main:environments/dev.yaml"]
    shown = subprocess.run(show, cwd=tmp_path / "delivery.git", check=True, capture_output=True, text=True)
    assert yaml.safe_load(shown.stdout)["image"] == released
    assert json.loads((BUILD / "delivered.json").read_text())["image"] == released


def test_an_oci_folder_will_do_where_there_is_no_registry(released: dict[str, str], tmp_path: Path) -> None:
    place = Registry(f"oci:{tmp_path}/images")
    assert place.digest(released["tag"]) is None
    archive = tmp_path / "image.tar"
    command = [sys.executable, "-m", "deploy.image", "build", "--base", "debian", "--archive", str(archive)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    digest = place.push(archive, released["tag"])
    assert place.digest(released["tag"]) == digest
    assert place.digest("another") is None

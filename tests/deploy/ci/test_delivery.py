"""Commits to a delivery repository: a bare one, as a forge keeps it."""

import subprocess
import threading
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from deploy.ci.delivery import CannotDeliver, Release, changed, chart_version, deliver
from deploy.image import ROOT

IMAGE = {
    "repository": "registry.example.org/wafer-fault-platform",
    "tag": "0123456789ab",
    "digest": "sha256:" + "1" * 64,
}
OTHER = IMAGE | {"tag": "ba9876543210", "digest": "sha256:" + "2" * 64}
RELEASE = Release("1.13.27", "a" * 40, IMAGE)
NEXT = Release("1.13.27", "b" * 40, OTHER)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with what `deploy/argocd/environments` gives it."""
    work, bare = tmp_path / "work", tmp_path / "delivery.git"
    (work / "environments").mkdir(parents=True)
    for file in (ROOT / "deploy/argocd/environments").glob("*.yaml"):
        (work / "environments" / file.name).write_text(file.read_text())
    git(work, "init", "--quiet", "--initial-branch=main")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "begin")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(bare))
    return bare


def environment(repository: Path, name: str, commit: str = "main") -> dict[str, object]:
    return dict(yaml.safe_load(git(repository, "show", f"{commit}:environments/{name}.yaml")))


def test_a_delivery_is_one_commit_that_names_image_and_manifests(repository: Path) -> None:
    before = environment(repository, "dev")
    commit = deliver(str(repository), "dev", RELEASE)
    after = environment(repository, "dev")
    assert commit == git(repository, "rev-parse", "main")
    assert {key: after[key] for key in ("chart", "revision", "image")} == asdict(RELEASE)
    assert {key: after[key] for key in before.keys() - {"chart", "image", "revision"}} == {
        key: before[key] for key in before.keys() - {"chart", "image", "revision"}
    }
    assert git(repository, "log", "-1", "--format=%s").startswith("Run 0123456789ab in dev")


def test_one_environment_is_delivered_to_and_no_other(repository: Path) -> None:
    before = environment(repository, "production")
    deliver(str(repository), "dev", RELEASE)
    assert environment(repository, "production") == before


def test_the_same_delivery_again_is_no_commit(repository: Path) -> None:
    first = deliver(str(repository), "dev", RELEASE)
    assert deliver(str(repository), "dev", RELEASE) == first
    assert git(repository, "rev-list", "--count", "main") == "2"


def test_a_revert_is_a_rollback(repository: Path, tmp_path: Path) -> None:
    deliver(str(repository), "production", RELEASE)
    last = deliver(str(repository), "production", NEXT)
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    git(tmp_path / "clone", "revert", "--no-edit", last)
    git(tmp_path / "clone", "push", "--quiet")
    assert environment(repository, "production")["image"] == IMAGE


def test_deliveries_at_the_same_time_all_arrive(repository: Path) -> None:
    threads = [
        threading.Thread(target=deliver, args=(str(repository), name, release))
        for name, release in (("dev", RELEASE), ("production", NEXT))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (environment(repository, "dev")["image"], environment(repository, "production")["image"]) == (IMAGE, OTHER)


@pytest.mark.parametrize("name", ["staging", "../environments/dev"])
def test_an_environment_that_is_not_there_is_named_with_those_that_are(repository: Path, name: str) -> None:
    with pytest.raises(CannotDeliver, match="its environments: dev, production"):
        deliver(str(repository), name, RELEASE)


@pytest.mark.parametrize("digest", ["", "latest", "sha256:1", "sha256:" + "g" * 64])
def test_what_is_no_digest_is_not_delivered(repository: Path, digest: str) -> None:
    with pytest.raises(CannotDeliver, match="is no digest"):
        deliver(str(repository), "dev", Release("1.13.27", "a" * 40, IMAGE | {"digest": digest}))


def test_a_repository_that_refuses_pushes_says_so(repository: Path) -> None:
    hook = repository / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CannotDeliver, match="refused 5 pushes to main"):
        deliver(str(repository), "dev", RELEASE)


def test_what_people_wrote_stays_beside_what_the_pipeline_writes() -> None:
    text = changed("environment: dev\ncluster: here\nrevision: old\nimage: {tag: old}\nvalues: eks\n", RELEASE)
    assert yaml.safe_load(text) == {
        "environment": "dev",
        "cluster": "here",
        "values": "eks",
        **asdict(RELEASE),
    }


def test_values_that_do_not_say_which_chart_they_are_for_are_refused(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("global: {}\n")
    with pytest.raises(ValueError, match="does not begin with the version of its chart"):
        chart_version(tmp_path / "base.yaml")

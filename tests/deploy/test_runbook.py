"""The runbook: what it tells to type was typed, and what nobody could try says what it needs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart import ROOT
from tests.deploy.runbook import RUNBOOK, block, blocks, run

# The services whose commands cannot be tried without an account.
ACCOUNT = re.compile(r"^\s*(aws|eksctl|helm|kubectl|kind)\b|\$\((aws|kubectl)\b", re.MULTILINE)


@pytest.mark.parametrize("commands", blocks(), ids=lambda text: text.splitlines()[0][:60])
def test_a_block_of_commands_says_who_tried_it_or_what_it_needs(commands: str) -> None:
    first = commands.splitlines()[0]
    if tried := re.match(r"# tried by (tests/[\w/.]+)", first):
        assert (ROOT / tried[1]).exists()
    else:
        assert re.match(r"# needs (AWS|a cluster|a node|kind)", first), f"what nobody tried says what it needs: {first}"
        assert ACCOUNT.search(commands) or "k3s" in commands or "export" in commands, "this could have been tried"


@pytest.mark.parametrize("commands", blocks(), ids=lambda text: text.splitlines()[0][:60])
def test_a_block_of_commands_is_no_nonsense_to_a_shell(commands: str, tmp_path: Path) -> None:
    subprocess.run(["/bin/bash", "-n"], input=commands, text=True, check=True, cwd=tmp_path)


@pytest.fixture
def delivery(tmp_path: Path) -> dict[str, str]:
    """A folder like this repository's, and the environment of somebody with an empty delivery repository."""
    shutil.copytree(ROOT / "deploy/argocd/environments", tmp_path / "deploy/argocd/environments")
    (tmp_path / "build").mkdir()
    command = ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "delivery.git")]
    subprocess.run(command, check=True)
    who = {f"GIT_{role}_{part}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return who | {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DELIVERY": str(tmp_path / "delivery.git")}


def test_the_delivery_repository_is_begun_and_a_release_is_taken_back(tmp_path: Path, delivery: dict[str, str]) -> None:
    from deploy.ci.delivery import Release, deliver

    run(block("git clone"), tmp_path, **delivery)
    shown = run("git -C delivery.git show main:environments/production.yaml", tmp_path, **delivery)
    assert shown == (ROOT / "deploy/argocd/environments/production.yaml").read_text()

    images = [{"repository": "r/wafer-fault-platform", "tag": str(n), "digest": f"sha256:{n * 64}"} for n in ("1", "2")]
    for image in images:
        deliver(delivery["DELIVERY"], "production", Release("1.13.27", "a" * 40, image))
    deliver(delivery["DELIVERY"], "dev", Release("1.13.27", "a" * 40, images[1]))
    run(block("revert --no-edit"), tmp_path, **delivery)
    back = run("git -C delivery.git show main:environments/production.yaml", tmp_path, **delivery)
    assert yaml.safe_load(back)["image"] == images[0]
    other = run("git -C delivery.git show main:environments/dev.yaml", tmp_path, **delivery)
    assert yaml.safe_load(other)["image"] == images[1]


def test_the_signature_of_a_webhook_is_what_the_forges_documentation_says() -> None:
    # The example that GitHub gives for who checks signatures.
    given = {"BODY": "Hello, World!", "WEBHOOK_SECRET": "It's a Secret to Everybody", "PATH": os.environ["PATH"]}
    signature = run(block("openssl dgst"), ROOT, **given).strip()
    assert signature == "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_what_changed_is_told_on_a_laptop() -> None:
    (line,) = (line for line in block("deploy.ci changes").splitlines() if "changes" in line)
    printed = run(line, ROOT, **os.environ)
    assert "changed:       nothing (0 files)" in printed


def test_every_command_of_the_pipeline_that_the_runbook_names_is_one() -> None:
    from deploy.ci.__main__ import main

    named = set(re.findall(r"python -m deploy\.ci (\w+)", RUNBOOK.read_text()))
    assert named == main.commands.keys()


def test_every_make_target_that_pipeline_and_runbook_name_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [*blocks(), *re.findall(r"sh '([^']+)'", (ROOT / "Jenkinsfile").read_text())]
    named = {
        name
        for text in commands
        for words in re.findall(r"\bmake ((?:[a-z][a-z-]* ?)+)", text)
        for name in words.split()
    }
    # Terraform's targets come with deploy/terraform.
    known = targets if (ROOT / "deploy/terraform").exists() else targets | {"infra-check", "plan", "drift"}
    assert named
    assert named - known == set()

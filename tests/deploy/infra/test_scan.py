"""The scan of the Terraform code for what is known to be unwise: it finds nothing, and would."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.infra.conftest import NO_TOOLS, ROOT, TOOLS

pytestmark = [NO_TOOLS, pytest.mark.infra]


def scan(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [TOOLS / "checkov", "--config-file", "deploy/terraform/checkov.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=280)


def test_it_finds_nothing() -> None:
    done = scan(ROOT)
    assert done.returncode == 0, done.stdout


def test_it_would_find_what_is_unwise(tmp_path: Path) -> None:
    code = tmp_path / "deploy" / "terraform"
    for name in ("modules/postgresql", "environments"):
        shutil.copytree(ROOT / "deploy" / "terraform" / name, code / name, ignore=shutil.ignore_patterns(".terraform"))
    shutil.copy(ROOT / "deploy" / "terraform" / "checkov.yaml", code)
    file = code / "modules" / "postgresql" / "main.tf"
    text = file.read_text()
    file.write_text(text.replace("publicly_accessible             = false", "publicly_accessible             = true"))
    assert file.read_text() != text
    done = scan(tmp_path)
    assert done.returncode == 1
    assert "CKV_AWS_17" in done.stdout

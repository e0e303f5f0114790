"""The Terraform code is written as Terraform writes it, is valid, and keeps the rules that its own tests state."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from schemas.lines import load_lines
from tests.deploy.infra.conftest import KIT, NO_TERRAFORM, ROOT, terraform

CODE = ROOT / "deploy" / "terraform"
STACKS = ["cloud", "base"]
MODULES = sorted(path.name for path in (CODE / "modules").iterdir())
WITH_TESTS = sorted(path.parent.relative_to(CODE).as_posix() for path in CODE.glob("**/tests") if path.is_dir())


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is missing")
def test_it_is_written_as_terraform_writes_it() -> None:
    command = ["terraform", "fmt", "-recursive", "-check", "-diff", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""


@NO_TERRAFORM
def test_its_providers_are_those_that_are_tested() -> None:
    done = subprocess.run([KIT / "versions", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@NO_TERRAFORM
@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_is_valid(stack: str, project: Path) -> None:
    folder = project / "deploy" / "terraform" / stack
    ready = terraform("init", "-backend=false", folder=folder)
    assert ready.returncode == 0, ready.stderr
    done = terraform("validate", folder=folder)
    assert done.returncode == 0, done.stdout


@NO_TERRAFORM
@pytest.mark.infra
@pytest.mark.parametrize("folder", WITH_TESTS)
def test_it_keeps_the_rules_of(folder: str, project: Path) -> None:
    code = project / "deploy" / "terraform" / folder
    ready = terraform("init", "-backend=false", folder=code)
    assert ready.returncode == 0, ready.stderr
    given = ["-var-file=../environments/production.tfvars"] if folder == "cloud" else []
    done = terraform("test", "-no-color", *given, folder=code)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"Success! (\d+) passed, 0 failed", done.stdout)
    assert passed is not None
    assert int(passed[1]) == sum(file.read_text().count("\nrun ") for file in (code / "tests").iterdir())


@pytest.mark.parametrize("folder", [*STACKS, *(f"modules/{module}" for module in MODULES)])
def test_every_variable_and_output_says_what_it_is(folder: str) -> None:
    text = "\n".join(file.read_text() for file in (CODE / folder).glob("*.tf"))
    blocks = re.findall(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL)
    assert [name for _, name, body in blocks if not re.search(r'^  description\s*= "\w', body, re.MULTILINE)] == []
    variables = [(name, body) for kind, name, body in blocks if kind == "variable"]
    assert [name for name, body in variables if not re.search(r"^  type\s*=", body, re.MULTILINE)] == []


def test_an_environments_lines_are_those_that_the_platform_ships() -> None:
    shipped = {line.name: line.landing for line in load_lines().lines.values()}
    for file in (CODE / "environments").glob("*.tfvars"):
        (written,) = re.findall(r"^lines = \{(.*)\}$", file.read_text(), re.MULTILINE)
        assert dict(re.findall(r'(\w+) = "([^"]+)"', written)) == shipped


def test_environments_differ_in_what_they_say_and_not_in_what_they_may_say() -> None:
    said = {
        file.stem: set(re.findall(r"^(\w+)\s*=", file.read_text(), re.MULTILINE))
        for file in (CODE / "environments").glob("*.tfvars")
    }
    assert set(said) == {"dev", "production"}
    assert said["dev"] ^ said["production"] == {"awake"}


def test_the_scan_leaves_out_no_rule_without_a_reason() -> None:
    text = (CODE / "checkov.yaml").read_text()
    left_out = yaml.safe_load(text)["skip-check"]
    reasons = dict(re.findall(r"^  - (CKV\w+)(?: # (.+))?$", text, re.MULTILINE))
    shared = re.findall(r"the same in (\d+) and (\d+)", text)[0]
    assert set(reasons) == set(left_out)
    assert [name for name in left_out if not reasons[name] and name.removeprefix("CKV_AWS_") not in shared] == []

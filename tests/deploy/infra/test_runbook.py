"""What the runbook says of the infrastructure: commands that there are, sums that are right, sizes that are made."""

import re
import subprocess

import pytest

from tests.deploy.infra.conftest import ROOT

RUNBOOK = (ROOT / "deploy" / "README.md").read_text()
ENVIRONMENTS = ROOT / "deploy" / "terraform" / "environments"


def test_from_nothing_to_a_cluster_and_back_are_five_commands() -> None:
    section = RUNBOOK.partition("## From an empty account to a cluster, and back")[2].partition("\n### ")[0]
    (block,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    commands = re.findall(r"^make (\w+) ENV=production", block, re.MULTILINE)
    assert commands == ["state", "apply", "secrets", "databases", "destroy"]
    for command in commands:
        shown = subprocess.run(["make", "-n", command, "ENV=dev"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
        assert f"-m deploy.infra {command} 'dev'" in shown.stdout


@pytest.mark.parametrize(
    "command", ["state", "plan", "apply", "drift", "secrets", "databases", "render", "sweep", "destroy"]
)
def test_a_command_without_an_environment_says_what_to_write(command: str) -> None:
    done = subprocess.run(["make", "-n", command], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode != 0
    assert f"make {command} ENV=dev or ENV=production" in done.stderr


def test_what_it_costs_adds_up() -> None:
    lines = RUNBOOK.partition("### What it costs")[2].partition("\n[1] ")[0].splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("|")]
    *items, total = rows[2:]
    sums = [sum(int(row[column]) for row in items) for column in (2, 3, 4)]
    assert [int(cell.strip().strip("*")) for cell in total[2:]] == sums


def test_what_it_costs_is_of_the_sizes_that_are_made() -> None:
    table = RUNBOOK.partition("### What it costs")[2].partition("\n[1]")[0]
    for name, budget in (("production", 680), ("dev", 357)):
        text = (ENVIRONMENTS / f"{name}.tfvars").read_text()
        (class_,) = re.findall(r'class = "([\w.]+)"', text)
        (tier,) = re.findall(r'tier = "(\w+)"', text)
        (storage,) = re.findall(r"postgresql = .*storage_gb = (\d+), max", text)
        assert f"`{class_}`" in table
        assert f"{storage} GB" in table
        assert f"{tier};" in table
        # Room for a dearer region, and little more.
        (allowed,) = re.findall(r"usd = (\d+)", text)
        assert 1.2 * budget < int(allowed) < 1.7 * budget


def test_every_answer_of_the_runbook_is_that_of_a_command() -> None:
    for command in re.findall(r"`make ([\w-]+)(?: ENV=\S+)?", RUNBOOK):
        assert re.search(rf"^{command}: ", (ROOT / "Makefile").read_text(), re.MULTILINE), command

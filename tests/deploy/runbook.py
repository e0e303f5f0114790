"""The commands of the runbook, and what is said of who has tried them."""

import re
import subprocess
from pathlib import Path

from tests.chart import ROOT

RUNBOOK = ROOT / "deploy" / "README.md"


def blocks(containing: str = "") -> list[str]:
    """Blocks of commands of the runbook."""
    return [block for block in re.findall(r"```bash\n(.*?)```", RUNBOOK.read_text(), re.DOTALL) if containing in block]


def block(containing: str) -> str:
    """Return the one block that has a text."""
    (found,) = blocks(containing)
    return found


def run(script: str, folder: Path, **environment: str) -> str:
    """Run commands of the runbook in a folder, and return what they print."""
    done = subprocess.run(
        ["/bin/bash", "-euc", script], cwd=folder, env=environment or None,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

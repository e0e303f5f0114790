"""Whether what is there is what the code says."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.infra.environment import Environment
from deploy.infra.stacks import Stack, variables


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the code says."""

    stack: str
    address: str
    actions: str


def differences(environment: Environment) -> list[Difference]:
    """Return what an apply would change, of both stacks; nothing is locked and nothing is changed."""
    cloud = Stack(environment, "cloud")
    cloud.init()
    found = _of(environment, cloud, cloud)
    base = Stack(environment, "base")
    base.init()
    if environment.awake and cloud.outputs().get("base", {}).get("cluster"):
        found += _of(environment, cloud, base)
    return found


def _of(environment: Environment, cloud: Stack, stack: Stack) -> list[Difference]:
    with tempfile.TemporaryDirectory() as folder, variables(environment, cloud, stack.name) as arguments:
        plan = Path(folder) / "plan"
        stack.run("plan", "-lock=false", "-detailed-exitcode", f"-out={plan}", *arguments, quiet=True, accept=(0, 2))
        shown = json.loads(stack.read("show", "-json", str(plan)))
    return [
        Difference(stack.name, change["address"], "+".join(change["change"]["actions"]))
        for change in shown.get("resource_changes", [])
        if change["change"]["actions"] not in (["no-op"], ["read"])
    ]

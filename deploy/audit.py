"""Ask a database of known vulnerabilities about every package of the locks; ``make audit`` runs it before a delivery.

It is no test: what is known changes by the day, and the database is asked over the network. Where that cannot be
reached the audit fails, and says nothing of the packages; ``--service-url`` names a copy of it that can.
"""

import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
LOCKS = ("locks/runtime.txt", "locks/dev.txt")
_PIN = re.compile(r"^(?P<name>[\w.-]+(?:\[[\w,-]+\])?)==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?$")


def pins(lock: Path) -> list[str]:
    """Return the requirements of a lock, each with its version and marker and without its hashes."""
    found = [match for line in lock.read_text().splitlines() if (match := _PIN.match(line))]
    return [
        f"{pin['name']}=={pin['version']}" + (f" ; {pin['marker'].strip()}" if pin["marker"] else "") for pin in found
    ]


def audit(lock: Path, service_url: str | None = None) -> int:
    """Audit a lock and return the exit code of `uv audit`: 0 where nothing is known against any package."""
    uv = str(Path(sysconfig.get_path("scripts"), "uv"))
    with tempfile.TemporaryDirectory() as folder:
        requirements = "".join(f"    {pin!r},\n" for pin in pins(lock))
        Path(folder, "pyproject.toml").write_text(
            '[project]\nname = "locked"\nversion = "0"\nrequires-python = "==3.11.*"\n'
            f"dependencies = [\n{requirements}]\n"
        )
        # The project of these very versions, in the form that uv audits.
        if code := subprocess.run([uv, "lock", "--quiet"], cwd=folder, check=False).returncode:
            return code
        command = [uv, "audit", "--frozen", "--preview-features", "audit-command"]
        more = ["--service-url", service_url] if service_url else []
        return subprocess.run([*command, *more], cwd=folder, check=False).returncode


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--service-url", help="Database to ask, with OSV's interface; by default OSV's own, over the network.")
def main(service_url: str | None) -> None:
    """Look up every package of the locks among the known vulnerabilities; exit with 1 where one is found."""
    failed = []
    for lock in LOCKS:
        click.echo(f"{lock}: {len(pins(ROOT / lock))} packages", err=True)
        if audit(ROOT / lock, service_url):
            failed.append(lock)
    if failed:
        click.echo(f"Not clean, or not asked: {', '.join(failed)}. See above.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

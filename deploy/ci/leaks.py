"""Passwords, keys and tokens that were committed by mistake, by Gitleaks."""

import subprocess

import click

from deploy.ci.process import BUILD
from deploy.ci.tools import tool
from deploy.image import ROOT

SOURCES = ROOT
_RULES = ROOT / "deploy" / "ci" / "gitleaks.toml"


@click.command("secrets")
@click.option("--since", metavar="COMMIT", help="Look at the commits after this one only; else at all up to HEAD.")
def command(since: str | None) -> None:
    """Look for secrets in every commit; build/secrets.json has what was found, without the secrets themselves.

    What is found counts as known to others: replace it at its source first, then take it out.
    """
    gitleaks = tool("gitleaks")
    BUILD.mkdir(exist_ok=True)
    report = BUILD / "secrets.json"
    options = ["--redact", "--no-banner", "--report-format", "json", "--report-path", str(report)]
    commits = f"{since}..HEAD" if since else "HEAD"
    finished = subprocess.run(
        [gitleaks, "git", *options, f"--log-opts={commits}", "--config", str(_RULES), str(SOURCES)],
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise click.ClickException(f"{finished.stderr.strip()}\nWhere: see {report.name} in {BUILD}.")
    click.echo("No secrets in the history.")

"""Programs of the environment that `make delivery-tools` makes, which are no part of the platform."""

import click

from deploy.image import ROOT

FOLDER = ROOT / ".venv-delivery" / "bin"


def tool(name: str) -> str:
    """Return the path of a program, or say how to get it."""
    path = FOLDER / name
    if not path.exists():
        raise click.ClickException(f"{name} is not installed: run `make delivery-tools` first.")
    return str(path)

"""`python -m deploy.monitoring`: what is written from the rules and dashboards, and a laptop that is watched."""

import json
import signal
import sys
from pathlib import Path

import click
import yaml

from deploy.monitoring.local import NotInstalledError, observe


@click.group()
def main() -> None:
    """Watch the platform."""


@main.command("dashboards")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def write_dashboards(folder: Path) -> None:
    """Write the dashboards to FOLDER, for Grafana's provisioning by files."""
    from deploy.monitoring.dashboards import dashboards

    folder.mkdir(parents=True, exist_ok=True)
    for name, page in dashboards().items():
        (folder / f"wafer-{name}.json").write_text(json.dumps(page, indent=1, sort_keys=True) + "\n")


@main.command("kubernetes")
def write_kubernetes() -> None:
    """Print the objects for the Prometheus operator: rules, what is scraped, dashboards."""
    from deploy.monitoring.kubernetes import objects

    click.echo(yaml.safe_dump_all(objects(), sort_keys=False, width=120), nl=False)


@main.command("pictures")
@click.argument("url")
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--line", default="secom", show_default=True, help="Line that is chosen where a dashboard asks for one.")
@click.option("--minutes", default=30.0, show_default=True, help="That are drawn.")
def draw_pictures(url: str, folder: Path, line: str, minutes: float) -> None:
    """Draw the dashboards to FOLDER from the Prometheus at URL."""
    from deploy.monitoring.pictures import draw

    for file in draw(url, folder, line, minutes):
        click.echo(file)


@main.command("observe")
def start() -> None:
    """Start the platform with Prometheus and Alertmanager beside it, until Ctrl-C."""
    # Being asked to end by a process manager is no different from Ctrl-C, which a shell's background jobs ignore.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(observe())
    except NotInstalledError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()

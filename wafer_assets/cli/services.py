"""`wafer services`: the servers of a laptop, started, stopped and looked at."""

import sys
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

import click

from wafer_assets.cli.console import console, output, print_json, table
from wafer_assets.cli.help import Group
from wafer_assets.cli.options import json_option
from wafer_assets.settings import load_settings

if TYPE_CHECKING:
    from resources.local_services import ServiceStatus


@click.group(cls=Group)
def services() -> None:
    """Run S3, MongoDB and MLflow on this machine.

    They listen on loopback only and keep what they store in `.wafer`, or in the folder that WAFER_STATE_DIR names.
    """


@services.command()
@json_option
def up(as_json: bool) -> None:
    """Start the services in the background.

    They stay until `wafer services down`, and every other command finds them. With --json, it prints what
    `wafer services status` does.
    """
    from resources.local_services import LocalServices

    local = LocalServices(load_settings())
    with console.status("starting S3, MongoDB and MLflow"):
        local.up(background=True)
    if not local.started:
        console.print("The services were running already.")
    _print_services(local.status(), as_json=as_json)


@services.command()
def down() -> None:
    """Stop the services; what they stored stays."""
    from resources.local_services import LocalServices

    stopped = LocalServices(load_settings()).down()
    console.print("Stopped." if stopped else "Nothing was running.")


@services.command()
@json_option
def status(as_json: bool) -> None:
    """Show what runs where; exit with 1 unless all run and answer.

    With --json, each service has `name`, `state` (`running`, `not_answering`, `starting_again` or `stopped`), `url`,
    `memory_mb` and `pids`, and where it is started again `since`, `reason` and `log`; what is unknown is null.
    """
    from resources.local_services import LocalServices

    local = LocalServices(load_settings())
    statuses = local.status()
    silent = [service.name for service in statuses if service.running and not local.answers(service.name)]
    _print_services(statuses, silent, as_json=as_json)
    if silent:
        console.print(
            f"{', '.join(silent)}: no answer. What stays silent is started again by itself within half a minute; "
            "`wafer services down` and `up` start all again; nothing is lost."
        )
    for service in statuses:
        if service.away:
            console.print(f"{service.name} {service.away}.")
    if ended := local.ended():
        console.print(ended)
    if not any(service.running or service.away for service in statuses):
        console.print("`wafer services up` starts them.")
    if silent or not all(service.running for service in statuses):
        sys.exit(1)


@services.command()
def upgrade() -> None:
    """Bring the state folder of an earlier version of the platform up to date.

    Files, wafers, predictions, models and decisions stay; Dagster's history begins anew. Where it was cut short, it
    goes on. Afterwards, with the services up, `wafer ingest` for each feed tells Dagster of what is there.
    """
    from resources.local_services import LocalServices
    from wafer_assets.operations.upgrade import upgrade as bring_up_to_date
    from wafer_assets.settings import Settings
    from wafer_assets.settings.layout import begin_upgrade

    settings = Settings()
    if not begin_upgrade(settings.state_dir):
        console.print("The state folder is up to date.")
        return
    local = LocalServices(settings)
    with console.status("starting S3, MongoDB and MLflow"):
        connected = local.up()
    try:
        for done in bring_up_to_date(connected):
            console.print(done)
        console.print("Now `wafer services up`, then `wafer ingest --line secom`, and again with `--feed prediction`.")
    finally:
        if local.started:
            local.down()


def _print_services(statuses: "Iterable[ServiceStatus]", silent: Container[str] = (), *, as_json: bool) -> None:
    documents: list[dict[str, Any]] = [
        {
            "name": service.name,
            "state": _state(service, silent),
            "url": service.url,
            "memory_mb": round(service.memory_mb) if service.running else None,
            "pids": list(service.pids),
            **({} if service.away is None else service.away.model_dump(mode="json")),
        }
        for service in statuses
    ]
    if as_json:
        print_json(documents)
        return
    rows = (
        (
            item["name"],
            item["state"].replace("_", " "),
            item["url"] or "",
            f"{item['memory_mb']} MB" if item["memory_mb"] is not None else "",
            ", ".join(map(str, item["pids"])),
        )
        for item in documents
    )
    output.print(table(("service", "state", "address", "memory", "processes"), rows))


def _state(service: "ServiceStatus", silent: Container[str]) -> str:
    if service.away:
        return "starting_again"
    return "not_answering" if service.name in silent else "running" if service.running else "stopped"

"""`wafer metrics`: the platform in numbers, for Prometheus."""

import click

from wafer_assets.cli.console import console
from wafer_assets.cli.help import Command
from wafer_assets.cli.options import require_free_port
from wafer_assets.settings import load_settings


@click.command(cls=Command)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port; by default that of WAFER_METRICS__PORT, which is 9464, or, where that is taken, a free one.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; nobody is asked for a password."
)
def metrics(port: int | None, host: str) -> None:
    """Tell Prometheus how the platform is.

    `/metrics` reads Dagster's instance, MongoDB, MLflow and the buckets whenever it is asked; a store that is away
    takes only its own numbers with it, and `wafer_source_up` says which. It starts no services: `wafer dev` runs it
    beside them, and `make observe` with Prometheus and Alertmanager. WAFER_METRICS__ENABLED=false turns it off.
    Ctrl-C stops it.
    """
    settings = load_settings()
    if not settings.metrics.enabled:
        raise click.ClickException("WAFER_METRICS__ENABLED is false: no metrics are offered.")
    require_free_port(host, port)
    import dagster as dg
    import mlflow  # noqa: F401  a first scrape that waited for these seconds would be given up

    from resources.local_services import free_port
    from wafer_assets.cli.instance import dagster_home
    from wafer_assets.cli.options import declared_lines
    from wafer_assets.operations.metrics import Collector, platform_sources
    from wafer_assets.web.metrics import serve

    port = port or free_port(settings.metrics.port)
    home = settings.dagster_home or dagster_home(settings)
    sources = platform_sources(settings, declared_lines().lines, lambda: dg.DagsterInstance.from_config(str(home)))
    console.print(f"Metrics      http://{host}:{port}/metrics")
    serve(Collector(sources), host, port, settings.web.origins)

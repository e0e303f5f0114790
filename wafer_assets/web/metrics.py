"""The metrics over HTTP, for Prometheus and for nobody else: `/metrics`, and `/health` for who starts the exporter."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wafer_assets.web.guard import Guard, origins_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

HOST = "127.0.0.1"


def registry_of(collector: "Collector") -> "CollectorRegistry":
    """Return a registry of a collector and of what this process itself takes."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def metrics_app(registry: "CollectorRegistry", origins: Iterable[str]) -> "ASGIApp":
    """Return the application.

    Parameters
    ----------
    registry
        What is told.
    origins
        Addresses that it is reached at; under no other is anything answered.
    """
    from prometheus_client.exposition import choose_encoder
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    # Both are plain functions, which Starlette runs in threads: a scrape that waits keeps nobody else waiting.
    def metrics(request: "Request") -> "Response":
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    def health(_: "Request") -> "Response":
        return PlainTextResponse("ok\n")

    return Guard(Starlette(routes=[Route("/metrics", metrics), Route("/health", health)]), origins)


def serve(collector: "Collector", host: str, port: int, origins: Iterable[str]) -> None:
    """Serve the metrics of a collector until asked to end."""
    import uvicorn

    app = metrics_app(registry_of(collector), origins_of(host, port, origins))
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, lifespan="off", server_header=False)

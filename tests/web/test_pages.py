"""Reports in a browser: the pages, and nothing else of the lake."""

import socket

import requests

from resources.local_services import free_port
from resources.s3 import S3Store
from wafer_assets.settings import Settings
from wafer_assets.web.pages import served


def with_pages_at(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"pages_url": f"http://127.0.0.1:{port}"})


def test_a_link_leads_to_the_report_and_to_nothing_else(settings: Settings) -> None:
    settings = with_pages_at(settings, free_port())
    s3 = S3Store(settings)
    s3.put(s3.lake, "secom/prediction/reports/wafer 1.html", b"<html>report</html>")
    s3.put(s3.lake, "secom/prediction/predictions/wafer_1.csv", b"not a page")
    with served(settings) as address:
        assert address is not None
        found = requests.get(s3.page_url("secom/prediction/reports/wafer 1.html"), timeout=10)
        assert (found.status_code, found.content) == (200, b"<html>report</html>")
        assert "default-src 'none'" in found.headers["content-security-policy"]
        for path in (
            "secom/prediction/predictions/wafer_1.csv",
            "secom/prediction/reports/none.html",
            "secom/prediction/reports/%2e%2e/x",
        ):
            assert requests.get(f"{address}/{path}", timeout=10).status_code == 404


def test_a_taken_port_leaves_the_reports_out(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        served(with_pages_at(settings, other.getsockname()[1])) as address,
    ):
        assert address is None


def test_production_links_to_the_s3_console(settings: Settings) -> None:
    s3 = S3Store(settings.model_copy(update={"pages_url": None}))
    assert s3.page_url("a/b.html") == (
        "https://us-east-1.console.aws.amazon.com/s3/object/lake?region=us-east-1&prefix=a/b.html"
    )

"""A region's certificates are fetched once, kept, and nothing else is taken for them."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.infra.certificates import certificates_of
from deploy.infra.environment import InfraError
from tests.deploy.infra.conftest import CERTIFICATES, REGION


@pytest.fixture
def published(tmp_path: Path) -> Iterator[str]:
    """Where certificates are published: a server on loopback."""
    (tmp_path / REGION).mkdir()
    (tmp_path / REGION / f"{REGION}-bundle.pem").write_text(CERTIFICATES)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_they_are_fetched_where_none_are_kept(tmp_path: Path, published: str) -> None:
    assert certificates_of(REGION, tmp_path / "ca.pem", published) == CERTIFICATES


def test_those_that_are_kept_stay(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATES)
    assert certificates_of(REGION, tmp_path / "ca.pem", "http://127.0.0.1:9") == CERTIFICATES


def test_without_a_way_there_one_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        InfraError, match=r"curl -fsSo .*ca\.pem http://127\.0\.0\.1:9/eu-central-1/eu-central-1-bundle\.pem"
    ):
        certificates_of(REGION, tmp_path / "ca.pem", "http://127.0.0.1:9")


@pytest.mark.parametrize("text", ["", "<html>Sign in</html>", CERTIFICATES[:300]], ids=["empty", "a page", "cut"])
def test_what_is_no_certificate_is_not_taken_for_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(InfraError, match="holds no certificates"):
        certificates_of(REGION, tmp_path / "ca.pem")

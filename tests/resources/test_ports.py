"""Who gets in without a key: every socket that listens is tried, as a web page elsewhere would."""

import http.client
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest

from resources.local_services.state import StateFolder
from resources.s3 import S3Store
from tests.shell import processes_of
from wafer_assets.settings import Settings

TABLE = Path(__file__).parents[2] / "docs" / "ports.md"
SECRET = b"nobody but the platform reads this"
KEY = "secom/training/secret-of-the-lake"
FOREIGN = {"Host": "rebound.example", "Origin": "http://rebound.example"}
# Which answer every method with the same facts on the server.
PAGES = ("/", "/cluster/status", "/status", "/metrics", "/ui/index.html")
LOCAL = {"Origin": "http://rebound.example"}


@pytest.fixture(scope="module")
def ports(shared_platform: Settings) -> dict[int, str]:
    """Every port that a server of the platform listens on, with its name."""
    names = {port: name for name, port in StateFolder(shared_platform.state_dir).identity().ports.items()}
    addresses = {
        connection.laddr
        for process in processes_of(shared_platform.state_dir)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.ip for address in addresses} == {"127.0.0.1"}
    return {address.port: names.get(address.port, f"unknown {address.port}") for address in addresses}


@pytest.fixture(scope="module")
def paths(shared_platform: Settings) -> list[str]:
    """Ways in which SeaweedFS and MLflow give away what they hold, the secret among it."""
    lake = shared_platform.s3.lake_bucket
    S3Store(shared_platform).put(lake, KEY, SECRET)
    return [
        *("/buckets/", f"/buckets/{lake}/", f"/buckets/{lake}/{KEY}", f"/{lake}/{KEY}", f"/{lake}/?list-type=2"),
        *(f"/{volume},{number:02x}00000000" for volume in range(1, 9) for number in (1, 2)),
        *("/dir/assign", "/dir/status", "/vol/status", *PAGES),
        *("/api/2.0/mlflow/experiments/search?max_results=10", "/ajax-api/2.0/mlflow/registered-models/search"),
    ]


def ask(
    port: int, method: str, path: str, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage, bytes] | None:
    """Return what a port answers; None where it speaks no HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        with suppress(OSError, http.client.HTTPException):
            connection.request(method, path, body=b"x" if method in {"PUT", "POST"} else None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read(100_000)
        return None
    finally:
        connection.close()


def answers(
    ports: dict[int, str], paths: list[str], headers: dict[str, str], methods: tuple[str, ...] = ("GET",)
) -> Iterator[tuple[str, int, http.client.HTTPMessage, bytes]]:
    for port, name in ports.items():
        for method in methods:
            for path in paths:
                if (answer := ask(port, method, path, headers)) is not None:
                    yield f"{name} {method} {path}", *answer


def test_the_table_lists_every_port_and_no_other(ports: dict[int, str]) -> None:
    rows = [line.split("|")[1] for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    assert sorted(ports.values()) == sorted(name for row in rows for name in re.findall(r"`([^`]+)`", row))


@pytest.mark.parametrize("headers", [FOREIGN, LOCAL], ids=["rebound", "of a web page elsewhere"])
def test_nothing_that_is_stored_is_given_away(ports: dict[int, str], paths: list[str], headers: dict[str, str]) -> None:
    asked = list(answers(ports, paths, headers))
    assert len(asked) > 100, "they answer, so they were asked"
    assert [what for what, status, _, body in asked if SECRET in body or (status < 400 and KEY.encode() in body)] == []


def test_a_web_page_elsewhere_may_read_no_answer(ports: dict[int, str], paths: list[str]) -> None:
    readable = {
        what
        for what, status, headers, _ in answers(ports, paths, LOCAL)
        if status < 400 and headers.get("Access-Control-Allow-Origin") in ("*", LOCAL["Origin"])
    }
    assert readable <= {"s3 GET /status"}  # which is empty


def test_grpc_is_for_those_who_have_the_certificate(ports: dict[int, str], shared_platform: Settings) -> None:
    folder = shared_platform.state_dir / "s3"
    certificate, key = ((folder / f"grpc.{end}").read_bytes() for end in ("crt", "key"))
    inner = [port for port, name in ports.items() if name.endswith(".grpc")]
    assert len(inner) == 5
    theirs = [channel(port, grpc.ssl_channel_credentials(certificate, key, certificate)) for port in inner]
    for each in theirs:
        grpc.channel_ready_future(each).result(30)
    # Whoever merely trusts the certificate has none, and whoever speaks in the clear neither.
    others = [channel(port, given) for port in inner for given in (None, grpc.ssl_channel_credentials(certificate))]
    waiting = [grpc.channel_ready_future(each) for each in others]
    time.sleep(2)
    assert not any(future.done() for future in waiting)
    volumes = "/master_pb.Seaweed/VolumeList"
    (master,) = [port for port in inner if ports[port] == "master.port.grpc"]
    assert theirs[inner.index(master)].unary_unary(volumes)(b"", timeout=10)
    with pytest.raises(grpc.RpcError):
        others[2 * inner.index(master)].unary_unary(volumes)(b"", timeout=2)
    for each in (*theirs, *others):
        each.close()


def channel(port: int, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    address = f"127.0.0.1:{port}"
    if credentials is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "wafer local S3")])


def test_nobody_writes_or_deletes_without_a_key(
    ports: dict[int, str], paths: list[str], shared_platform: Settings
) -> None:
    stores = {port: name for port, name in ports.items() if name != "mlflow"}
    places = [path for path in paths if path not in PAGES]
    done = [what for what, status, _, _ in answers(stores, places, LOCAL, ("PUT", "POST", "DELETE")) if status < 300]
    assert done == []
    assert S3Store(shared_platform).get(shared_platform.s3.lake_bucket, KEY) == SECRET


def test_mlflow_answers_no_foreign_host_and_obeys_no_foreign_origin(ports: dict[int, str]) -> None:
    (port,) = [port for port, name in ports.items() if name == "mlflow"]
    create = "/api/2.0/mlflow/experiments/create"
    for method, path, headers in (("GET", "/", FOREIGN), ("POST", create, FOREIGN), ("POST", create, LOCAL)):
        answer = ask(port, method, path, headers | {"Content-Type": "application/json"})
        assert answer is not None
        assert answer[0] == 403, f"{method} {path}: {answer[0]}"

"""The scoring server over real connections: its routes, its limits, and what odd requests and bombs do to it."""

import gzip
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from copy import copy
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pytest
import requests

from resources.local_services import free_port
from tests.waiting import wait_until
from tests.web.test_guard import serving
from tests.web.wafers import CSV, FORMATS, JSON, SCHEMA, VERSION, WAFERS, csv, expected, records, split
from wafer_assets.domain.persistence import dump
from wafer_assets.domain.scoring import Bundle
from wafer_assets.web import scoring
from wafer_assets.web.champions import Champions, SharedFolder
from wafer_assets.web.formats import MAX_BYTES
from wafer_assets.web.guard import origins_of
from wafer_assets.web.scoring import VERSION_HEADER, Served, scoring_app
from wafer_assets.web.scoring_server import command, environment, prepare
from wafer_assets.web.served_bundle import ServedBundle

MORE_MB = 200
"""That no request may take above what an idle worker has."""


@pytest.fixture(scope="module")
def folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> SharedFolder:
    folder = SharedFolder(tmp_path_factory.mktemp("served"))
    prepare(folder, Served(line="secom", origins=[]), VERSION, dump(bundle))
    return folder


@pytest.fixture(scope="module")
def champions(folder: SharedFolder) -> Champions:
    return Champions(folder, SCHEMA)


@pytest.fixture(scope="module")
def port(champions: Champions) -> Iterator[int]:
    """The application in this process."""
    with serving(lambda port: scoring_app(champions, origins_of("127.0.0.1", port))) as port:
        yield port


def ask(port: int, body: Any, content_type: str = JSON, **headers: str) -> requests.Response:
    address = f"http://127.0.0.1:{port}/invocations"
    return requests.post(address, data=body, headers={"Content-Type": content_type, **headers}, timeout=60)


@pytest.mark.parametrize(("written", "content_type"), FORMATS)
def test_every_answer_holds_the_rows_of_a_batch_and_names_the_version(
    port: int, bundle: Bundle, written: Any, content_type: str
) -> None:
    answer = ask(port, written(WAFERS), content_type)
    assert (answer.status_code, answer.json()) == (200, {"predictions": expected(bundle, WAFERS)})
    assert answer.headers[VERSION_HEADER] == str(VERSION)
    assert answer.headers["content-type"] == JSON


def test_the_routes_are_mlflows_and_no_others(port: int) -> None:
    address = f"http://127.0.0.1:{port}"
    for path, text in (("/ping", "\n"), ("/health", "\n"), ("/version", installed_version("mlflow"))):
        answer = requests.get(address + path, timeout=10)
        assert (answer.status_code, answer.text, answer.headers[VERSION_HEADER]) == (200, text, str(VERSION))
    for method, path, status in (("GET", "/docs", 404), ("GET", "/invocations", 405), ("POST", "/ping", 405)):
        answer = requests.request(method, address + path, timeout=10)
        assert (answer.status_code, answer.headers[VERSION_HEADER]) == (status, str(VERSION))
        assert "/invocations" in answer.json()["message"]


def test_a_refusal_has_its_reason_and_names_the_version(port: int) -> None:
    answer = ask(port, b"{}")
    assert (answer.status_code, answer.headers[VERSION_HEADER]) == (400, str(VERSION))
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "dataframe_split" in answer.json()["message"]


def test_requests_that_come_together_get_their_own_rows(port: int, bundle: Bundle) -> None:
    parts = [WAFERS.iloc[start : start + 1 + start % 3].reset_index(drop=True) for start in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda part: ask(port, split(part)).json(), parts))
    for part, answer in zip(parts, answers, strict=True):
        assert answer == {"predictions": expected(bundle, part)}


class Broken:
    """Stands in a model for its preprocessor, and fails where a reading is odd."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    def transform(self, readings: Any) -> Any:
        if (readings == 42).any(axis=None):
            raise ZeroDivisionError
        return self.whole.transform(readings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


def test_a_failure_is_answered_to_the_one_request_that_it_is_of(bundle: Bundle, folder: SharedFolder) -> None:
    model = copy(bundle.model)
    model.preprocessor_ = Broken(bundle.model.preprocessor_)

    class Breaking(Champions):
        def __init__(self) -> None:
            self.folder = folder
            self.served = ServedBundle(replace(bundle, model=model), VERSION, SCHEMA)

        def current(self) -> ServedBundle:
            time.sleep(0.2)  # until others wait
            return self.served

    odd = WAFERS.head(1).assign(**{"Sensor-7": 42.0})
    with (
        serving(lambda port: scoring_app(Breaking(), origins_of("127.0.0.1", port))) as port,
        ThreadPoolExecutor(6) as pool,
    ):
        answers = list(pool.map(lambda frame: ask(port, split(frame)), [*[WAFERS.head(1)] * 5, odd]))
    assert [answer.status_code for answer in answers] == [200] * 5 + [500]
    assert "log" in answers[-1].json()["message"]


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {JSON}\r\n"
        client.sendall(f"{head}Content-Length: {MAX_BYTES + 1}\r\nExpect: 100-continue\r\n\r\n".encode())
        answer = client.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "24 MB" in answer


def test_a_body_that_says_nothing_of_its_size_is_cut_off_at_the_limit(port: int) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1_000_000
            yield b" " * 1_000_000

    with suppress(requests.ConnectionError):  # it is closed while more comes
        assert ask(port, endless()).status_code == 413
    assert sent < 3 * MAX_BYTES


def test_a_body_that_trickles_in_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BODY_SECONDS", 0.5)

    def slow() -> Iterator[bytes]:
        for _ in range(20):
            yield b"{"
            time.sleep(0.1)

    start = time.monotonic()
    with suppress(requests.ConnectionError):
        assert ask(port, slow()).status_code == 408
    assert time.monotonic() - start < 2


def test_there_is_room_for_so_many_large_requests_and_no_more(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MAX_HELD_BYTES", 1_000)
    answer = ask(port, split(WAFERS))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    monkeypatch.undo()
    assert ask(port, split(WAFERS)).status_code == 200, "what was refused is not counted on"


def test_foreign_hosts_and_pages_score_nothing(port: int) -> None:
    body = split(WAFERS.head(1))
    assert ask(port, body, Host="rebound.example").status_code == 421
    assert ask(port, body, Origin="http://evil.example").status_code == 403
    assert ask(port, body, Origin=f"http://127.0.0.1:{port}").status_code == 200


# --- fifty odd requests, at a worker of its own


@contextmanager
def worker(folder: SharedFolder, workers: int = 1) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run workers as the server does; yield their port and process."""
    port = free_port()
    served = Served(line="secom", origins=origins_of("127.0.0.1", port))
    (folder.path / scoring.SERVED_FILE).write_text(served.model_dump_json())
    process = subprocess.Popen(command(port, workers), env=environment(folder.path), start_new_session=True)
    try:
        wait_until(lambda: process.poll() is not None or is_alive(port), 60)
        assert process.poll() is None, "the worker ended by itself"
        yield port, process
    finally:
        process.terminate()
        process.wait(20)
    assert not is_alive(port)


def is_alive(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False


def kilobytes(pid: int, name: str) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1])


def parquet() -> bytes:
    import io

    content = io.BytesIO()
    WAFERS.to_parquet(content)
    return content.getvalue()


def patched(value: str) -> bytes:
    body = json.loads(split(WAFERS.head(1)))
    body["dataframe_split"]["data"][0][4] = "here"
    return json.dumps(body).replace('"here"', value).encode()


def wide(names: int) -> bytes:
    table = {"columns": [f"c{number}" for number in range(names)], "data": [[1.5] * names]}
    return json.dumps({"dataframe_split": table}).encode()


ODD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", JSON),
    "nothing as CSV": (lambda: b"", CSV),
    "no content type": (lambda: split(WAFERS.head(1)), ""),
    "a content type of nonsense": (lambda: split(WAFERS.head(1)), ";;;"),
    "parquet": (parquet, "application/vnd.apache.parquet"),
    "parquet as JSON": (parquet, JSON),
    "parquet as CSV": (parquet, CSV),
    "text": (lambda: b"hello", "text/plain"),
    "a form": (lambda: b"a=1", "application/x-www-form-urlencoded"),
    "a pickle": (lambda: b"cos\nsystem\n(S'true'\ntR.", "application/octet-stream"),
    "half of a JSON": (lambda: split(WAFERS)[:20_000], JSON),
    "zero bytes": (lambda: bytes(20_000_000), JSON),
    "zero bytes as CSV": (lambda: bytes(20_000_000), CSV),
    "spaces": (lambda: b" " * 20_000_000, JSON),
    "no UTF-8": (lambda: b'{"\xff\xfe": 1}', JSON),
    "no UTF-8 as CSV": (lambda: b"Wafer,\xff\xfe\nW,1\n", CSV),
    "UTF-16": (lambda: split(WAFERS.head(1)).decode().encode("utf-16"), JSON),
    "half a character": (lambda: b'{"dataframe_split": "\\ud800"}', JSON),
    "deep lists": (lambda: b"[" * 100_000 + b"]" * 100_000, JSON),
    "deep lists below the limit": (lambda: b'{"inputs": ' + b"[" * 1_900 + b"]" * 1_900 + b"}", JSON),
    "deep objects": (lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000, JSON),
    "unclosed lists": (lambda: b"[" * 20_000_000, JSON),
    "empty lists": (lambda: b"[" + b"[]," * 6_000_000 + b"[]]", JSON),
    "empty objects": (lambda: b'{"dataframe_records":[' + b"{}," * 6_000_000 + b"{}]}", JSON),
    "a million numbers": (lambda: b"[" + b"1," * 10_000_000 + b"1]", JSON),
    "many short texts": (lambda: b"[" + b'"a",' * 580_000 + b"1]", JSON),
    "a long text": (lambda: b'{"dataframe_split":"' + b"a" * 20_000_000 + b'"}', JSON),
    "a long text of wide characters": (
        lambda: b'{"inputs":{"a":["' + "\N{HIGH VOLTAGE SIGN}\N{GRINNING FACE}".encode() * 3_000_000 + b'"]}}',
        JSON,
    ),
    "a long text as a reading": (lambda: patched('"' + "x" * 10_000_000 + '"'), JSON),
    "a long name": (lambda: b'{"inputs":{"' + b"n" * 20_000_000 + b'":[1]}}', JSON),
    "half a million columns": (lambda: wide(290_000), JSON),
    "a number of 5,000 digits": (lambda: patched("1" * 5_000), JSON),
    "a number of ten million digits": (lambda: patched("1" * 10_000_000), JSON),
    "not a number": (lambda: patched("NaN"), JSON),
    "infinity": (lambda: patched("-Infinity"), JSON),
    "too large a number": (lambda: patched("1e999"), JSON),
    "a list as a reading": (lambda: patched("[[[1]]]"), JSON),
    "an object as a reading": (lambda: patched('{"a": {"b": 1}}'), JSON),
    "a truth as a reading": (lambda: patched("true"), JSON),
    "no columns": (lambda: b'{"dataframe_split":{"columns":[],"data":[[]]}}', JSON),
    "columns that are no names": (lambda: b'{"dataframe_split":{"columns":[[1],{},null],"data":[[1,2,3]]}}', JSON),
    "a table of an index": (lambda: b'{"dataframe_split":{"columns":["a"],"data":[[1]],"index":"x"}}', JSON),
    "two formats at a time": (lambda: b'{"dataframe_split":{},"inputs":{}}', JSON),
    "a tensor": (lambda: b'{"inputs":[[1,2],[3,4]]}', JSON),
    "a chat": (lambda: b'{"messages":[{"role":"user","content":"hi"}]}', JSON),
    "1,001 wafers": (lambda: records(WAFERS.iloc[[0] * 1_001]), JSON),
    "100,000 wafers of one sensor": (lambda: b"Sensor-1\n" + b"1\n" * 100_000, CSV),
    "a million lines": (lambda: csv(WAFERS.head(1)) + b"\n" * 1_000_000, CSV),
    "a million commas": (lambda: b"a," * 10_000_000, CSV),
    "half a million columns as CSV": (lambda: b",".join(b"c%d" % number for number in range(580_000)) + b"\n", CSV),
    "an open quote": (lambda: b'Wafer,"Sensor-1\n' + b"1\n" * 900, CSV),
    "a long cell": (lambda: b"Wafer\n" + b"9" * 20_000_000 + b"\n", CSV),
    "a formula": (lambda: csv(WAFERS.head(1).astype({"Sensor-1": object}).assign(**{"Sensor-1": "=1+1"})), CSV),
}
assert len(ODD) >= 50


@pytest.mark.services
def test_odd_requests_and_bombs_are_refused_with_a_reason_and_little_memory(folder: SharedFolder) -> None:
    with worker(folder) as (port, process):
        assert ask(port, split(WAFERS)).status_code == 200
        idle = kilobytes(process.pid, "VmRSS")
        seen = {}
        for name, (make, content_type) in ODD.items():
            body = make()
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the highest memory so far is forgotten
            answer = ask(port, body, content_type)
            taken = (kilobytes(process.pid, "VmHWM") - idle) / 1_000
            assert 400 <= answer.status_code < 500, f"{name}: {answer.status_code} {answer.text}"
            assert 10 < len(answer.json()["message"]) < 1_100, name
            assert "Traceback" not in answer.text
            seen[name] = taken
        assert max(seen.values()) < MORE_MB, sorted(seen.items(), key=lambda item: -item[1])[:5]
        assert ask(port, split(WAFERS)).status_code == 200, "and it still answers"


@pytest.mark.services
def test_odd_heads_do_not_end_a_worker(folder: SharedFolder) -> None:
    with worker(folder) as (port, process):
        idle = kilobytes(process.pid, "VmRSS")
        host = f"Host: 127.0.0.1:{port}\r\n"
        heads = [
            f"POST /invocations HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n",
            f"POST /invocations HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            f"POST /invocations HTTP/1.1\r\n{host}Content-Length: {'9' * 30}\r\n\r\n",
            f"POST /invocations HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            f"POST /invocations HTTP/1.1\r\n{host}X: {'x' * 10_000_000}\r\n\r\n",
            f"POST /invocations HTTP/1.1\r\n{host}{'X: x' + chr(13) + chr(10)}" * 100_000,
            f"GET /{'x' * 1_000_000} HTTP/1.1\r\n{host}\r\n",
            "nonsense\r\n\r\n",
        ]
        for head in heads:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
                with suppress(ConnectionError):
                    client.sendall(head.encode())
                answer = b""
                with suppress(ConnectionError):
                    answer = client.recv(10_000)
            assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.1 2")), head[:80]
        body = gzip.compress(bytes(100_000_000))
        assert ask(port, body, JSON, **{"Content-Encoding": "gzip"}).status_code == 415
        assert (kilobytes(process.pid, "VmHWM") - idle) / 1_000 < MORE_MB
        assert is_alive(port)

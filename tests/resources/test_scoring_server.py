"""The scoring server: the rows of a batch to the last bit, a reason for every refusal, and real processes."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import replace
from threading import Thread, main_thread
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner
from dagster import DagsterRun

from resources import scoring_server
from resources.champion import NoChampionError
from resources.local_services import free_port
from resources.mlflow import CHAMPION, BundleVersion, LineTracking
from resources.scoring_server import ServedBundle, command, environment, scoring_app
from schemas.loader import load_schema
from tests.stored import pyfunc_of
from wafer_assets.cli.serve import serve
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.persistence import dump
from wafer_assets.domain.scoring import Bundle, make_bundle, score
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import FaultModel
from wafer_assets.settings import Settings

SCHEMA = load_schema("prediction")
WAFERS = simulate_table(50, seed=2)[["wafer", *SCHEMA.sensors]]
VERSION = 7


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    table = simulate_table(400, seed=1, fault_rate=0.15)
    model = FaultModel(ModelConfig(k=2, folds=2, xgboost_trees=10, forest_trees=10))
    readings = sensor_readings(table)
    model.fit(readings, table["faulty"])
    features = model.preprocessor_.transform(readings)
    return make_bundle(
        model,
        table,
        model.clusterer_.predict(features),
        model.clusterer_.coordinates(features)[:, :2],
        contract_version="1.0",
        optional=SCHEMA.optional_columns,
        card={},
    )


@pytest.fixture
def server(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server as an application, without a socket."""
    from mlflow.pyfunc import scoring_server as mlflow_server

    # What the server of a process replaces for good is put back after a test.
    for name in ("parse_csv_input", "infer_and_parse_data"):
        monkeypatch.setattr(mlflow_server, name, getattr(mlflow_server, name))
    return scoring_app(ServedBundle(bundle, VERSION))


def post(server: Any, body: bytes, content_type: str) -> tuple[int, Any]:
    """Send a request to an application and return status and content of the answer."""
    sent: list[dict[str, Any]] = []
    received = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/invocations",
        "query_string": b"",
        "headers": [(b"content-type", content_type.encode())],
    }
    asyncio.run(server(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(content)


def cells(frame: pd.DataFrame) -> list[list[Any]]:
    return [[None if cell != cell else cell for cell in row] for row in frame.to_numpy(dtype=object).tolist()]


def split(frame: pd.DataFrame) -> bytes:
    return json.dumps({"dataframe_split": {"columns": list(frame), "data": cells(frame)}}).encode()


def records(frame: pd.DataFrame) -> bytes:
    rows = [dict(zip(frame, row, strict=True)) for row in cells(frame)]
    return json.dumps({"dataframe_records": rows}).encode()


def csv(frame: pd.DataFrame, header: str = "Wafer") -> bytes:
    return frame.rename(columns={"wafer": header}).to_csv(index=False).encode()


def expected(bundle: Bundle, wafers: pd.DataFrame, version: int = VERSION) -> list[dict[str, Any]]:
    return score(bundle, wafers, version).rows.to_dict("records")  # type: ignore[return-value]


JSON, CSV = "application/json", "text/csv"
FORMATS = [(split, JSON), (records, JSON), (csv, CSV)]


@pytest.mark.parametrize(("written", "content_type"), FORMATS)
@pytest.mark.parametrize("count", [1, 50])
def test_an_answer_has_the_rows_of_a_batch(
    server: Any, bundle: Bundle, written: Any, content_type: str, count: int
) -> None:
    wafers = WAFERS.head(count)
    status, answer = post(server, written(wafers), content_type)
    assert status == 200
    assert answer == {"predictions": expected(bundle, wafers)}


def test_readings_of_seventeen_digits_keep_every_bit(bundle: Bundle) -> None:
    import io

    served = ServedBundle(bundle, VERSION)
    exact = WAFERS.copy()
    exact[list(SCHEMA.sensors)] *= np.random.default_rng(0).uniform(0.5, 2, (len(exact), len(SCHEMA.sensors)))
    table = served.read_csv(io.StringIO(csv(exact).decode()))
    np.testing.assert_array_equal(table.cells[:, 1:], exact.drop(columns="wafer").to_numpy())


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "Wafer", "wafer"])
def test_the_headers_of_batch_files_are_understood(server: Any, bundle: Bundle, header: str) -> None:
    wafers = WAFERS.head(2).assign(wafer=["007", "8e1"])  # ids that look like numbers
    status, answer = post(server, csv(wafers, header), CSV)
    assert (status, answer["predictions"]) == (200, expected(bundle, wafers))


def test_columns_may_come_in_any_order_without_ids_and_without_optional_sensors(server: Any, bundle: Bundle) -> None:
    wafers = WAFERS.head(3).drop(columns=["wafer", *SCHEMA.optional_columns])
    status, answer = post(server, split(wafers[wafers.columns[::-1]]), JSON)
    assert (status, answer["predictions"]) == (200, expected(bundle, wafers))
    # The same server then takes the usual order.
    assert post(server, split(WAFERS), JSON)[1]["predictions"] == expected(bundle, WAFERS)


def test_null_is_a_missing_reading(server: Any, bundle: Bundle) -> None:
    wafers = WAFERS.head(1).copy()
    wafers[["Sensor-1", "Sensor-2"]] = np.nan
    for written, content_type in FORMATS:
        assert post(server, written(wafers), content_type)[1]["predictions"] == expected(bundle, wafers)


def refused(server: Any, body: bytes, content_type: str = JSON) -> str:
    status, answer = post(server, body, content_type)
    assert status == 400
    assert "Traceback" not in answer["message"]
    assert len(answer["message"]) < 400, "the reason is buried"
    return str(answer["message"])


def test_wrong_columns_are_refused_with_the_reason(server: Any) -> None:
    one = WAFERS.head(1)
    for written, content_type in FORMATS:
        reason = refused(server, written(one.drop(columns="Sensor-3")), content_type)
        assert "1 missing (Sensor-3)" in reason
        assert "1 unknown (pressure)" in refused(server, written(one.assign(pressure=1.0)), content_type)
    for name in ("batch", "faulty"):
        assert f"unknown ({name})" in refused(server, split(one.assign(**{name: 1})))
    repeated = pd.concat([one, one[["Sensor-5"]]], axis=1)
    assert "repeated (Sensor-5)" in refused(server, split(repeated))
    assert "repeated (Sensor-5)" in refused(server, csv(repeated), CSV)
    assert "Several columns" in refused(server, split(one.assign(Wafer="W")))


@pytest.mark.parametrize("value", ["1.5", True, [1.0], {"a": 1}])
def test_what_is_no_number_is_refused(server: Any, value: Any) -> None:
    one = json.loads(split(WAFERS.head(2)))
    one["dataframe_split"]["data"][1][4] = value
    reason = refused(server, json.dumps(one).encode())
    assert "1 sensors are not numeric (Sensor-4)" in reason
    assert repr(value) in reason


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "1e999", "1;2"])
def test_texts_and_infinities_in_csv_are_refused(server: Any, text: str) -> None:
    assert refused(server, csv(WAFERS.head(2).astype({"Sensor-4": object}).assign(**{"Sensor-4": text})), CSV)


@pytest.mark.parametrize("number", ["Infinity", "1e999", "1" + "0" * 400])
def test_infinite_readings_are_refused(server: Any, number: str) -> None:
    body = json.loads(split(WAFERS.head(1)))
    body["dataframe_split"]["data"][0][4] = "here"
    assert "finite" in refused(server, json.dumps(body).replace('"here"', number).encode())


def test_a_wafer_id_must_be_text(server: Any) -> None:
    assert "A wafer id is 7" in refused(server, split(WAFERS.head(1).assign(wafer=7)))
    assert "A wafer id is None" in refused(server, csv(WAFERS.head(1).assign(wafer=None)), CSV)


def test_one_to_a_thousand_wafers(server: Any, bundle: Bundle) -> None:
    many = simulate_table(1_000, seed=5)[["wafer", *SCHEMA.sensors]]
    status, answer = post(server, csv(many), CSV)
    assert status == 200
    assert answer["predictions"] == expected(bundle, many)
    assert "1,001 wafers" in refused(server, csv(pd.concat([many, WAFERS.head(1)])), CSV)
    assert "0 wafers" in refused(server, split(WAFERS.head(0)))
    assert refused(server, csv(WAFERS.head(0)), CSV)
    assert refused(server, b"", CSV)


def test_ragged_requests_are_refused(server: Any) -> None:
    rows = json.loads(records(WAFERS.head(2)))
    del rows["dataframe_records"][1]["Sensor-9"]
    assert "Wafer 2 has other columns than the first, such as 'Sensor-9'" in refused(server, json.dumps(rows).encode())
    table = json.loads(split(WAFERS.head(2)))
    table["dataframe_split"]["data"][1].pop()
    assert "Wafer 2" in refused(server, json.dumps(table).encode())
    lines = csv(WAFERS.head(2)).splitlines()
    assert "columns" in refused(server, b"\n".join([*lines[:2], lines[2] + b",1"]), CSV)


@pytest.mark.parametrize(
    "body", [b"{}", b"[1]", b"nonsense", b'{"inputs": [1]}', b'{"messages": []}', b'{"dataframe_split": 1}']
)
def test_what_is_no_table_is_refused(server: Any, body: bytes) -> None:
    assert post(server, body, JSON)[0] == 400


def test_requests_that_wait_together_get_their_own_rows(bundle: Bundle) -> None:
    served = ServedBundle(bundle, VERSION)
    parts = [WAFERS.iloc[start : start + 1 + start % 3].reset_index(drop=True) for start in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(served.predict, parts))
    for part, answer in zip(parts, answers, strict=True):
        pd.testing.assert_frame_equal(answer, score(bundle, part, VERSION).rows, check_exact=True)


class Broken:
    """Stands in a model for its preprocessor."""

    def transform(self, _: object) -> None:
        raise ZeroDivisionError


def test_a_failure_reaches_everyone_who_waited(bundle: Bundle) -> None:
    model = copy(bundle.model)
    model.preprocessor_ = Broken()
    served = ServedBundle(replace(bundle, model=model), VERSION)
    with ThreadPoolExecutor(4) as pool:
        failures = [pool.submit(served.predict, WAFERS).exception(timeout=30) for _ in range(8)]
    assert {type(failure) for failure in failures} == {ZeroDivisionError}
    model.preprocessor_ = bundle.model.preprocessor_
    assert len(served.predict(WAFERS)) == len(WAFERS)


def test_the_command_explains_itself() -> None:
    result = CliRunner().invoke(serve, ["--help"])
    assert result.exit_code == 0
    assert "--workers" in result.output


def register(tracking: LineTracking, bundle: Bundle) -> BundleVersion:
    with tracking.run(DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as run:
        return tracking.register_bundle(
            run, dump(bundle), sensors=SCHEMA.sensors, optional=SCHEMA.optional_columns, tags={}
        )


@contextmanager
def running(settings: Settings) -> Iterator[int]:
    """A server of the champion with its port; at the end it is asked to end, and has left no process."""
    tracking = LineTracking(settings, "secom")
    port = free_port()
    process = subprocess.Popen(
        command(port, 2),
        env=environment(settings.mlflow, "secom", scoring_server.champion(tracking)),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None, "the server ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(family) >= 3
        yield port
        process.terminate()
        process.wait(20)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(20)


def answers(port: int) -> bool:
    with suppress(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    return False


def ask(port: int, body: bytes, content_type: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/invocations", body, {"Content-Type": content_type})
    response = connection.getresponse()
    content = json.loads(response.read())
    assert response.status == 200, content
    return content["predictions"]


def test_real_servers_agree_with_the_process_and_the_pyfunc_and_take_a_new_champion(
    platform_settings: Settings, bundle: Bundle
) -> None:
    tracking = LineTracking(platform_settings, "secom")
    with pytest.raises(NoChampionError, match="wafer train") as missing:
        scoring_server.champion(tracking)
    assert missing.value.code == "no_champion"

    for version in (register(tracking, bundle), register(tracking, bundle)):
        tracking.set_alias(CHAMPION, version)
        with running(platform_settings) as port:
            for wafers in (WAFERS.head(1), WAFERS):
                rows = expected(bundle, wafers, version.version)
                for written, content_type in FORMATS:
                    assert ask(port, written(wafers), content_type) == rows
        # Read back from the registry as any consumer would.
        predicted = pyfunc_of(tracking, version).predict(WAFERS)
        assert predicted.to_dict("records") == expected(bundle, WAFERS, version.version)
    assert version.version == 2


def test_the_command_serves_until_it_is_interrupted(platform_settings: Settings, bundle: Bundle) -> None:
    tracking = LineTracking(platform_settings, "secom")
    version = register(tracking, bundle)
    port = free_port()
    seen: list[Any] = []

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not answers(port) and time.monotonic() < deadline:
            time.sleep(0.2)
        with suppress(Exception):
            seen.append(ask(port, csv(WAFERS.head(1)), CSV))
        # To the main thread, as from a terminal; its wait for the server ends with it.
        signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)

    thread = Thread(target=interrupt)
    before = set(psutil.Process().children(recursive=True))
    thread.start()
    assert scoring_server.serve(platform_settings.mlflow, "secom", version, port, 1) == 0
    thread.join()
    assert seen == [expected(bundle, WAFERS.head(1), version.version)]
    assert set(psutil.Process().children(recursive=True)) <= before

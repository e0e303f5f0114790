"""A model that answers: the rows of a batch to the last bit, in every format, and a reason for every refusal."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.wafers import CSV, FORMATS, JSON, SCHEMA, VERSION, WAFERS, csv, expected, records, split
from wafer_assets.domain.scoring import Bundle
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.web.formats import RefusedRequest
from wafer_assets.web.served_bundle import ServedBundle


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> ServedBundle:
    return ServedBundle(bundle, VERSION, SCHEMA)


def post(served: ServedBundle, body: bytes, content_type: str) -> tuple[int, Any]:
    """Return the status and the content of the answer to a request."""
    try:
        (answer,) = served.score([served.read(body, content_type)])
    except RefusedRequest as refused:
        return refused.status, {"message": refused.reason}
    return 200, json.loads(answer)


@pytest.mark.parametrize(("written", "content_type"), FORMATS)
@pytest.mark.parametrize("count", [1, 50])
def test_an_answer_has_the_rows_of_a_batch(
    served: ServedBundle, bundle: Bundle, written: Any, content_type: str, count: int
) -> None:
    wafers = WAFERS.head(count)
    status, answer = post(served, written(wafers), content_type)
    assert status == 200
    assert answer == {"predictions": expected(bundle, wafers)}


def test_readings_of_seventeen_digits_keep_every_bit(served: ServedBundle, bundle: Bundle) -> None:
    exact = WAFERS.copy()
    exact[list(SCHEMA.sensors)] *= np.random.default_rng(0).uniform(0.5, 2, (len(exact), len(SCHEMA.sensors)))
    for written, content_type in FORMATS:
        readings = served.read(written(exact), content_type).readings
        np.testing.assert_array_equal(readings, exact[list(bundle.model.feature_names_in_)].to_numpy())


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "Wafer", "wafer"])
def test_the_headers_of_batch_files_are_understood(served: ServedBundle, bundle: Bundle, header: str) -> None:
    wafers = WAFERS.head(2).assign(wafer=["007", "8e1"])  # ids that look like numbers
    status, answer = post(served, csv(wafers, header), CSV)
    assert (status, answer["predictions"]) == (200, expected(bundle, wafers))


def test_columns_may_come_in_any_order_without_ids_and_without_optional_sensors(
    served: ServedBundle, bundle: Bundle
) -> None:
    wafers = WAFERS.head(3).drop(columns=["wafer", *SCHEMA.optional_columns])
    status, answer = post(served, split(wafers[wafers.columns[::-1]]), JSON)
    assert (status, answer["predictions"]) == (200, expected(bundle, wafers))
    # The same server then takes the usual order.
    assert post(served, split(WAFERS), JSON)[1]["predictions"] == expected(bundle, WAFERS)


def test_null_is_a_missing_reading(served: ServedBundle, bundle: Bundle) -> None:
    wafers = WAFERS.head(1).copy()
    wafers[["Sensor-1", "Sensor-2"]] = np.nan
    for written, content_type in FORMATS:
        assert post(served, written(wafers), content_type)[1]["predictions"] == expected(bundle, wafers)


def refused(served: ServedBundle, body: bytes, content_type: str = JSON) -> str:
    status, answer = post(served, body, content_type)
    assert status == 400
    assert "Traceback" not in answer["message"]
    assert len(answer["message"]) < 400, "the reason is buried"
    return str(answer["message"])


def test_wrong_columns_are_refused_with_the_reason(served: ServedBundle) -> None:
    one = WAFERS.head(1)
    for written, content_type in FORMATS:
        reason = refused(served, written(one.drop(columns="Sensor-3")), content_type)
        assert "1 missing (Sensor-3)" in reason
        assert "1 unknown (pressure)" in refused(served, written(one.assign(pressure=1.0)), content_type)
    for name in ("batch", "faulty"):
        assert f"unknown ({name})" in refused(served, split(one.assign(**{name: 1})))
    repeated = pd.concat([one, one[["Sensor-5"]]], axis=1)
    assert "repeated (Sensor-5)" in refused(served, split(repeated))
    assert "repeated (Sensor-5)" in refused(served, csv(repeated), CSV)
    assert "Several columns" in refused(served, split(one.assign(Wafer="W")))


@pytest.mark.parametrize("value", ["1.5", True, [1.0], {"a": 1}])
def test_what_is_no_number_is_refused(served: ServedBundle, value: Any) -> None:
    one = json.loads(split(WAFERS.head(2)))
    one["dataframe_split"]["data"][1][4] = value
    reason = refused(served, json.dumps(one).encode())
    assert "1 sensors are not numeric (Sensor-4)" in reason
    assert repr(value) in reason


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "1e999", "1;2"])
def test_texts_and_infinities_in_csv_are_refused(served: ServedBundle, text: str) -> None:
    assert refused(served, csv(WAFERS.head(2).astype({"Sensor-4": object}).assign(**{"Sensor-4": text})), CSV)


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "1" + "0" * 400, "9" * 5_000])
def test_readings_that_are_no_finite_numbers_are_refused(served: ServedBundle, number: str) -> None:
    body = json.loads(split(WAFERS.head(1)))
    body["dataframe_split"]["data"][0][4] = "here"
    assert "finite" in refused(served, json.dumps(body).replace('"here"', number).encode())


def test_a_wafer_id_must_be_text(served: ServedBundle) -> None:
    assert "A wafer id is 7" in refused(served, split(WAFERS.head(1).assign(wafer=7)))
    assert "A wafer id is None" in refused(served, csv(WAFERS.head(1).assign(wafer=None)), CSV)


def test_one_to_a_thousand_wafers(served: ServedBundle, bundle: Bundle) -> None:
    many = simulate_table(1_000, seed=5)[["wafer", *SCHEMA.sensors]]
    status, answer = post(served, csv(many), CSV)
    assert status == 200
    assert answer["predictions"] == expected(bundle, many)
    assert "1,001 wafers" in refused(served, csv(pd.concat([many, WAFERS.head(1)])), CSV)
    assert "0 wafers" in refused(served, split(WAFERS.head(0)))
    assert refused(served, csv(WAFERS.head(0)), CSV)
    assert refused(served, b"", CSV)


def test_ragged_requests_are_refused(served: ServedBundle) -> None:
    rows = json.loads(records(WAFERS.head(2)))
    del rows["dataframe_records"][1]["Sensor-9"]
    assert "Wafer 2 has other columns than the first, such as 'Sensor-9'" in refused(served, json.dumps(rows).encode())
    table = json.loads(split(WAFERS.head(2)))
    table["dataframe_split"]["data"][1].pop()
    assert "Wafer 2" in refused(served, json.dumps(table).encode())
    lines = csv(WAFERS.head(2)).splitlines()
    assert "columns" in refused(served, b"\n".join([*lines[:2], lines[2] + b",1"]), CSV)


@pytest.mark.parametrize(
    "body",
    [
        *(b"{}", b"[1]", b"nonsense", b"1", b"null", b'{"messages": []}', b'{"dataframe_split": 1}'),
        *(b'{"inputs": [1]}', b'{"inputs": {"a": 1}}', b'{"inputs": {"a": [], "b": [1]}}', b'{"instances": [[1]]}'),
        *(b'{"dataframe_records": {}}', b'{"dataframe_split": {"columns": 1, "data": []}}'),
    ],
)
def test_what_is_no_table_is_refused(served: ServedBundle, body: bytes) -> None:
    assert post(served, body, JSON)[0] == 400


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "text/plain; application/json", "application/json; charset=latin-1"]
)
def test_other_types_of_content_are_refused(served: ServedBundle, content_type: str) -> None:
    status, answer = post(served, split(WAFERS.head(1)), content_type)
    assert (status, "application/json or text/csv" in answer["message"]) == (415, True)
    assert post(served, split(WAFERS.head(1)), 'application/json; charset="UTF-8"')[0] == 200


def test_params_are_refused_unless_they_are_empty(served: ServedBundle) -> None:
    body = json.loads(split(WAFERS.head(1)))
    assert post(served, json.dumps({**body, "params": {}}).encode(), JSON)[0] == 200
    assert "no params" in refused(served, json.dumps({**body, "params": {"threshold": 0.1}}).encode())


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=10,
        ).flatmap(
            lambda value: st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances"]).map(
                lambda name: json.dumps({name: value}).encode()
            )
        ),
    ),
    st.sampled_from([JSON, CSV]),
)
def test_whatever_is_sent_is_scored_or_refused(served: ServedBundle, body: bytes, content_type: str) -> None:
    assert post(served, body, content_type)[0] in (200, 400)


def test_requests_that_are_scored_together_get_their_own_rows(served: ServedBundle, bundle: Bundle) -> None:
    parts = [WAFERS.iloc[start : start + 1 + start % 3].reset_index(drop=True) for start in range(40)]
    answers = served.score([served.read(split(part), JSON) for part in parts])
    for part, answer in zip(parts, answers, strict=True):
        assert json.loads(answer) == {"predictions": expected(bundle, part)}

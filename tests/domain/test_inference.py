"""What is inferred from sample files is what they show, says how sure it is, and can be read again."""

import io
import json
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.loader import load_schema
from wafer_assets.domain.inference import (
    InferenceError,
    Inferred,
    decisions,
    infer_line,
    render_line_yaml,
    render_schema_json,
)
from wafer_assets.domain.simulation import simulate_batches


def etcher(**columns: object) -> dict[str, bytes]:
    """Two labelled files and one to predict, of ids that lie between theirs; `columns` are added to all."""
    rng = np.random.default_rng(0)
    files = {}
    for name, first, labelled in (
        ("etch_29022020_101500.csv", 1, True),
        ("etch_15032020_101500.csv", 21, True),
        ("etch_16032020_083000.csv", 2, False),
    ):
        frame = pd.DataFrame(
            {"wafer": [f"L29-{first + 2 * row:02d}" for row in range(10)], "flow.mean": rng.normal(750, 1, 10).round(3)}
        )
        frame["power.min"] = 0
        for column, values in columns.items():
            frame[column] = values
        if labelled:
            frame["fault"] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        files[name] = frame.to_csv(index=False).encode()
    return files


def file_of(frame: Mapping[str, object]) -> dict[str, bytes]:
    return {"line_29022020_101500.csv": pd.DataFrame(frame).to_csv(index=False).encode()}


@pytest.fixture(scope="module")
def etch() -> Inferred:
    return infer_line("etch", etcher())


def test_names_ids_label_and_order_of_a_new_line_are_found(etch: Inferred) -> None:
    assert etch.file_name.value == "etch_{stamp}.csv"
    assert (etch.stamp.value, etch.stamp.sure) == ("%d%m%Y_%H%M%S", "certain")
    assert (etch.wafer.value, etch.wafer_pattern.value) == ("wafer", "L[0-9]+-[0-9]{2}")
    assert etch.label is not None
    assert (etch.label.column.value, etch.label.column.sure) == ("fault", "certain")
    assert (etch.label.faulty.value, etch.label.faulty.sure) == (("1",), "guess")
    assert (len(etch.labelled), len(etch.unlabelled)) == (2, 1)
    assert etch.order.value == "wafer_id"
    assert "contradict" in etch.order.why
    assert etch.batches == (10, 10)
    assert etch.sensors["power.min"].constant


def test_the_declaration_is_yaml_of_the_agreed_form(etch: Inferred) -> None:
    declared = yaml.safe_load(render_line_yaml(etch))

    assert declared["line"] == "etch"
    assert declared["files"]["name"] == "etch_{stamp}.csv"
    assert declared["labels"] == {"passed": ["0"], "faulty": ["1"]}
    assert declared["missing"] == []
    assert declared["order"] == "wafer_id"
    assert declared["wafer_id"] == {"pattern": "L[0-9]+-[0-9]{2}", "example": "L29-01"}
    low, high = declared["sensors"]["flow.mean"]["usual"]
    seen = etch.sensors["flow.mean"].observed
    assert seen is not None
    assert low < seen[0] < seen[1] < high
    assert "usual" not in declared["sensors"]["power.min"]


def test_every_guess_carries_a_comment(etch: Inferred) -> None:
    for line in render_line_yaml(etch).splitlines():
        if line.strip().startswith(("name:", "stamp:", "pattern:", "passed:", "faulty:", "order:", "flow.mean:")):
            assert any(f"# {sure}" in line for sure in ("certain", "likely", "guess")), line


def test_schema_files_have_the_original_form(etch: Inferred) -> None:
    training, prediction = (json.loads(render_schema_json(etch, feed)) for feed in ("training", "prediction"))

    assert training == {
        "SampleFileName": "etch_29022020_101500.csv",
        "LengthOfDateStampInFile": 8,
        "LengthOfTimeStampInFile": 6,
        "NumberofColumns": 4,
        "ColName": {"wafer": "varchar", "flow.mean": "float", "power.min": "float", "fault": "Integer"},
    }
    assert prediction["NumberofColumns"] == 3
    assert prediction["SampleFileName"] == "etch_16032020_083000.csv"


def test_a_person_decides_which_value_is_faulty(etch: Inferred) -> None:
    wanted = decisions(etch)

    assert "Which spelling of 'fault' is faulty" in wanted[0]
    assert any("'power.min' are known to be constant" in sentence for sentence in wanted)


def test_the_shipped_line_is_inferred_from_its_files() -> None:
    files = {
        f"{feed}/{batch.name}": batch.content
        for feed, seed in (("training", 1), ("prediction", 2))
        for batch in simulate_batches(3, feed=feed, seed=seed)  # type: ignore[arg-type]
    }
    inferred, schema = infer_line("secom", files), load_schema("training")

    assert json.loads(render_schema_json(inferred, "prediction"))["ColName"] == dict(load_schema("prediction").columns)
    assert inferred.header_aliases.value == {"": "Wafer"}
    assert inferred.label is not None
    assert (inferred.label.column.value, inferred.label.faulty.value) == ("Good/Bad", ("1",))
    assert {name for name, sensor in inferred.sensors.items() if sensor.optional.value} == set(schema.optional_columns)


@pytest.mark.parametrize(
    ("names", "stamp", "sure"),
    [
        (["a_29022020_101500.csv", "a_01032020_101500.csv"], "%d%m%Y_%H%M%S", "certain"),
        (["a_20200229-101500.csv", "a_20200301-101500.csv"], "%Y%m%d-%H%M%S", "certain"),
        (["a_20200229T101500.csv", "A_20200301T101500.csv"], "%Y%m%dT%H%M%S", "certain"),
        (["a_2020-02-29T10-15-00.csv", "a_2020-03-01T10-15-00.csv"], "%Y-%m-%dT%H-%M-%S", "certain"),
        (["a20200229101500.csv", "a20200301101500.csv"], "%Y%m%d%H%M%S", "certain"),
        (["a_20200229_1015.csv", "a_20200301_1015.csv"], "%Y%m%d_%H%M", "certain"),
        (["a_02032020_101500.csv", "a_06042020_101500.csv"], "%d%m%Y_%H%M%S", "guess"),
    ],
)
def test_the_stamp_in_the_names_is_told_and_an_ambiguous_one_said_so(names: list[str], stamp: str, sure: str) -> None:
    content = next(iter(etcher().values()))
    inferred = infer_line("a", dict.fromkeys(names, content))

    assert (inferred.stamp.value, inferred.stamp.sure) == (stamp, sure)
    assert ("ambiguous" in inferred.stamp.why) == (sure == "guess")


def test_texts_and_times_are_context_and_no_sensors() -> None:
    inferred = infer_line(
        "etch", etcher(recipe=list("ABABABABAB"), started=[f"2020-03-01 10:{row:02d}:00" for row in range(10)])
    )

    assert {name: kind.value for name, kind in inferred.context.items()} == {"recipe": "text", "started": "time"}
    assert yaml.safe_load(render_line_yaml(inferred))["context"]["started"] == {"title": "started", "type": "time"}
    assert "started hold times" in inferred.order.why


def test_texts_among_readings_are_codes_and_only_usual_ones_are_taken() -> None:
    inferred = infer_line("etch", etcher(a=[1, 2, 3, 4, 5, 6, 7, 8, "NaN", 9], b=[1, 2, 3, 4, 5, 6, 7, 8, "broken", 9]))

    assert {code.value: code.sure for code in inferred.missing} == {"NaN": "likely", "broken": "guess"}
    assert yaml.safe_load(render_line_yaml(inferred))["missing"] == ["NaN"]
    assert inferred.sensors["a"].share == pytest.approx(0.9)
    assert sum("means not measured" in sentence for sentence in decisions(inferred)) == 2


def test_repeated_readings_far_from_all_others_are_suspicious() -> None:
    inferred = infer_line("etch", etcher(a=[1, 2, 3, 4, 5, 6, 7, 8, 9999, -999], b=[9990, 9991, 9992, 9993, 9999] * 2))

    assert inferred.sensors["a"].sentinels == ("-999", "9999")
    assert inferred.sensors["a"].observed == (1, 8)
    assert inferred.sensors["b"].sentinels == ()
    assert any("-999, 9999 means not measured in 'a'" in sentence for sentence in decisions(inferred))


def test_a_column_that_is_empty_in_a_whole_file_is_optional() -> None:
    files = etcher(a=1.5)
    last = list(files)[-1]
    files[last] = files[last].replace(b",1.5", b",")
    optional = infer_line("etch", files).sensors["a"].optional

    assert (optional.value, optional.sure) == (True, "likely")


def test_stamps_and_ids_that_agree_are_said_so() -> None:
    files = {name: content for name, content in etcher().items() if "_16" not in name}
    order = infer_line("etch", files).order

    assert (order.value, order.sure) == ("batch_stamp", "likely")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no file"),
        ({"wafers.csv": b"a,b\nx,1\n"}, "'wafers.csv' does not share"),
        ({"a_29022020_101500.csv": b"1,2\n3,4\n"}, "no header"),
        ({"a_29022020_101500.csv": b"\xff\xfe"}, "not UTF-8"),
        ({"a_29022020_101500.csv": b"a,b\n"}, "holds 1 lines"),
        ({"a_29022020_101500.csv": b"a,b\nx\n"}, "1 cells where the header has 2"),
        ({"a_29022020_101500.csv": b"a,a\nx,1\n"}, "without a name of its own"),
        ({"a_29022020_101500.csv": b"a,b\nx,1\nx,1\n"}, "No column names the wafers"),
        ({"a_29022020_101500.csv": b"a,b\nx,p\ny,q\n"}, "No column holds numbers"),
    ],
)
def test_what_cannot_be_inferred_is_refused_with_what_was_found(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(InferenceError, match=said):
        infer_line("a", files)


@pytest.mark.parametrize(
    ("ids", "pattern"),
    [
        (["LOT#A 1/25", "LOT#A 12/3"], "LOT#A [0-9]+/[0-9]+"),
        (["LOT#A 1/25", "hold it", "a^]-b"], None),
        (["a", "=b"], "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    ],
)
def test_ids_of_any_form_that_can_be_stored_match_their_pattern(ids: list[str], pattern: str | None) -> None:
    inferred = infer_line(
        "a", {"a_29022020_101500.csv": "\n".join(["id,s", *(f"{each},1.5" for each in ids)]).encode()}
    )
    found = inferred.wafer_pattern.value
    assert pattern in (None, found)
    assert "=b" in ids or all(re.fullmatch(found, each) for each in ids)


def test_a_name_that_is_no_lines_is_refused() -> None:
    with pytest.raises(InferenceError, match="no name of a line"):
        infer_line("Metal Etch", etcher())


def check(files: Mapping[str, bytes]) -> None:
    """Infer, and read again what is written down; only the module's own error may be raised."""
    try:
        inferred = infer_line("a", files)
    except InferenceError:
        return
    declared = yaml.safe_load(render_line_yaml(inferred))
    assert declared["wafer_id"]["example"] == inferred.wafer_example
    assert set(declared["sensors"]) == {"default", *inferred.sensors}
    assert all(isinstance(end, float) for sensor in declared["sensors"].values() for end in sensor.get("usual", ()))
    assert set(declared["context"]) == set(inferred.context)
    schema = json.loads(render_schema_json(inferred, "prediction"))
    assert schema["NumberofColumns"] == len(schema["ColName"])
    if inferred.label:
        assert list(json.loads(render_schema_json(inferred, "training"))["ColName"])[-1] == inferred.label.column.value
    assert decisions(inferred)


NAMES = st.sampled_from(["a_29022020_101500.csv", "a_01022020_101500.csv", "b/a_20200102T101500.csv", "a.csv"])


@given(st.dictionaries(NAMES | st.text(max_size=30), st.binary(max_size=200), max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_inferred_from_or_refused(files: dict[str, bytes]) -> None:
    check(files)


CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "+1", "9999", "-999", "NaN", "1e999", "1e308", "-1e308", "1e-320", "x", "=1"]),
    st.floats().map(repr),
    st.text(max_size=5),
)
HEADERS = st.one_of(
    st.sampled_from(["", "default", "Wafer", "fault", "<<", "yes", "null", "a: b #", "\ufeff", "\u2028"]),
    st.text(max_size=6),
)


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_table_is_inferred_from_or_refused(data: st.DataObject) -> None:
    header = data.draw(st.lists(HEADERS, min_size=2, max_size=5, unique=True))
    files = {}
    for name in ("a_29022020_101500.csv", "a_01022020_101500.csv")[: data.draw(st.integers(1, 2))]:
        columns = header if data.draw(st.booleans()) else header[:-1]
        rows = data.draw(
            st.lists(st.lists(CELLS, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=5)
        )
        buffer = io.StringIO()
        frame = pd.DataFrame(rows, columns=columns, dtype=str)
        if data.draw(st.booleans()):
            frame.insert(0, "wafer\N{SNOWMAN}", [f"w{number}" for number in range(len(frame))])
        frame.to_csv(buffer, index=False)
        files[name] = buffer.getvalue().encode(errors="replace")
    check(files)

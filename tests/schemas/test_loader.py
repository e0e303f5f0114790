"""A schema file is read by meaning, or refused with one error that names the key at fault."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from schemas.loader import BatchSchema, Feed, SchemaError, batch_time, load_schema, read_schema

SHIPPED = Path(schemas.__file__).parent / "schema_training.json"
SMALL = {
    "SampleFileName": "wafer_08012020_120000.csv",
    "LengthOfDateStampInFile": 8,
    "LengthOfTimeStampInFile": 6,
    "NumberofColumns": 4,
    "ColName": {"Wafer": "varchar", "Sensor-1": "float", "Sensor-2": "float", "Output": "Integer"},
    "ContractVersion": "1.0",
    "MaxFileSizeMB": 1,
    "HeaderAliases": {"": "Wafer"},
    "LabelValues": {"-1": "passed", "1": "faulty"},
    "OptionalColumns": ["Sensor-2"],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["Wafer", "float"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["", "Wafer", "-1"]), inner),
    max_leaves=5,
)
COMMISSIONED_LATE = [86, 110, 111, 112, 221, 245, 246, 247, 359, 383, 384, 385, 493, 517, 518, 519]


@pytest.mark.parametrize(("feed", "label"), [("training", "Output"), ("prediction", None)])
def test_shipped_schema_describes_its_line(feed: Feed, label: str | None) -> None:
    schema = load_schema(feed)

    assert schema.feed == feed
    assert schema.wafer == "Wafer"
    assert schema.label == label
    assert schema.sensors == tuple(f"Sensor-{number}" for number in range(1, 591))
    assert schema.optional_columns == tuple(f"Sensor-{number}" for number in COMMISSIONED_LATE)


def test_minus_one_is_passed_and_plus_one_is_faulty() -> None:
    assert load_schema("training").label_values == {"-1": "passed", "1": "faulty", "+1": "faulty"}


def test_unnamed_header_is_the_wafer_in_first_place_only() -> None:
    schema = load_schema("training")

    assert schema.column_of("", 0) == "Wafer"
    assert schema.column_of("", 7) == ""
    assert schema.column_of("Good/Bad", 591) == "Output"
    assert schema.column_of("Sensor-7", 7) == "Sensor-7"


def test_types_of_the_original_files_are_understood(tmp_path: Path) -> None:
    content = json.loads(SHIPPED.read_text())
    content["ColName"] = {name: f" {kind.upper()}" for name, kind in content["ColName"].items()}

    assert _read(tmp_path, json.dumps(content)).sensors == load_schema("training").sensors


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("wafer_28012020_051011.csv", datetime(2020, 1, 28, 5, 10, 11)),
        ("Wafer_28012020_051011.csv", datetime(2020, 1, 28, 5, 10, 11)),
        ("WAFER_29022020_235959.csv", datetime(2020, 2, 29, 23, 59, 59)),
        ("wafer_29022021_051011.csv", None),
        ("wafer_28012020_051060.csv", None),
        ("wafer_28012020_241011.csv", None),
        ("wafer_00012020_051011.csv", None),
        ("wafer_2812020_051011.csv", None),
        ("wafer_28012020_051011.CSV", None),
        ("wafer_28012020_051011.csv\n", None),
        (" wafer_28012020_051011.csv", None),
        ("wafer_28012020_051011 (1).csv", None),
        ("training/wafer_28012020_051011.csv", None),
        ("../wafer_28012020_051011.csv", None),
        ("wafer_٢٨٠١٢٠٢٠_051011.csv", None),
        ("waffle_28012020_051011.csv", None),
        ("", None),
    ],
)
def test_batch_time_needs_the_exact_form_and_a_real_time(name: str, time: datetime | None) -> None:
    assert load_schema("training").batch_time(name) == time


def test_batch_time_of_any_prefix() -> None:
    assert batch_time("chip_28012020_051011.csv") == datetime(2020, 1, 28, 5, 10, 11)


@given(st.datetimes(datetime(1000, 1, 1)).map(lambda time: time.replace(microsecond=0)))
def test_batch_time_is_the_time_that_the_name_was_made_of(time: datetime) -> None:
    assert batch_time(f"wafer_{time:%d%m%Y_%H%M%S}.csv") == time


@given(st.text() | st.from_regex(r"\A[a-z]+_[0-9]{8}_[0-9]{6}\.csv\Z"))
def test_any_name_has_a_time_or_none(name: str) -> None:
    time = batch_time(name)

    assert time is None or f"{time:%d%m}" == name.split("_")[1][:4]


def _set(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update({key: value})


def _set_column(name: str, kind: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["ColName"].update({name: kind})


@pytest.mark.parametrize(
    ("damage", "key", "found"),
    [
        (lambda content: content.pop("ContractVersion"), "ContractVersion", "nothing"),
        (lambda content: content.pop("OptionalColumns"), "OptionalColumns", "nothing"),
        (_set("Colour", "blue"), "Colour", "blue"),
        (_set("ContractVersion", "latest"), "ContractVersion", "latest"),
        (_set("SampleFileName", "wafer_31022020_120000.csv"), "SampleFileName", "31022020"),
        (_set("LengthOfDateStampInFile", 6), "LengthOfDateStampInFile", "6"),
        (_set("LengthOfTimeStampInFile", "6"), "LengthOfTimeStampInFile", "'6'"),
        (_set("NumberofColumns", 591), "NumberofColumns", "591, but ColName has 592"),
        (_set("NumberofColumns", "592"), "NumberofColumns", "'592'"),
        (_set("MaxFileSizeMB", 0), "MaxFileSizeMB", "0"),
        (_set("MaxFileSizeMB", True), "MaxFileSizeMB", "True"),
        (_set("ColName", ["Wafer"]), "ColName", "['Wafer']"),
        (_set_column("Sensor-3", "string"), "ColName.Sensor-3", "'string'"),
        (_set_column("Sensor-3", 3), "ColName.Sensor-3", "3"),
        (_set_column("Sensor-3", "varchar"), "ColName", "2 varchar columns"),
        (_set_column("Wafer", "float"), "ColName", "0 varchar columns"),
        (_set_column("Sensor-3", "Integer"), "ColName", "2 Integer columns"),
        (_set("HeaderAliases", {"Lot": "Lot"}), "HeaderAliases", "'Lot' for 'Lot'"),
        (_set("HeaderAliases", {"Sensor-1": "Sensor-2"}), "HeaderAliases", "'Sensor-1'"),
        (_set("OptionalColumns", ["Sensor-5", "Sensor-591"]), "OptionalColumns", "Sensor-591"),
        (_set("OptionalColumns", ["Wafer"]), "OptionalColumns", "Wafer"),
        (_set("OptionalColumns", "Sensor-5"), "OptionalColumns", "Sensor-5"),
        (_set("LabelValues", {"": "passed", "1": "faulty"}), "LabelValues", "'' for passed"),
        (_set("LabelValues", {"-1": "faulty", "1": "passed"}), "LabelValues", "'-1' for faulty"),
        (_set("LabelValues", {"-1": "passed", "1": "faulty", "+1": "passed"}), "LabelValues", "'+1'"),
        (_set("LabelValues", {"-1": "good", "1": "faulty"}), "LabelValues.-1", "'good'"),
        (_set("LabelValues", {"-1": "passed"}), "LabelValues", "passed"),
        (_set("LabelValues", {}), "LabelValues", "{}"),
        (
            lambda content: content["ColName"].update({"": content["ColName"].pop("Sensor-9")}),
            "ColName",
            "name",
        ),
    ],
)
def test_broken_schema_is_refused_by_key(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object], key: str, found: str
) -> None:
    content = json.loads(SHIPPED.read_text())
    damage(content)

    with pytest.raises(SchemaError, match=r"^schema\.json: ") as refusal:
        _read(tmp_path, json.dumps(content))

    assert refusal.value.key == key
    assert found in refusal.value.found
    assert refusal.value.remedy


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*SMALL, "Colour"]), JSON, max_size=3))
def test_whatever_a_schema_holds_it_is_read_or_refused_by_name(changes: dict[str, object]) -> None:
    result = _read_or_refuse(json.dumps(SMALL | changes))

    if isinstance(result, SchemaError):
        assert result.source == "schema.json"
        assert result.key.partition(".")[0] in {*SMALL, *changes, "the file"}
        assert result.remedy
    else:
        assert result.sensors
        assert batch_time(result.sample_file_name)


def test_labels_without_a_label_column_are_refused(tmp_path: Path) -> None:
    content = json.loads(SHIPPED.read_text())
    del content["ColName"]["Output"], content["HeaderAliases"]["Good/Bad"]
    content["NumberofColumns"] = 591

    with pytest.raises(SchemaError, match="LabelValues"):
        _read(tmp_path, json.dumps(content))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "the file"),
        ("[]", "the file"),
        ("{", "the file"),
        ("[" * 100_000, "the file"),
        ('{"SampleFileName": "a", "SampleFileName": "b"}', "SampleFileName"),
        ('{"ColName": {"Wafer": "varchar", "Sensor-1": "float", "Sensor-1": "float"}}', "Sensor-1"),
    ],
)
def test_text_that_is_no_schema_is_refused(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(SchemaError) as refusal:
        _read(tmp_path, text)

    assert refusal.value.key == key


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"absent\.json: the file"):
        read_schema(tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes(b'{"Wafer": "\xb5"}')
    with pytest.raises(SchemaError, match=r"latin\.json: the file"):
        read_schema(tmp_path / "latin.json")


def _read_or_refuse(text: str) -> BatchSchema | SchemaError:
    with TemporaryDirectory() as folder:
        try:
            return _read(Path(folder), text)
        except SchemaError as refusal:
            return refusal


def _read(folder: Path, text: str) -> BatchSchema:
    path = folder / "schema.json"
    path.write_text(text, encoding="utf-8")
    return read_schema(path)

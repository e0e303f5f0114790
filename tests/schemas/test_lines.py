"""A line is a folder; a folder that is wrong is refused with file, key, what was found and the remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.files import LineError
from schemas.lines import SHIPPED, Declaration, Line, Lines, editor_schema, load_lines, read_line
from tests.schemas.folders import COLUMNS, LABEL, SMALL, schema_file, write_line

Damage = Callable[[dict[str, Any]], object]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["Wafer", "float", "column:Sensor-1", "{stamp}.csv", "(", "1.0", "Sensor-9"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["", "Wafer", "-1", "min", "max", "name", "stamp", "pattern", "valid", "share"]), inner
        )
    ),
    max_leaves=6,
)


def test_shipped_line_is_read() -> None:
    line = read_line(SHIPPED / "secom")

    assert line.name == "secom"
    assert line.landing == "secom"
    assert line.hyperparameters.capacity == 0.33
    assert line.retraining is None
    assert load_lines() == Lines({"secom": line}, ())


def test_line_says_who_is_told_and_when_it_is_trained_again(tmp_path: Path) -> None:
    line = _line(
        tmp_path,
        retraining={"min_new_wafers": 20, "cooldown_hours": 1.5},
        notify=["etch-team"],
        model={"k": 3, "n_sensors": 12},
        alarm={"cost_ratio": 10},
    )

    assert line.retraining is not None
    assert (line.retraining.min_new_wafers, line.retraining.cooldown_hours) == (20, 1.5)
    assert line.notify == ("etch-team",)
    assert (line.hyperparameters.k, line.hyperparameters.n_sensors, line.hyperparameters.cost_ratio) == (3, 12, 10)


def test_default_holds_for_sensors_that_are_not_told_otherwise(tmp_path: Path) -> None:
    line = _line(tmp_path, sensors={"default": {"unit": "W", "share": 0.5}, "Sensor-1": {"unit": "Pa"}})

    assert (line.sensor("Sensor-1").unit, line.sensor("Sensor-1").share) == ("Pa", 0.5)
    assert line.sensor("Sensor-2").unit == "W"


def _set(path: str, value: object) -> Damage:
    def damage(content: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for parent in parents:
            content = content.setdefault(parent, {})
        content[last] = value

    return damage


def _drop(key: str) -> Damage:
    return lambda content: content.pop(key)


@pytest.mark.parametrize(
    ("damage", "key", "found"),
    [
        (_drop("format"), "format", "nothing"),
        (_drop("title"), "title", "nothing"),
        (_drop("labels"), "labels", "nothing"),
        (_drop("files"), "files", "nothing"),
        (_drop("alarm"), "alarm", "nothing"),
        (_set("format", 2), "format", "2"),
        (_set("format", "next"), "format", "next"),
        (_set("colour", "blue"), "colour", "blue"),
        (_set("files/colour", "blue"), "files.colour", "blue"),
        (_set("sensors/Sensor-1", {"units": "W"}), "sensors.Sensor-1.units", "W"),
        (_set("line", "Small Line"), "line", "Small Line"),
        (_set("line", "9small"), "line", "9small"),
        (_set("line", "other"), "line", "'other' in the folder 'small'"),
        (_set("title", ""), "title", "''"),
        (_set("title", ["a"]), "title", "['a']"),
        (_set("contract", "latest"), "contract", "latest"),
        (_set("files", "wafer.csv"), "files", "wafer.csv"),
        (_set("files/name", "wafer.csv"), "files.name", "wafer.csv"),
        (_set("files/name", "wafer_{stamp}.xlsx"), "files.name", "wafer_{stamp}.xlsx"),
        (_set("files/format", "xlsx"), "files.format", "xlsx"),
        (_set("files/format", "json"), "files.name", "wafer_{stamp}.csv"),
        (_set("files/delimiter", "#"), "files.delimiter", "#"),
        (_set("files/decimal", ","), "files.decimal", ","),
        (_set("labels/fault_rate", 1), "labels.fault_rate", "1"),
        (_set("files/stamp", "%H%M%S"), "files.stamp", "%H%M%S"),
        (_set("files/max_size_mb", 0), "files.max_size_mb", "0"),
        (_set("files/max_size_mb", "many"), "files.max_size_mb", "many"),
        (_set("files/wafers", {"min": 5, "max": 4}), "files.wafers", "min 5 above max 4"),
        (_set("files/landing", "../secom"), "files.landing", "../secom"),
        (_set("files/header_aliases", {"Lot": "Lot"}), "files.header_aliases.Lot", "'Lot' for 'Lot'"),
        (_set("files/header_aliases", {"Sensor-1": "Sensor-2"}), "files.header_aliases.Sensor-1", "'Sensor-1'"),
        (_set("wafer_id", {"pattern": "("}), "wafer_id.pattern", "("),
        (_set("wafer_id", {"pattern": "L[0-9]+"}), "wafer_id.example", "Wafer-17"),
        (_set("wafer_id", {"pattern": ".*", "example": "=1+1"}), "wafer_id.example", "=1+1"),
        (_set("wafer_id", {"pattern": ".*", "example": "a" * 65}), "wafer_id.example", "aaa"),
        (_set("labels", {"passed": ["0"], "faulty": ["1", "0"]}), "labels", "'0' for passed and for faulty"),
        (_set("labels", {"passed": ["0"], "faulty": []}), "labels.faulty", "[]"),
        (_set("labels", {"passed": ["0"]}), "labels.faulty", "nothing"),
        (_set("labels", {"passed": ["0"], "faulty": [" 1"]}), "labels", "' 1'"),
        (_set("labels", {"passed": ["0"], "faulty": [""]}), "labels.faulty.0", "''"),
        (_set("missing", ["NaN", " "]), "missing", "' '"),
        (_set("missing", "NaN"), "missing", "NaN"),
        (_set("order", "by lot"), "order", "by lot"),
        (_set("order", "column:Lot"), "order", "column:Lot"),
        (_set("order", "column:Wafer"), "order", "column:Wafer"),
        (_set("context", {"Lot": {}}), "context.Lot", "no such column"),
        (_set("context", {"Sensor-1": {}}), "context.Sensor-1", "float"),
        (_set("context", {"Sensor-1": {"type": "colour"}}), "context.Sensor-1.type", "colour"),
        (_set("sensors", {"Sensor-9": {}}), "sensors.Sensor-9", "no float column"),
        (_set("sensors", {"Wafer": {}}), "sensors.Wafer", "no float column"),
        (_set("sensors/Sensor-1", {"valid": [2, 1]}), "sensors.Sensor-1.valid", "min 2 above max 1"),
        (_set("sensors/Sensor-1", {"usual": [2, 1]}), "sensors.Sensor-1.usual", "min 2 above max 1"),
        (_set("sensors/default", {"usual": [2, 1]}), "sensors.default.usual", "min 2 above max 1"),
        (_set("sensors/Sensor-1", {"valid": [1]}), "sensors.Sensor-1.valid.1", "nothing"),
        (_set("sensors/Sensor-1", {"valid": ["nan", 1]}), "sensors.Sensor-1.valid", "nan"),
        (_set("sensors/Sensor-1", {"share": 0}), "sensors.Sensor-1.share", "0"),
        (_set("sensors/Sensor-1", {"share": 1.1}), "sensors.Sensor-1.share", "1.1"),
        (_set("sensors/Sensor-1", {"optional": "maybe"}), "sensors.Sensor-1.optional", "maybe"),
        (_set("alarm", {"capacity": 2}), "alarm.capacity", "2"),
        (_set("alarm", {"capacity": 0.1, "cost_ratio": 2}), "alarm", "capacity and cost_ratio"),
        (_set("alarm", {"capacity": None}), "alarm", "neither"),
        (_set("retraining", {"min_new_wafers": 0, "cooldown_hours": 1}), "retraining.min_new_wafers", "0"),
        (_set("notify", ["a b"]), "notify.0", "a b"),
        (_set("model", {"trees": 3}), "model.trees", "3"),
        (_set("model", {"k": 0}), "model.k", "0"),
        (_set("model", {"capacity": 0.2}), "model.capacity", "0.2"),
    ],
)
def test_wrong_declaration_is_refused_by_key(tmp_path: Path, damage: Damage, key: str, found: str) -> None:
    content = json.loads(json.dumps(SMALL))
    damage(content)

    refusal = _refusal(write_line(tmp_path, content, name="small"))

    assert (refusal.file, refusal.key) == ("small/line.yaml", key)
    assert found in refusal.found
    assert refusal.remedy
    assert str(refusal) == f"small/line.yaml: {key}: found {refusal.found}. {refusal.remedy}"


@pytest.mark.parametrize("name", ["training", "prediction", "runs"])
def test_names_of_the_platforms_own_folders_are_refused(tmp_path: Path, name: str) -> None:
    assert _refusal(write_line(tmp_path, SMALL | {"line": name})).key == "line"


def test_format_of_the_future_says_what_to_do(tmp_path: Path) -> None:
    refusal = _refusal(write_line(tmp_path, SMALL | {"format": 2, "of": "tomorrow"}))

    assert (refusal.key, refusal.found) == ("format", "2")
    assert "update the platform" in refusal.remedy


@pytest.mark.parametrize(
    ("damage", "key", "found"),
    [
        (_drop("SampleFileName"), "SampleFileName", "nothing"),
        (_set("Colour", "blue"), "Colour", "blue"),
        (_set("OptionalColumns", ["Sensor-1"]), "OptionalColumns", "Sensor-1"),
        (_set("SampleFileName", "wafer_31022020_120000.csv"), "SampleFileName", "31022020"),
        (_set("LengthOfDateStampInFile", 6), "LengthOfDateStampInFile", "6"),
        (_set("LengthOfTimeStampInFile", "6"), "LengthOfTimeStampInFile", "'6'"),
        (_set("LengthOfTimeStampInFile", 4), "LengthOfTimeStampInFile", "4"),
        (_set("NumberofColumns", 5), "NumberofColumns", "5, but ColName has 4"),
        (_set("NumberofColumns", True), "NumberofColumns", "True"),
        (_set("ColName", ["Wafer"]), "ColName", "['Wafer']"),
        (_set("ColName/Sensor-2", "string"), "ColName.Sensor-2", "'string'"),
        (_set("ColName/Sensor-2", 3), "ColName.Sensor-2", "3"),
        (_set("ColName/Sensor-2", "varchar"), "ColName", "2 varchar columns"),
        (_set("ColName/Wafer", "float"), "ColName", "0 varchar columns"),
        (_set("ColName/Sensor-2", "Integer"), "ColName", "2 Integer columns"),
        (_set("ColName/Output", "float"), "ColName", "0 Integer columns"),
        (_set("ColName", {"Wafer": "varchar", "faulty": "float", "": "float", "Output": "Integer"}), "ColName", "''"),
        (
            _set("ColName", {"Wafer": "varchar", "faulty": "float", "S": "float", "Output": "Integer"}),
            "ColName",
            "'faulty'",
        ),
    ],
)
def test_wrong_schema_file_is_refused_by_key(tmp_path: Path, damage: Damage, key: str, found: str) -> None:
    folder = write_line(tmp_path)
    content = schema_file(COLUMNS | LABEL)
    damage(content)
    (folder / "schema_training.json").write_text(json.dumps(content))

    refusal = _refusal(folder)

    assert (refusal.file, refusal.key) == ("small/schema_training.json", key)
    assert found in refusal.found
    assert refusal.remedy


def test_key_that_moved_says_where_it_is_now(tmp_path: Path) -> None:
    folder = write_line(tmp_path)
    (folder / "schema_training.json").write_text(json.dumps(schema_file(COLUMNS | LABEL) | {"MaxFileSizeMB": 20}))

    assert "files.max_size_mb in line.yaml" in _refusal(folder).remedy


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (COLUMNS | LABEL, "1 Integer columns"),
        (COLUMNS | {"Sensor-3": "float"}, "Sensor-3"),
        ({"Wafer": "varchar", "Sensor-1": "float"}, "Sensor-2"),
        ({"Wafer": "varchar", "Sensor-2": "float", "Sensor-1": "float"}, "another order"),
    ],
)
def test_feeds_differ_by_the_label_alone(tmp_path: Path, columns: dict[str, str], found: str) -> None:
    folder = write_line(tmp_path)
    (folder / "schema_prediction.json").write_text(json.dumps(schema_file(columns)))

    refusal = _refusal(folder)

    assert (refusal.file, refusal.key) == ("small/schema_prediction.json", "ColName")
    assert found in refusal.found


def test_types_of_the_original_files_are_understood(tmp_path: Path) -> None:
    columns = {name: f" {kind.upper()}" for name, kind in COLUMNS.items()}

    assert read_line(write_line(tmp_path, columns=columns)).columns("prediction") == COLUMNS


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*SMALL, "wafer_id", "order", "context", "model", "colour"]), JSON, max_size=3))
def test_whatever_a_declaration_holds_it_is_read_or_refused(changes: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        _is_read_or_refused(write_line(Path(folder), SMALL | changes, name="small"))


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from([*schema_file(COLUMNS), "Colour"]), JSON, max_size=3),
    st.sampled_from(["training", "prediction"]),
)
def test_whatever_a_schema_file_holds_it_is_read_or_refused(changes: dict[str, Any], feed: str) -> None:
    with TemporaryDirectory() as parent:
        folder = write_line(Path(parent))
        (folder / f"schema_{feed}.json").write_text(json.dumps(schema_file(COLUMNS) | changes))
        _is_read_or_refused(folder)


@settings(deadline=None)
@given(
    st.sampled_from(["line.yaml", "schema_training.json", "schema_prediction.json"]),
    st.integers(0, 1_000),
    st.integers(0, 12),
    st.binary(max_size=6) | st.sampled_from([b"&a ", b"*a", b"!x ", b"---\n", b"\n\t", b"{", b": ", b"null", b"NaN"]),
)
def test_any_damage_to_a_folder_gets_an_answer(file: str, start: int, length: int, insert: bytes) -> None:
    with TemporaryDirectory() as parent:
        folder = write_line(Path(parent))
        good = (folder / file).read_bytes()
        start %= len(good)
        (folder / file).write_bytes(good[:start] + insert + good[start + length :])
        _is_read_or_refused(folder)


def test_lines_of_a_user_are_beside_those_that_are_shipped(tmp_path: Path) -> None:
    write_line(tmp_path, SMALL | {"line": "etch"})
    write_line(tmp_path)
    for hidden in (".git", "..data", "__pycache__"):
        (tmp_path / hidden).mkdir()
    (tmp_path / "README.md").write_text("Ours.")

    read = load_lines(tmp_path)

    assert list(read.lines) == ["etch", "secom", "small"]
    assert read.errors == ()


def test_broken_line_takes_no_other_down(tmp_path: Path) -> None:
    write_line(tmp_path)
    write_line(tmp_path, SMALL | {"line": "etch", "title": ""})
    (tmp_path / "empty").mkdir()

    read = load_lines(tmp_path)

    assert list(read.lines) == ["secom", "small"]
    assert [(error.line, error.key) for error in read.errors] == [("empty", "the file"), ("etch", "title")]


def test_second_line_of_one_name_is_refused(tmp_path: Path) -> None:
    write_line(tmp_path, SMALL | {"line": "secom"})

    read = load_lines(tmp_path)

    assert read.lines["secom"].title == "Semiconductor line, 590 sensors"
    assert [(error.file, error.key) for error in read.errors] == [("secom/line.yaml", "line")]


@pytest.mark.parametrize("landing", ["secom", "small", "small/etch"])
def test_second_line_of_one_landing_prefix_is_refused(tmp_path: Path, landing: str) -> None:
    write_line(tmp_path)
    write_line(tmp_path, SMALL | {"line": "etch", "files": SMALL["files"] | {"landing": landing}})

    read = load_lines(tmp_path)

    assert list(read.lines) == ["secom", "small"]
    assert [(error.file, error.key) for error in read.errors] == [("etch/line.yaml", "files.landing")]


def test_line_may_land_elsewhere(tmp_path: Path) -> None:
    write_line(tmp_path, SMALL | {"files": SMALL["files"] | {"landing": "small-wafers"}})

    assert load_lines(tmp_path).lines["small"].landing == "small-wafers"


def test_folder_that_holds_no_lines_is_refused_and_the_shipped_ones_are_there(tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", write_line(tmp_path)):
        read = load_lines(folder)

        assert list(read.lines) == ["secom"]
        assert [error.key for error in read.errors] == ["WAFER_LINES"]


def test_schema_for_editors_is_that_of_the_types() -> None:
    assert (SHIPPED / "line.schema.json").read_text() == editor_schema(), (
        "Write it anew: python -c 'from schemas.lines import editor_schema as s; print(s(), end=\"\")' "
        "> schemas/line.schema.json"
    )
    assert set(json.loads(editor_schema())["properties"]) == {
        field.alias or name for name, field in Declaration.model_fields.items()
    }


def test_editors_find_nothing_wrong_with_the_lines_and_everything_with_a_typing_error() -> None:
    schema = Draft202012Validator(json.loads(editor_schema()))
    for folder in (SHIPPED / "secom", Path(__file__).parents[1] / "lines" / "metal_etch"):
        content = yaml.safe_load((folder / "line.yaml").read_text())
        assert list(schema.iter_errors(content)) == []
        for wrong in ({"titel": "a"}, {"alarm": 1}, {"model": {"trees": 3}}, {"sensors": {"default": {"share": 2}}}):
            assert list(schema.iter_errors(content | wrong))


def _line(folder: Path, **changes: object) -> Line:
    return read_line(write_line(folder, SMALL | changes))


def _refusal(folder: Path) -> LineError:
    with pytest.raises(LineError) as refusal:
        read_line(folder)
    return refusal.value


def _is_read_or_refused(folder: Path) -> None:
    try:
        line = read_line(folder)
    except LineError as error:
        refusal = error
    else:
        assert line.name == folder.name
        assert line.file_names.example
        return
    assert refusal.line == folder.name
    assert refusal.key
    assert refusal.remedy
    assert len(str(refusal)) < 2_000

"""The contract of a feed follows from its line."""

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.files import LineError
from schemas.lines import read_line
from schemas.loader import BatchSchema, Feed, batch_time, load_schema
from tests.schemas.folders import SMALL, write_line

COMMISSIONED_LATE = [86, 110, 111, 112, 221, 245, 246, 247, 359, 383, 384, 385, 493, 517, 518, 519]


@pytest.mark.parametrize(("feed", "label"), [("training", "Output"), ("prediction", None)])
def test_shipped_line_is_that_of_590_sensors(feed: Feed, label: str | None) -> None:
    schema = load_schema(feed)

    assert (schema.line, schema.feed) == ("secom", feed)
    assert schema.wafer == "Wafer"
    assert schema.label == label
    assert schema.sensors == tuple(f"Sensor-{number}" for number in range(1, 591))
    assert schema.optional_columns == tuple(f"Sensor-{number}" for number in COMMISSIONED_LATE)
    assert schema.contract_version == "1.0"
    assert schema.max_file_size == 20_000_000
    assert schema.order == "wafer_id"


def test_minus_one_is_passed_and_plus_one_is_faulty() -> None:
    assert load_schema("training").label_values == {"-1": "passed", "1": "faulty", "+1": "faulty"}
    assert load_schema("prediction").label_values == {}


def test_unnamed_header_is_the_wafer_in_first_place_only() -> None:
    schema = load_schema("training")

    assert schema.column_of("", 0) == "Wafer"
    assert schema.column_of("", 7) == ""
    assert schema.column_of("Good/Bad", 591) == "Output"
    assert schema.column_of("Sensor-7", 7) == "Sensor-7"


def test_feed_has_the_aliases_of_its_own_columns_only() -> None:
    assert "Good/Bad" not in load_schema("prediction").header_aliases


def test_line_that_is_not_shipped_is_refused() -> None:
    with pytest.raises(LineError, match=r"absent/line\.yaml: the file"):
        load_schema("training", "absent")


def test_what_is_declared_of_all_sensors_holds_for_those_that_are_not_told_otherwise(tmp_path: Path) -> None:
    sensors = {
        "default": {"share": 0.5, "valid": [0, 100]},
        "Sensor-1": {"share": 0.9, "usual": [10, 20]},
        "Sensor-2": {"valid": ["-.inf", 5], "optional": True},
    }
    schema = _schema(tmp_path, sensors=sensors)

    assert schema.shares == {"Sensor-1": 0.9, "Sensor-2": 0.5}
    assert schema.valid == {"Sensor-1": (0, 100), "Sensor-2": (float("-inf"), 5)}
    assert schema.usual == {"Sensor-1": (10, 20)}
    assert schema.optional_columns == ("Sensor-2",)


def test_context_columns_are_neither_sensor_nor_id_nor_label(tmp_path: Path) -> None:
    columns = {"Lot": "varchar", "Wafer": "varchar", "Slot": "Integer", "Sensor-1": "float", "Etched": "varchar"}
    context = {"Lot": {}, "Slot": {"type": "number"}, "Etched": {"type": "time"}}
    folder = write_line(tmp_path, SMALL | {"context": context, "order": "column:Etched", "sensors": {}}, columns)
    training, prediction = (BatchSchema.of(read_line(folder), feed) for feed in ("training", "prediction"))  # type: ignore[arg-type]

    for schema in (training, prediction):
        assert (schema.wafer, schema.sensors) == ("Wafer", ("Sensor-1",))
        assert schema.order_column == "Etched"
    assert (training.label, prediction.label) == ("Output", None)


def test_sensor_that_orders_the_wafers_is_no_order_column(tmp_path: Path) -> None:
    assert _schema(tmp_path, order="column:Sensor-1").order_column is None


def test_batch_time_is_that_of_the_line(tmp_path: Path) -> None:
    files = {"name": "etch_{stamp}.csv", "stamp": "%Y%m%d-%H%M"}
    folder = write_line(
        tmp_path, SMALL | {"files": files}, sample={"name": "etch_20200128-0510.csv", "lengths": (8, 4)}
    )

    assert BatchSchema.of(read_line(folder), "training").batch_time("Etch_20200229-2359.csv") == datetime(
        2020, 2, 29, 23, 59
    )


def test_batch_time_of_any_prefix() -> None:
    assert batch_time("chip_28012020_051011.csv") == datetime(2020, 1, 28, 5, 10, 11)
    assert batch_time("_28012020_051011.csv") is None
    assert batch_time("chíp_28012020_051011.csv") is None


@given(st.datetimes(datetime(1000, 1, 1)).map(lambda time: time.replace(microsecond=0)))
def test_batch_time_is_the_time_that_the_name_was_made_of(time: datetime) -> None:
    assert batch_time(f"wafer_{time:%d%m%Y_%H%M%S}.csv") == time


@given(st.text() | st.from_regex(r"\A[a-z]+_[0-9]{8}_[0-9]{6}\.csv\Z"))
def test_any_name_has_a_time_or_none(name: str) -> None:
    time = batch_time(name)

    assert time is None or f"{time:%d%m}" == name.split("_")[1][:4]


def _schema(folder: Path, **changes: object) -> BatchSchema:
    return BatchSchema.of(read_line(write_line(folder, SMALL | changes)), "training")

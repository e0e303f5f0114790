"""A file is judged by what its line declares, and by nothing else."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.lines import read_line
from schemas.loader import BatchSchema, Feed, load_schema
from tests.schemas.folders import COLUMNS, SMALL, write_line
from wafer_assets.domain.contract import (
    BY_CHANCE,
    WARNINGS,
    Accepted,
    Reason,
    Refused,
    check_object,
    validate,
)
from wafer_assets.domain.simulation import simulate_batches

NAME = "wafer_28012020_051011.csv"
GOOD = "Wafer,Sensor-1,Sensor-2,Output\nWafer-1,1.5,2,-1\nWafer-2,3.5,4,1\n"
CONTEXT_COLUMNS = {
    "Lot": "varchar",
    "Wafer": "varchar",
    "Slot": "Integer",
    "Sensor-1": "float",
    "Sensor-2": "float",
    "Etched": "varchar",
}
CONTEXT = {"Lot": {}, "Slot": {"type": "number"}, "Etched": {"type": "time"}}
WITH_CONTEXT = (
    "Lot,Wafer,Slot,Sensor-1,Sensor-2,Etched,Output\n"
    "LOT#A 1,W1,3,1.5,2,2020-01-28T05:10:11,-1\n"
    ",W2,,,4,2020-01-28 06:10:11+01:00,1\n"
)
QUOTED = pytest.mark.parametrize("quoted", [False, True], ids=["plain", "quoted"])


def schema(feed: Feed = "training", columns: dict[str, str] = COLUMNS, **changes: Any) -> BatchSchema:
    with TemporaryDirectory() as folder:
        return BatchSchema.of(read_line(write_line(Path(folder), SMALL | {"sensors": {}} | changes, columns)), feed)


def judged(text: str, line: BatchSchema, quoted: bool = False) -> Accepted | Refused:
    """Judge a file; quoted ones go through the careful reader."""
    if quoted:
        text = "".join(",".join(f'"{cell}"' for cell in row.split(",")) + "\n" for row in text.split("\n")[:-1])
    return validate(NAME, text.encode(), line)


def accepted(text: str, line: BatchSchema, quoted: bool = False) -> Accepted:
    result = judged(text, line, quoted)
    assert isinstance(result, Accepted), result
    return result


def refused(text: str, line: BatchSchema, quoted: bool = False) -> tuple[Reason, ...]:
    result = judged(text, line, quoted)
    assert isinstance(result, Refused)
    return result.reasons


def places(reasons: Sequence[Reason]) -> list[tuple[str, int | None, str | None]]:
    return [(reason.code, reason.row, reason.column) for reason in reasons]


def wafers(count: int, reading: str = "1") -> str:
    rows = (f"Wafer-{number},{reading if number == 1 else ''},1,1\n" for number in range(1, count + 1))
    return "Wafer,Sensor-1,Sensor-2,Output\n" + "".join(rows)


def test_name_is_that_of_the_line() -> None:
    line = schema().model_copy(update={"file_names": load_schema("training").file_names})
    etch = schema().model_copy(update={"file_names": type(line.file_names)("etch_{stamp}.csv", "%Y-%m-%dT%H%M")})

    assert check_object("Etch_2020-02-29T2359.csv", 10, etch) == ()
    (reason,) = check_object(NAME, 10, etch)
    assert reason.code == "file_name_invalid"
    assert reason.remedy == "Name it etch_<YYYY>-<MM>-<DD>T<HHMM>.csv, for example etch_2020-01-28T0510.csv."
    (reason,) = check_object("etch_2020-02-29T2359.csv", 10, line)
    assert reason.remedy == "Name it wafer_<DDMMYYYY>_<HHMMSS>.csv, for example wafer_28012020_051011.csv."


@QUOTED
def test_labels_are_those_of_the_line(quoted: bool) -> None:
    line = schema(labels={"passed": ["Pass", "0"], "faulty": ["Fail"]})
    text = GOOD.replace(",-1\n", ",Pass\n").replace(",1\n", ",Fail\n")

    assert accepted(text, line, quoted).frame["faulty"].tolist() == [0, 1]
    (reason,) = refused(text.replace("Fail", "fail"), line, quoted)
    assert (reason.code, reason.remedy) == (
        "label_unknown",
        "Label it Pass (passed) or Fail (faulty), or leave the wafer out.",
    )


@QUOTED
def test_ids_are_those_of_the_line(quoted: bool) -> None:
    line = schema(wafer_id={"pattern": r"LOT#[A-Z] [0-9]+/25|.+", "example": "LOT#A 1/25"})
    text = GOOD.replace("Wafer-1", "LOT#A 1/25")

    assert accepted(text, line, quoted).frame["wafer"].tolist() == ["LOT#A 1/25", "Wafer-2"]
    assert places(refused(text, schema(), quoted)) == [("wafer_id_unsafe", 2, "Wafer")]
    for unsafe in ("=1+1", "@a", "+1", "-1", " a", "a" * 65, "a\u2028b"):
        (reason,) = refused(GOOD.replace("Wafer-1", unsafe), line, quoted)
        assert (reason.code, reason.row) == ("wafer_id_unsafe", 2)
        assert "Write an id like LOT#A 1/25" in reason.remedy


@QUOTED
@pytest.mark.parametrize("code", ["NaN", "NULL", "#N/A", "None", "?", "9999", "-", "inf"])
def test_declared_codes_mean_that_nothing_was_measured(code: str, quoted: bool) -> None:
    frame = accepted(GOOD.replace("1.5", code), schema(missing=["NaN", code]), quoted).frame

    assert frame["Sensor-1"].isna().tolist() == [True, False]
    if code != "9999":
        assert refused(GOOD.replace("1.5", code), schema(), quoted)[0].code.startswith("reading_")


@QUOTED
@pytest.mark.parametrize("cell", ["9999", "9999.0", "+9.999e3", " 9999"])
def test_numbers_that_mean_missing_are_compared_by_value(cell: str, quoted: bool) -> None:
    line = schema(missing=["9999"], sensors={"Sensor-1": {"valid": [0, 10]}})

    assert accepted(GOOD.replace("1.5", cell), line, quoted).frame["Sensor-1"].isna().tolist() == [True, False]
    both = GOOD.replace("1.5", cell).replace("3.5", cell)
    assert places(refused(both, line, quoted)) == [("column_empty", None, "Sensor-1")]


@QUOTED
def test_other_spellings_of_missing_are_refused_still(quoted: bool) -> None:
    line = schema(missing=["NaN"])

    assert places(refused(GOOD.replace("1.5", "nan"), line, quoted)) == [("reading_missing_code", 2, "Sensor-1")]


@QUOTED
def test_reading_outside_its_valid_range_is_refused_with_its_place(quoted: bool) -> None:
    line = schema(sensors={"Sensor-1": {"valid": [1.5, 3.5]}, "Sensor-2": {"valid": ["-inf", 3.5]}})

    assert places(refused(GOOD, line, quoted)) == [("reading_invalid", 3, "Sensor-2")]
    assert refused(GOOD, line, quoted)[0].found == "4.0, not within -inf to 3.5"
    good = GOOD.replace(",4,", ",,")
    assert accepted(good, line, quoted).warnings == ()
    assert places(refused(good.replace("3.5", "3.5000000001"), line, quoted)) == [("reading_invalid", 3, "Sensor-1")]


@QUOTED
@pytest.mark.parametrize("end", ["\n", "\n\n\n", "\r\n", "\r\n\r\n"])
def test_reading_outside_its_usual_range_is_a_warning_with_its_place(end: str, quoted: bool) -> None:
    line = schema(sensors={"default": {"usual": [2, 3]}})

    result = accepted(GOOD, line) if end == "\n" else judged(GOOD.replace("\n", end), line)

    assert isinstance(result, Accepted)
    step = end.count("\n")
    assert places(result.warnings) == [
        ("reading_unusual", 1 + step, "Sensor-1"),
        ("reading_unusual", 1 + 2 * step, "Sensor-2"),
    ]
    assert result.warnings[0].code in WARNINGS
    assert result.warnings[0].message == (
        f"line {1 + step}, column Sensor-1: the reading is outside its usual range: 1.5, not within 2 to 3; "
        f"also line {1 + 2 * step} 3.5, not within 2 to 3. Look at the sensor."
    )
    assert accepted(GOOD, line, quoted).warnings == accepted(GOOD, line).warnings


def test_warnings_are_one_a_sensor() -> None:
    line = schema(sensors={"Sensor-2": {"usual": [2, 3]}, "Sensor-1": {"optional": True}})

    (warning,) = accepted(wafers(30), line).warnings

    assert (warning.code, warning.column, warning.count) == ("reading_unusual", "Sensor-2", 30)


@QUOTED
@pytest.mark.parametrize(("share", "most"), [(0.5, 9), (0.1, 65), (0.9, 2), (1, 0)])
def test_empty_column_is_refused_where_it_is_no_chance(share: float, most: int, quoted: bool) -> None:
    line = schema(sensors={"Sensor-1": {"share": share}})

    assert most == 0 or (1 - share) ** most >= BY_CHANCE > (1 - share) ** (most + 1)
    if most:
        assert accepted(wafers(most, ""), line, quoted).frame["Sensor-1"].isna().all()
    (reason,) = refused(wafers(most + 1, ""), line, quoted)
    assert (reason.code, reason.column) == ("column_empty", "Sensor-1")
    assert f"expected on {share:.0%} of them or more" in reason.found
    assert accepted(wafers(most + 1), line, quoted)


@QUOTED
def test_optional_sensor_may_be_absent(quoted: bool) -> None:
    line = schema(sensors={"Sensor-1": {"optional": True}, "Sensor-2": {"optional": True}})
    text = "Sensor-2,Wafer,Output\n2,Wafer-1,-1\n4,Wafer-2,1\n"

    frame = accepted(text, line, quoted).frame

    assert list(frame) == ["wafer", "Sensor-1", "Sensor-2", "faulty"]
    assert frame["Sensor-1"].isna().all()
    assert frame["Sensor-1"].dtype == "float64"
    assert frame["Sensor-2"].tolist() == [2, 4]
    assert places(refused(text, schema(), quoted)) == [("column_missing", 1, "Sensor-1")]


def test_renamed_column_is_not_taken_for_an_absent_one() -> None:
    line = schema(sensors={"Sensor-1": {"optional": True}})

    assert places(refused(GOOD.replace("Sensor-1", "sensor_1"), line)) == [("column_renamed", 1, "Sensor-1")]
    assert places(refused(GOOD.replace("Sensor-1", "Pressure"), line)) == [("column_renamed", 1, "Sensor-1")]


def test_shipped_line_takes_files_of_before_its_late_sensors() -> None:
    (batch,) = simulate_batches(1, 20, feed="training", seed=0)
    line = load_schema("training")
    table = pd.read_csv(pd.io.common.BytesIO(batch.content), dtype=str)
    without = table.drop(columns=list(line.optional_columns)).to_csv(index=False).encode()

    whole, short = (validate(batch.name, content, line) for content in (batch.content, without))

    assert isinstance(whole, Accepted)
    assert isinstance(short, Accepted)
    pd.testing.assert_frame_equal(whole.frame, short.frame)


@QUOTED
def test_context_is_kept_apart_from_what_is_learned_from(quoted: bool) -> None:
    result = accepted(WITH_CONTEXT, schema(columns=CONTEXT_COLUMNS, context=CONTEXT), quoted)

    assert list(result.frame) == ["wafer", "Sensor-1", "Sensor-2", "faulty"]
    assert result.context["Lot"].tolist() == ["LOT#A 1", None]
    assert result.context["Slot"].tolist()[0] == 3
    assert np.isnan(result.context["Slot"].tolist()[1])
    assert result.context["Etched"].tolist() == [datetime(2020, 1, 28, 5, 10, 11)] * 2
    assert list(result.context) == ["Lot", "Slot", "Etched"]


def test_line_without_context_has_a_row_per_wafer_of_nothing() -> None:
    assert accepted(GOOD, schema()).context.shape == (2, 0)


@QUOTED
@pytest.mark.parametrize(
    ("cell", "wrong", "column"),
    [("3", "three", "Slot"), ("3", "1e999", "Slot"), ("2020-01-28T05:10:11", "28.01.2020", "Etched"),
     ("LOT#A 1", "a" * 201, "Lot"), ("LOT#A 1", "a\x07", "Lot")],
)  # fmt: skip
def test_context_that_cannot_be_read_is_refused_with_its_place(
    cell: str, wrong: str, column: str, quoted: bool
) -> None:
    line = schema(columns=CONTEXT_COLUMNS, context=CONTEXT)

    assert places(refused(WITH_CONTEXT.replace(cell, wrong, 1), line, quoted)) == [("context_invalid", 2, column)]


@QUOTED
def test_context_that_orders_the_wafers_is_in_the_frame_and_never_missing(quoted: bool) -> None:
    timed = schema(columns=CONTEXT_COLUMNS, context=CONTEXT, order="column:Etched")
    numbered = schema(columns=CONTEXT_COLUMNS, context=CONTEXT, order="column:Slot")

    frame = accepted(WITH_CONTEXT, timed, quoted).frame
    assert list(frame) == ["wafer", "order", "Sensor-1", "Sensor-2", "faulty"]
    assert frame["order"].tolist() == [pd.Timestamp("2020-01-28 05:10:11").timestamp()] * 2
    (reason,) = refused(WITH_CONTEXT, numbered, quoted)
    assert (reason.code, reason.row, reason.column) == ("context_invalid", 3, "Slot")
    assert "ordered by it" in reason.remedy
    assert accepted(WITH_CONTEXT.replace("W2,", "W2,4"), numbered, quoted).frame["order"].tolist() == [3, 4]


@QUOTED
@pytest.mark.parametrize(
    ("size", "found"),
    [({"min": 3}, "2 wafers, at least 3 agreed"), ({"max": 1}, "2 wafers, at most 1 agreed")],
)
def test_batch_of_another_size_than_agreed_is_refused(size: dict[str, int], found: str, quoted: bool) -> None:
    (reason,) = refused(GOOD, schema(files=SMALL["files"] | {"wafers": size}), quoted)

    assert (reason.code, reason.row, reason.found) == ("batch_size", None, found)
    assert accepted(GOOD, schema(files=SMALL["files"] | {"wafers": {"min": 2, "max": 2}}), quoted)


CELLS = st.sampled_from(
    ["", " ", "1.5", "9999", "9999.0", "-1e9", "NaN", "nan", "inf", "x", "2020-01-28", "2020-01-28T05", "3", "\u2028"]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=5, max_size=5), min_size=1, max_size=4),
    st.sampled_from(["batch_stamp", "column:Slot", "column:Etched"]),
)
def test_quotes_change_nothing(rows: list[list[str]], order: str) -> None:
    line = RICH.model_copy(update={"order": order})
    lines = [
        f"{lot},W{number},{slot},{first},{second},{etched},1"
        for number, (lot, slot, first, second, etched) in enumerate(rows)
    ]
    text = "\n".join([WITH_CONTEXT.split("\n", 1)[0], *lines]) + "\n"
    plain, quoted = (judged(text, line, quoted) for quoted in (False, True))

    assert isinstance(plain, Accepted) == isinstance(quoted, Accepted)
    if isinstance(plain, Accepted) and isinstance(quoted, Accepted):
        pd.testing.assert_frame_equal(plain.frame, quoted.frame, check_exact=True)
        pd.testing.assert_frame_equal(plain.context, quoted.context, check_exact=True)
        assert plain.warnings == quoted.warnings
    else:
        assert plain == quoted


RICH = schema(
    columns=CONTEXT_COLUMNS,
    context=CONTEXT,
    missing=["9999", "NaN"],
    sensors={"Sensor-1": {"valid": [0, 100], "usual": [2, 4], "share": 0.5}, "Sensor-2": {"optional": True}},
    files=SMALL["files"] | {"wafers": {"min": 1, "max": 3}},
)

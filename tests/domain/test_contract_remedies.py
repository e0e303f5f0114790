"""Whoever does what a reason says has a file that keeps the contract, with the values that it should have."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from schemas.loader import load_schema
from wafer_assets.domain.contract import Accepted, Reason, Refused, validate
from wafer_assets.domain.simulation import simulate_batches

SCHEMA = load_schema("training")
(BATCH,) = simulate_batches(1, 6, feed="training", schema=SCHEMA, seed=3)
TABLE = list(csv.reader(io.StringIO(BATCH.content.decode())))
REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "secom" / "training_batches"
Table = list[list[str]]


def text(table: Table) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(table)
    return file.getvalue().encode()


def with_index(table: Table) -> Table:
    return [["", *table[0]], *([str(number), *row] for number, row in enumerate(table[1:]))]


def with_named_index(table: Table) -> Table:
    return [["", "Wafer", *table[0][1:]], *([str(number), *row] for number, row in enumerate(table[1:]))]


def with_read_index(table: Table) -> Table:
    return [["Unnamed: 0", "Unnamed: 1", *table[0][1:]], *([str(n), *row] for n, row in enumerate(table[1:]))]


def with_column(name: str, place: int, cell: str) -> Callable[[Table], Table]:
    return lambda table: [[*row[:place], cell if number else name, *row[place:]] for number, row in enumerate(table)]


def renamed(change: Callable[[str], str]) -> Callable[[Table], Table]:
    return lambda table: [[*map(change, table[0])], *table[1:]]


DAMAGES: dict[str, Callable[[Table], Table]] = {
    "index": with_index,
    "index beside named ids": with_named_index,
    "index that was read once": with_read_index,
    "date first": with_column("Date", 0, "2021-04-28 03:19:11"),
    "date second": with_column("Timestamp", 1, "2021-04-28 03:19:11"),
    "lot first": with_column("Lot", 0, "A7"),
    "lot last": with_column("Lot", 592, "A7"),
    "lower case": renamed(str.lower),
    "underscores": renamed(lambda name: name.replace("-", "_")),
    "one name": renamed(lambda name: "sensor 7" if name == "Sensor-7" else name),
    "label renamed": renamed(lambda name: "Pass/Fail" if name == "Good/Bad" else name),
    "wafer renamed": renamed(lambda name: name or "Wafer_ID"),
    "units": lambda table: [table[0], ["", *["mV"] * 590, ""], *table[1:]],
    "limits": lambda table: [table[0], ["LSL", *["0"] * 590, ""], ["USL", *["9"] * 590, ""], *table[1:]],
    "preamble": lambda table: [["Lot: A7"], ["Tester: T7"], *table],
    "hint": lambda table: [["sep=,"], *table],
    "trailing": lambda table: [[*row, ""] for row in table],
    "trailing rows": lambda table: [table[0], *([*row, ""] for row in table[1:])],
    "footer": lambda table: [*table, ["Total wafers: 6"]],
    "header again": lambda table: [*table[:3], table[0], *table[3:]],
    "code": lambda table: [[cell or ("NaN" if number else "") for cell in row] for number, row in enumerate(table)],
}


def place_of(column: str, header: list[str]) -> int:
    if match := re.fullmatch("in place ([0-9]+)", column):
        return int(match[1]) - 1
    return header.index(column)


def without_column(table: Table, place: int) -> Table:
    return [row[:place] + row[place + 1 :] for row in table]


def follow(table: Table, reason: Reason) -> Table:
    """Do what a remedy says, to the letter."""
    remedy = reason.remedy
    if remedy.startswith("Export the table without its index. Remove the first column"):
        return without_column(table, 0)
    if match := re.match("Remove the column (.+), or agree on it", remedy):
        return without_column(table, place_of(match[1], table[0]))
    if match := re.match(r"Rename it to ([^ ,.]+)", remedy):
        found = reason.found[1:-1]
        return [[match[1] if cell == found else cell for cell in table[0]], *table[1:]]
    if remedy == "Restore the names of the contract.":
        return [["", *(name for name in SCHEMA.columns if name.startswith("Sensor")), "Good/Bad"], *table[1:]]
    if remedy.startswith(("Remove the row", "Send the files one by one, or remove this line")):
        assert reason.row is not None
        rows = {reason.row, *(int(line) for line in re.findall(r"line ([0-9]+)", reason.found))}
        return [row for number, row in enumerate(table, 1) if number not in rows]
    if match := re.match("The header must be on line 1. Remove lines? 1(?: to ([0-9]+))?", remedy):
        return table[int(match[1] or 1) :]
    if remedy.startswith("Remove the separator at the end"):
        return [row[:592] for row in table]
    if remedy.startswith("Leave the cell empty"):
        return [[("" if cell == "NaN" else cell) for cell in row] for row in table]
    raise AssertionError(remedy)


@pytest.mark.parametrize("damage", DAMAGES)
def test_following_the_remedy_gives_back_what_was_sent(damage: str) -> None:
    table = DAMAGES[damage](TABLE)
    result = validate(BATCH.name, text(table), SCHEMA)
    assert isinstance(result, Refused)
    (reason,) = result.reasons

    mended = validate(BATCH.name, text(follow(table, reason)), SCHEMA)

    original = validate(BATCH.name, BATCH.content, SCHEMA)
    assert isinstance(original, Accepted)
    assert isinstance(mended, Accepted), mended
    pd.testing.assert_frame_equal(mended.frame, original.frame)
    assert mended.warnings == ()


def test_times_in_the_place_of_the_ids_are_never_to_be_renamed() -> None:
    table = [["Time", *TABLE[0][1:]], *(["2021-04-28 03:19:11", *row[1:]] for row in TABLE[1:])]
    result = validate(BATCH.name, text(table), SCHEMA)

    assert isinstance(result, Refused)
    assert {reason.code for reason in result.reasons} == {"column_missing", "column_unexpected"}
    assert not any("Rename" in reason.remedy for reason in result.reasons)


def read_otherwise(content: bytes) -> pd.DataFrame:
    """Read a file as anybody would, with none of our code."""
    frame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    wafers, labels = frame.iloc[:, 0], frame.iloc[:, -1]
    readings = [[float(cell) if cell else np.nan for cell in row] for row in frame.iloc[:, 1:-1].to_numpy()]
    table = pd.DataFrame(readings, columns=list(frame.columns[1:-1]))
    table.insert(0, "wafer", wafers)
    table["faulty"] = (labels.str.strip().astype(float) == 1).astype(np.int8)
    return table


@pytest.mark.skipif(not REAL.is_dir(), reason="there is no folder ../shared/data beside the project")
def test_lots_and_single_wafers_of_real_files_are_accepted_as_they_are() -> None:
    lots = singles = 0
    for file in sorted(REAL.iterdir()):
        header, *rows = file.read_bytes().splitlines()
        if not header.endswith(b",Good/Bad"):  # to be predicted, and in the wrong folder
            continue
        assert isinstance(validate(file.name, file.read_bytes(), SCHEMA), Accepted)
        for start in range(0, len(rows) - 24, 25):
            content = b"\n".join([header, *rows[start : start + 25]]) + b"\n"
            result = validate(file.name, content, SCHEMA)
            assert isinstance(result, Accepted), (file.name, start, result)
            assert result.warnings == ()
            lots += 1
            if start == 0:
                pd.testing.assert_frame_equal(result.frame, read_otherwise(content), check_exact=True)
        for row in rows[::10]:
            assert isinstance(validate(file.name, b"\n".join([header, row]) + b"\n", SCHEMA), Accepted), file.name
            singles += 1
    assert (lots, singles) == (61, 154)


@pytest.mark.parametrize("sensor", ["Sensor-1", "Sensor-30", "Sensor-589", "Sensor-90"])
@pytest.mark.parametrize("wafers", [3, 12, 25, 100])
def test_dead_sensor_is_refused_in_a_lot(sensor: str, wafers: int) -> None:
    (batch,) = simulate_batches(1, wafers, feed="training", schema=SCHEMA, seed=5, first_wafer=801)
    table = list(csv.reader(io.StringIO(batch.content.decode())))
    place = list(SCHEMA.columns).index(sensor)
    dead = [table[0], *([*row[:place], "", *row[place + 1 :]] for row in table[1:])]

    result = validate(batch.name, text(dead), SCHEMA)

    assert isinstance(result, Refused)
    assert any(reason.code == "column_empty" and sensor in reason.found for reason in result.reasons)

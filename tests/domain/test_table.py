"""Accepted batches become one table in time order; the later file wins, and arrival order does not matter."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.names import FileNames
from wafer_assets.domain.table import (
    EmptyTableError,
    Overlap,
    frame_hash,
    natural_key,
    sensor_readings,
    wafer_table,
)

FIRST = "wafer_01012020_000000.csv"
SECOND = "wafer_02012020_000000.csv"
# Later in time than SECOND, although earlier in the alphabet.
THIRD = "wafer_01022020_000000.csv"


def frame(readings: dict[str, float], *, labelled: bool = True) -> pd.DataFrame:
    batch = pd.DataFrame({"wafer": list(readings), "Sensor-1": list(readings.values()), "Sensor-2": np.nan})
    if labelled:
        batch["faulty"] = (batch["Sensor-1"] > 5).astype("int8")
    return batch


def test_wafers_come_in_the_order_of_their_numbers() -> None:
    ids = ["lot-b", "Wafer-10", "Wafer-9", "Wafer-1000", "wafer-11", "Wafer-" + "9" * 5_000, "lot-a"]

    assert sorted(ids, key=natural_key) == [
        "lot-a", "lot-b", "Wafer-9", "Wafer-10", "wafer-11", "Wafer-1000", "Wafer-" + "9" * 5_000,
    ]  # fmt: skip


@given(ids=st.lists(st.text(alphabet="aB-.٣²019 ", max_size=8)), data=st.data())
def test_any_ids_have_one_order(ids: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(ids))

    assert sorted(shuffled, key=natural_key) == sorted(ids, key=natural_key)


@settings(deadline=None)
@given(
    batches=st.dictionaries(
        st.sampled_from([FIRST, SECOND, THIRD, "wafer_01012020_000001.csv"]),
        st.dictionaries(st.sampled_from([f"Wafer-{n}" for n in range(12)]), st.floats(0, 9), min_size=1),
        min_size=1,
    ),
    data=st.data(),
)
def test_batches_that_are_added_to_a_table_give_the_table_of_all(
    batches: dict[str, dict[str, float]], data: st.DataObject
) -> None:
    frames = [(batch, frame(readings)) for batch, readings in batches.items()]
    before = data.draw(st.integers(1, len(frames)))
    whole, superseded = wafer_table(frames)

    base, lost_before = wafer_table(frames[:before])
    grown, lost = wafer_table(frames[before:], base)

    pd.testing.assert_frame_equal(grown, whole, check_exact=True)
    assert frame_hash(grown) == frame_hash(whole)
    assert lost_before + lost == superseded


def test_table_holds_each_wafer_once_in_time_order() -> None:
    batches = [(SECOND, frame({"Wafer-10": 1.0, "Wafer-3": 9.0})), (FIRST, frame({"Wafer-2": 2.0}))]

    table, superseded = wafer_table(batches)

    expected = pd.DataFrame(
        {
            "wafer": ["Wafer-2", "Wafer-3", "Wafer-10"],
            "batch": [FIRST, SECOND, SECOND],
            "Sensor-1": [2.0, 9.0, 1.0],
            "Sensor-2": np.nan,
            "faulty": np.array([0, 1, 0], dtype=np.int8),
        }
    )
    pd.testing.assert_frame_equal(table, expected)
    assert superseded == 0


def test_latest_file_wins_whatever_the_order_of_arrival() -> None:
    batches = [
        (FIRST, frame({"Wafer-1": 1.0, "Wafer-2": 1.0})),
        (SECOND, frame({"Wafer-2": 2.0, "Wafer-3": 2.0})),
        (THIRD, frame({"Wafer-1": 9.0, "Wafer-2": 9.0, "Wafer-4": 9.0})),
    ]
    results = [wafer_table(arrival) for arrival in itertools.permutations(batches)]

    table, _ = results[0]
    assert table["Sensor-1"].tolist() == [9.0, 9.0, 2.0, 9.0]
    assert table["batch"].tolist() == [THIRD, THIRD, SECOND, THIRD]
    assert table["faulty"].tolist() == [1, 1, 0, 1]
    assert {superseded for _, superseded in results} == {3}
    assert len({frame_hash(table) for table, _ in results}) == 1


def test_the_same_batch_twice_counts_its_wafers_as_superseded() -> None:
    batch = (FIRST, frame({"Wafer-1": 1.0, "Wafer-2": 2.0}))

    once, _ = wafer_table([batch])
    twice, superseded = wafer_table([batch, batch])

    pd.testing.assert_frame_equal(once, twice)
    assert superseded == 2


def test_unlabelled_batches_give_an_unlabelled_table() -> None:
    table, _ = wafer_table([(FIRST, frame({"Wafer-1": 1.0}, labelled=False))])

    assert list(table) == ["wafer", "batch", "Sensor-1", "Sensor-2"]


def test_no_batch_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EmptyTableError, match="Ingest") as error:
        wafer_table([])
    assert error.value.code == "no_accepted_batches"


def test_batches_with_other_columns_are_an_error() -> None:
    with pytest.raises(ValueError, match=SECOND):
        wafer_table(
            [
                (FIRST, frame({"Wafer-1": 1.0})),
                (SECOND, frame({"Wafer-2": 1.0}).rename(columns={"Sensor-2": "x"})),
            ]
        )


batches_of_wafers = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8, unique=True), min_size=1, max_size=6)


@settings(deadline=None)
@given(wafers=batches_of_wafers, data=st.data())
def test_table_and_hash_do_not_depend_on_arrival(wafers: list[list[int]], data: st.DataObject) -> None:
    batches = [
        (
            f"wafer_{day + 1:02}012020_000000.csv",
            frame({f"Wafer-{wafer}": day + wafer / 100 for wafer in ids}),
        )
        for day, ids in enumerate(wafers)
    ]
    table, superseded = wafer_table(batches)
    shuffled, also_superseded = wafer_table(data.draw(st.permutations(batches)))

    pd.testing.assert_frame_equal(table, shuffled)
    assert frame_hash(table) == frame_hash(shuffled)
    assert superseded == also_superseded == sum(map(len, wafers)) - len(table)
    latest = {wafer: day for day, ids in enumerate(wafers) for wafer in ids}
    assert table["Sensor-1"].tolist() == [latest[wafer] + wafer / 100 for wafer in sorted(latest)]


def test_hash_is_of_the_content_only() -> None:
    table, _ = wafer_table([(FIRST, frame({"Wafer-1": 1.0, "Wafer-2": 2.0}))])
    negative_nan = table.assign(**{"Sensor-2": np.copysign(np.nan, -1)})
    held_otherwise = pd.concat([table[[column]] for column in table], axis=1)

    assert frame_hash(table) == frame_hash(negative_nan) == frame_hash(held_otherwise)


@pytest.mark.parametrize(
    "change",
    [
        {"Sensor-1": np.array([1.0, np.nextafter(2.0, 3.0)])},
        {"Sensor-2": np.array([0.0, np.nan])},
        {"wafer": np.array(["Wafer-1", "Wafer-3"], dtype=object)},
        {"batch": np.array([FIRST, SECOND], dtype=object)},
        {"faulty": np.array([0, 1], dtype=np.int8)},
    ],
)
def test_hash_notices_every_change(change: dict[str, np.ndarray]) -> None:
    table, _ = wafer_table([(FIRST, frame({"Wafer-1": 1.0, "Wafer-2": 2.0}))])

    assert frame_hash(table.assign(**change)) != frame_hash(table)
    assert frame_hash(table.rename(columns={"Sensor-2": "Sensor-3"})) != frame_hash(table)


def of_lot(lot: str, readings: list[float], orders: list[float] | None = None) -> pd.DataFrame:
    batch = frame({f"{lot}-{number}": reading for number, reading in enumerate(readings, 1)})
    if orders is not None:
        batch.insert(1, "order", orders)
    return batch


def test_lots_that_are_out_of_alphabet_come_in_the_order_of_their_batches() -> None:
    frames = [(SECOND, of_lot("LOTM", [3, 4])), (THIRD, of_lot("LOTA", [5])), (FIRST, of_lot("LOTZ", [1, 2]))]

    table, _ = wafer_table(frames, order="batch_stamp")
    by_id, _ = wafer_table(frames)

    assert table["wafer"].tolist() == ["LOTZ-1", "LOTZ-2", "LOTM-1", "LOTM-2", "LOTA-1"]
    assert table["Sensor-1"].tolist() == [1, 2, 3, 4, 5]
    assert by_id["wafer"].tolist() == ["LOTA-1", "LOTM-1", "LOTM-2", "LOTZ-1", "LOTZ-2"]


def test_batches_of_other_names_are_ordered_by_their_own_stamps() -> None:
    names = FileNames("{stamp}.csv", "%y%m%d-%H%M")
    frames = [("200201-0000.csv", of_lot("LOTA", [2])), ("190301-0000.csv", of_lot("LOTZ", [1]))]

    table, _ = wafer_table(frames, order="batch_stamp", time_of=names.time_of)

    assert table["wafer"].tolist() == ["LOTZ-1", "LOTA-1"]


def test_wafers_are_ordered_by_a_sensor_and_those_without_a_reading_are_last() -> None:
    table, _ = wafer_table([(FIRST, of_lot("LOT", [3, np.nan, 1, 2, np.nan]))], order="column:Sensor-1")

    assert table["wafer"].tolist() == ["LOT-3", "LOT-4", "LOT-1", "LOT-2", "LOT-5"]


@pytest.mark.parametrize("added", [0, 1, 2])
def test_wafers_are_ordered_by_what_is_no_sensor(added: int) -> None:
    frames = [
        (FIRST, of_lot("LOTA", [1, 2], [50.0, 40.0])),
        (SECOND, of_lot("LOTB", [3, 4], [45.0, 45.0])),
        (THIRD, of_lot("LOTA", [7], [10.0])),
    ]
    before = frames[: len(frames) - added]

    table, _ = wafer_table(before, order="column:Etched")
    if added:
        table, _ = wafer_table(frames[len(before) :], table, order="column:Etched")

    assert table["wafer"].tolist() == ["LOTA-1", "LOTA-2", "LOTB-1", "LOTB-2"]
    assert table["order"].tolist() == [10, 40, 45, 45]
    assert table["Sensor-1"].tolist() == [7, 2, 3, 4]
    assert list(sensor_readings(table)) == ["Sensor-1", "Sensor-2"]
    assert frame_hash(table) != frame_hash(table.assign(order=table["order"] + 1))


def test_frames_without_the_column_of_the_order_are_refused() -> None:
    with pytest.raises(ValueError, match="no column Etched"):
        wafer_table([(FIRST, of_lot("LOTA", [1]))], order="column:Etched")


def test_hash_stays_the_same_from_release_to_release() -> None:
    table, _ = wafer_table([(FIRST, frame({"Wafer-1": 1.0, "Wafer-2": 9.0}))])

    assert frame_hash(table) == "8ccd270e0f5dfb8163f9b8ae62b796c4e2928b66cbf0b46185122afd5a63295e"


def test_sensor_readings_are_the_sensors_of_frame_and_table() -> None:
    batch = frame({"Wafer-1": 1.0, "Wafer-2": 9.0})
    table, _ = wafer_table([(FIRST, batch)])

    assert list(sensor_readings(batch)) == list(sensor_readings(table)) == ["Sensor-1", "Sensor-2"]


def test_batch_frames_have_a_hash_too() -> None:
    batch = frame({"Wafer-1": 1.0, "Wafer-2": 9.0})

    assert frame_hash(batch) == frame_hash(batch.copy())
    assert frame_hash(batch) != frame_hash(batch[::-1])
    assert frame_hash(batch) != frame_hash(frame({"Wafer-1": 1.0, "Wafer-2": 9.0}, labelled=False))


def test_overlaps_tell_what_each_batch_superseded_and_relabelled() -> None:
    first = pd.DataFrame({"wafer": ["0", "1", "2"], "Sensor-1": [1.0, 2.0, 3.0], "faulty": np.int8([0, 0, 1])})
    second = first.assign(faulty=np.int8([0, 1, 1]))
    early, late = "wafer_02012021_080000.csv", "wafer_03012021_080000.csv"
    for order in ([(early, first), (late, second)], [(late, second), (early, first)]):
        overlaps: dict[str, Overlap] = {}
        table, superseded = wafer_table(order, overlaps=overlaps)
        assert (len(table), superseded, overlaps) == (3, 3, {late: Overlap(3, 1)})

    base, _ = wafer_table([(early, first)], overlaps=overlaps)
    wafer_table([(late, second)], base, overlaps=overlaps)
    assert overlaps == {late: Overlap(6, 2)}

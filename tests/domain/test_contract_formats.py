"""The same wafers in every format that a line may declare give the same frame, and damage gets its one reason."""

import gzip
import io
import json
import math
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.lines import read_line
from schemas.loader import BatchSchema
from tests.schemas.folders import COLUMNS, SMALL, write_line
from wafer_assets.domain.contract import Accepted, Reason, Refused, validate
from wafer_assets.domain.contract.parquet_pages import expanded_size

FORMATS = ("csv", "csv.gz", "json", "jsonl", "parquet")
RECORDS: list[dict[str, Any]] = [
    {"Wafer": "Wafer-1", "Sensor-1": 1.5, "Sensor-2": 2, "Output": -1},
    {"Wafer": "Wafer-2", "Sensor-1": None, "Sensor-2": 2.25e-7, "Output": 1},
]
STAMP = "wafer_28012020_051011"


def line(name: str, **files: Any) -> BatchSchema:
    """Return the contract of a small line whose files have a format."""
    declared = SMALL | {
        "sensors": {},
        "files": SMALL["files"] | {"format": name, "name": f"wafer_{{stamp}}.{name}"} | files,
    }
    sample = {"name": f"wafer_08012020_120000.{name}", "lengths": (8, 6)}
    with TemporaryDirectory() as folder:
        return BatchSchema.of(read_line(write_line(Path(folder), declared, COLUMNS, sample)), "training")


LINES = {name: line(name) for name in FORMATS}


def written(name: str, records: list[dict[str, Any]] = RECORDS, **options: Any) -> bytes:
    frame = pd.DataFrame(records)
    if name.startswith("csv"):
        text = frame.to_csv(index=False, **options).encode()
        return gzip.compress(text, mtime=0) if name == "csv.gz" else text
    if name == "json":
        return json.dumps(records).encode()
    if name == "jsonl":
        return "".join(json.dumps(record) + "\n" for record in records).encode()
    file = io.BytesIO()
    frame.to_parquet(file, **options)
    return file.getvalue()


def judged(name: str, content: bytes, schema: BatchSchema | None = None) -> Accepted | Refused:
    return validate(f"{STAMP}.{name}", content, schema or LINES[name])


def frame_of(result: Accepted | Refused) -> pd.DataFrame:
    assert isinstance(result, Accepted), result
    return result.frame


def refused(name: str, content: bytes, schema: BatchSchema | None = None) -> Reason:
    result = judged(name, content, schema)
    assert isinstance(result, Refused), result
    (reason,) = result.reasons
    return reason


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_frame(name: str) -> None:
    frame = frame_of(judged(name, written(name)))

    assert frame["Sensor-2"].tolist() == [2.0, 2.25e-7]
    assert frame["faulty"].tolist() == [0, 1]
    pd.testing.assert_frame_equal(frame, frame_of(judged("csv", written("csv"))))


@pytest.mark.parametrize("quoting", [0, 1])
def test_declared_delimiter_and_decimal_mark_are_read(quoting: int) -> None:
    german = line("csv", delimiter=";", decimal=",")
    content = written("csv", sep=";", decimal=",", quoting=quoting)

    pd.testing.assert_frame_equal(frame_of(judged("csv", content, german)), frame_of(judged("csv", written("csv"))))
    reason = refused("csv", written("csv"), german)
    assert reason.code == "csv_delimiter"
    assert "commas separate the fields, not semicolons, and a point is the decimal sign, not a comma" in reason.found
    assert refused("csv", content.replace(b"1,5", b"1.5"), german).found == "'1.5', the decimal sign is a point"


@pytest.mark.parametrize(("name", "other"), permutations(FORMATS, 2))
def test_another_format_under_the_name_is_one_reason_that_names_both(name: str, other: str) -> None:
    reason = refused(name, written(other))

    assert reason.code == "format_other"
    said = {"csv": "probably CSV", "csv.gz": "gzip", "json": "JSON", "jsonl": "JSON lines", "parquet": "Parquet"}
    wanted = {
        "csv": "CSV",
        "csv.gz": "CSV in a gzip archive",
        "json": "JSON",
        "jsonl": "JSON lines",
        "parquet": "Parquet",
    }
    assert said[other] in reason.found
    assert f"the contract says {wanted[name]}" in reason.found


@pytest.mark.parametrize(
    ("name", "place"),
    [("csv", "line 3, column Sensor-2: "), ("json", "wafer 2, key Sensor-2: "), ("jsonl", "wafer 2, key Sensor-2: ")],
)
def test_addresses_fit_the_format(name: str, place: str) -> None:
    bad = [RECORDS[0], RECORDS[1] | {"Sensor-2": "#DIV/0!"}]
    assert refused(name, written(name, bad)).message.startswith(place)


def test_rows_of_a_table_are_numbered() -> None:
    reason = refused("parquet", written("parquet", [RECORDS[0], RECORDS[1] | {"Sensor-2": math.inf}]))

    assert (reason.code, reason.row, reason.column) == ("reading_not_finite", 2, "Sensor-2")
    assert reason.message.startswith("row 2, column Sensor-2: ")


def test_numbers_of_json_are_read_exactly_once() -> None:
    text = written("json").replace(b"2.25e-07", b"0.1000000000000000055511151231257827")

    assert frame_of(judged("json", text))["Sensor-2"].tolist() == [2.0, 0.1]
    assert refused("json", text.replace(b"0.1000000000000000055511151231257827", b"1e999")).code == "reading_not_finite"
    assert refused("json", text.replace(b"0.1000000000000000055511151231257827", b"NaN")).code == "reading_missing_code"


def test_key_that_a_wafer_lacks_is_not_measured() -> None:
    short = [RECORDS[0], {"Wafer": "Wafer-2", "Sensor-2": 1, "Output": 1}]

    assert frame_of(judged("jsonl", written("jsonl", short)))["Sensor-1"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "content", "code", "row"),
    [
        ("json", written("json")[:-30], "file_cut_off", 2),
        ("json", b"[]", "csv_no_rows", None),
        ("json", b'{"data": []}', "file_malformed", None),
        ("json", b"[" * 100_000, "file_malformed", 1),
        ("json", written("json").replace(b'"Sensor-1": 1.5', b'"Sensor-1": 1.5, "Sensor-1": 2'), "column_repeated", 1),
        ("jsonl", written("jsonl").replace(b"}\n", b"} x\n", 1), "file_malformed", 1),
        ("jsonl", written("jsonl") + b"3\n", "row_not_a_wafer", 3),
        ("csv.gz", written("csv.gz")[:-12], "file_cut_off", None),
        ("csv.gz", written("csv.gz")[:-8] + bytes(8), "file_malformed", None),
        ("parquet", written("parquet")[:-9], "file_malformed", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_damaged_files_get_one_reason(name: str, content: bytes, code: str, row: int | None) -> None:
    reason = refused(name, content)

    assert (reason.code, reason.row) == (code, row)


def bomb(kind: str) -> bytes:
    """Return a file that says less than it expands to."""
    if kind == "csv.gz":
        return gzip.compress(bytes(20_000_000), compresslevel=1)
    file = io.BytesIO()
    if kind == "parquet":
        pq.write_table(pa.table({"Wafer": ["W"] * 300_000}), file)
    else:
        pq.write_table(pa.table({"Wafer": ["a" * 10_000_000]}), file, compression="zstd")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["csv.gz", "parquet", "parquet of one text"])
def test_what_expands_beyond_the_limit_is_refused_unpacked(kind: str) -> None:
    content = bomb(kind)
    before = pa.total_allocated_bytes()

    reason = refused(kind.partition(" ")[0], content)

    assert len(content) < 1_000_000
    assert reason.code == "file_too_large"
    assert "expands to" in reason.found
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_pages_are_believed_more_than_the_footer() -> None:
    content = bomb("parquet of one text")
    about = pq.read_metadata(pa.BufferReader(content))

    class Liar:
        """A footer that says that its pages are small."""

        num_row_groups = num_columns = 1

        def row_group(self, _: int) -> "Liar":
            return self

        def column(self, _: int) -> "Liar":
            return self

        def __getattr__(self, name: str) -> object:
            return 1 if name == "total_uncompressed_size" else getattr(about.row_group(0).column(0), name)

    assert expanded_size(content, Liar()) > 10_000_000


def test_one_text_for_a_million_rows_stays_one_text() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000), pa.array(["a" * 500_000]))
    table = pa.table({"Wafer": texts, "Sensor-1": [1.0] * 20_000})
    file = io.BytesIO()
    pq.write_table(table, file)

    assert isinstance(judged("parquet", file.getvalue()), Refused)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_gets_an_answer(name: str, data: st.DataObject) -> None:
    good = written(name)
    start = data.draw(st.integers(0, len(good)))
    length = data.draw(st.integers(0, 12))
    insert = data.draw(st.binary(max_size=6) | st.sampled_from([b'"', b"[", b"{", b"\n", b"\0"]))

    result = judged(name, good[:start] + insert + good[start + length :])

    for reason in result.warnings if isinstance(result, Accepted) else result.reasons:
        assert reason.message.isprintable()
        assert len(reason.message) < 1_200


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_get_an_answer(name: str, content: bytes) -> None:
    assert isinstance(judged(name, content), Accepted | Refused)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1, max_size=5))
def test_readings_survive_every_format_to_the_last_bit(values: list[float | None]) -> None:
    records = [
        {"Wafer": f"W-{number}", "Sensor-1": value, "Sensor-2": 1.0, "Output": 1} for number, value in enumerate(values)
    ]
    records.append({"Wafer": "W-last", "Sensor-1": 1.0, "Sensor-2": 1.0, "Output": -1})
    frames = [frame_of(judged(name, written(name, records))) for name in FORMATS]

    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], frame, check_exact=True)

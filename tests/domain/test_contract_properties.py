"""What must hold for any file whatsoever, tried on generated ones."""

import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.loader import load_schema
from wafer_assets.domain.contract import MAX_REASONS_PER_CODE, REASONS, Accepted, Refused, validate

NAME = "wafer_28012020_051011.csv"
COLUMNS = {
    "Wafer": "varchar",
    "Sensor-1": "float",
    "Sensor-2": "float",
    "Sensor-3": "float",
    "Output": "integer",
}
SCHEMA = load_schema("training").model_copy(update={"columns": COLUMNS, "optional_columns": ("Sensor-3",)})
HEADER = ["", "Sensor-1", "Sensor-2", "Sensor-3", "Good/Bad"]
GOOD = b",Sensor-1,Sensor-2,Sensor-3,Good/Bad\nWafer-1,1.5,2,3,-1\nWafer-2,,2.25,,1\n"

# Pieces that parsers disagree about.
TRICKY = [
    *(
        "",
        " ",
        "\t",
        "0",
        "-0",
        "+1.5",
        ".5",
        "1.",
        "1e5",
        "1E-400",
        "1e400",
        "inf",
        "-Infinity",
        "nan",
        "NaN",
    ),
    *(
        "NA",
        "null",
        "0x1F",
        "1_0",
        "٣",
        "1,5",
        "1;5",
        "'",
        "é",
        "\ufeff",
        "\u2028",
        "\x0b",
        "\x1c",
        "Wafer-1",
    ),
    *("Wafer-2", "=1+1", "a/b", "-1", "1", "9007199254740993", "2.2250738585072011e-308", "1e", "TRUE"),
]
possible_readings = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def written(rows: list[list[str]], *, quote: str = "", end: str = "\n") -> bytes:
    lines = (",".join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    return "".join(line + end for line in lines).encode()


def check_is_sound(result: Accepted | Refused) -> None:
    """Check what every caller relies on."""
    if isinstance(result, Accepted):
        frame = result.frame
        assert list(frame) == ["wafer", "Sensor-1", "Sensor-2", "Sensor-3", "faulty"]
        assert len(frame) > 0
        assert frame["wafer"].is_unique
        assert frame["faulty"].isin([0, 1]).all()
        readings = frame[["Sensor-1", "Sensor-2", "Sensor-3"]]
        assert (readings.dtypes == "float64").all()
        assert not np.isinf(readings.to_numpy()).any()
        return
    assert result.reasons
    for reason in result.reasons:
        assert reason.code in REASONS
        assert reason.row is None or reason.row >= 1
        assert reason.message.isprintable()
        assert len(reason.message) < 1_000
        reason.message.encode()
    assert len(result.reasons) <= len(REASONS) * (MAX_REASONS_PER_CODE + 1)


@settings(max_examples=300, deadline=None)
@given(name=st.text() | st.just(NAME), content=st.binary(max_size=400))
@example(name=NAME, content=b'"')
@example(name=NAME, content=b"\xef\xbb\xbf")
@example(name=NAME, content=b",Sensor-1\n\xff")
@example(name="\udc80", content=b"\r")
def test_any_name_and_bytes_get_an_answer(name: str, content: bytes) -> None:
    check_is_sound(validate(name, content, SCHEMA))


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, len(GOOD)),
    length=st.integers(0, 12),
    insert=st.binary(max_size=6)
    | st.sampled_from([piece.encode() for piece in TRICKY])
    | st.sampled_from([b'"', b"\n"]),
)
def test_any_damage_to_a_good_file_gets_an_answer(start: int, length: int, insert: bytes) -> None:
    check_is_sound(validate(NAME, GOOD[:start] + insert + GOOD[start + length :], SCHEMA))


cells = st.sampled_from(TRICKY) | st.text(alphabet="0123456789+-.eE _xinfa", max_size=8)
tables = st.lists(st.lists(cells, min_size=5, max_size=5), min_size=1, max_size=4)
numbered = st.lists(
    st.tuples(st.lists(cells, min_size=3, max_size=3), st.sampled_from(["-1", "1", "+1", " 1"])),
    min_size=1,
    max_size=4,
).map(lambda rows: [[f"Wafer-{place}", *row, label] for place, (row, label) in enumerate(rows)])


@settings(max_examples=500, deadline=None)
@given(rows=tables | numbered)
def test_quotes_change_nothing(rows: list[list[str]]) -> None:
    # Quoted files go through another parser: both must judge alike, to the last bit.
    rows = [HEADER, *([cell.replace(",", ";") for cell in row] for row in rows)]
    plain, quoted = (validate(NAME, written(rows, quote=quote), SCHEMA) for quote in ("", '"'))

    check_is_sound(plain)
    assert isinstance(plain, Accepted) == isinstance(quoted, Accepted)
    if isinstance(plain, Accepted) and isinstance(quoted, Accepted):
        pd.testing.assert_frame_equal(plain.frame, quoted.frame, check_exact=True)
    else:
        assert plain == quoted


@settings(deadline=None)
@given(
    values=st.lists(st.tuples(possible_readings, possible_readings, st.booleans()), min_size=1, max_size=6),
    first=st.floats(allow_nan=False, allow_infinity=False),
    quote=st.sampled_from(["", '"']),
    end=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_readings_survive_to_the_last_bit_in_any_order_of_rows_and_columns(
    values: list[tuple[float | None, float | None, bool]],
    first: float,
    quote: str,
    end: str,
    data: st.DataObject,
) -> None:
    values = [(first, first, True), *values]
    order = data.draw(st.permutations(range(len(values))))
    columns = data.draw(st.permutations(range(1, 5)))
    rows = [HEADER] + [
        [
            f"Wafer-{place}",
            _cell(values[place][0]),
            _cell(values[place][1]),
            "",
            "1" if values[place][2] else "-1",
        ]
        for place in order
    ]
    result = validate(
        NAME,
        written([[row[0], *(row[column] for column in columns)] for row in rows], quote=quote, end=end),
        SCHEMA,
    )

    assert isinstance(result, Accepted)
    frame = result.frame
    assert frame["wafer"].tolist() == [f"Wafer-{place}" for place in order]
    for column, name in enumerate(["Sensor-1", "Sensor-2"]):
        expected = [values[place][column] for place in order]
        assert _bits(frame[name].tolist()) == _bits([np.nan if value is None else value for value in expected])
    assert frame["faulty"].tolist() == [int(values[place][2]) for place in order]


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def _bits(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


@pytest.mark.parametrize("digits", [17, 25, 60])
@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e300))
def test_long_decimals_round_like_python(digits: int, value: float) -> None:
    text = f"{value:.{digits}e}"

    for quote in ("", '"'):
        content = written([HEADER, ["Wafer-1", text, "1", "", "1"]], quote=quote)
        result = validate(NAME, content, SCHEMA)
        assert isinstance(result, Accepted)
        assert _bits(result.frame["Sensor-1"].tolist()) == _bits([float(text)])

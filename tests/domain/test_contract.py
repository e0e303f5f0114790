"""A batch file becomes a normalised frame, or is refused with every reason."""

import gzip
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from schemas.loader import BatchSchema, load_schema
from wafer_assets.domain.contract import (
    CLAUSES,
    HOLDS,
    KINDS,
    MAX_REASONS_PER_CODE,
    REASONS,
    WARNINGS,
    Accepted,
    Reason,
    Refused,
    check_object,
    validate,
)
from wafer_assets.domain.simulation import simulate_batches

NAME = "wafer_28012020_051011.csv"
SCHEMA = load_schema("training").model_copy(
    update={
        "columns": {
            "Wafer": "varchar",
            "Sensor-1": "float",
            "Sensor-2": "float",
            "Sensor-3": "float",
            "Output": "integer",
        },
        "optional_columns": ("Sensor-3",),
        "shares": {},
        "max_file_size_mb": 1,
    }
)
GOOD = b",Sensor-1,Sensor-2,Sensor-3,Good/Bad\nWafer-1,1.5,2,3,-1\nWafer-2,,2.25,,1\n"


def accepted(content: bytes, schema: BatchSchema = SCHEMA) -> pd.DataFrame:
    result = validate(NAME, content, schema)
    assert isinstance(result, Accepted), result
    return result.frame


def refused(content: bytes, name: str = NAME, schema: BatchSchema = SCHEMA) -> tuple[Reason, ...]:
    result = validate(name, content, schema)
    assert isinstance(result, Refused)
    return result.reasons


def places(reasons: tuple[Reason, ...]) -> list[tuple[str, int | None, str | None]]:
    return [(reason.code, reason.row, reason.column) for reason in reasons]


def with_reading(cell: bytes) -> bytes:
    return GOOD.replace(b"2.25", cell)


def test_good_file_becomes_a_frame_by_meaning() -> None:
    expected = pd.DataFrame(
        {
            "wafer": ["Wafer-1", "Wafer-2"],
            "Sensor-1": [1.5, np.nan],
            "Sensor-2": [2.0, 2.25],
            "Sensor-3": [3.0, np.nan],
            "faulty": np.array([0, 1], dtype=np.int8),
        }
    )

    pd.testing.assert_frame_equal(accepted(GOOD), expected)


def test_minus_one_passed_and_plus_one_is_faulty() -> None:
    assert accepted(GOOD.replace(b",1\n", b",+1\n"))["faulty"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + GOOD,
        b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"),
        GOOD.rstrip(b"\n"),
        GOOD + b"\n\n",
        b"\n" + GOOD,
        GOOD.replace(b"\nWafer-2", b"\n\nWafer-2"),
        GOOD.replace(b",Sensor-1,", b"Unnamed: 0,Sensor-1,"),
        GOOD.replace(b",Sensor-1,", b"Wafer,Sensor-1,").replace(b"Good/Bad", b"Output"),
        GOOD.replace(b"Wafer-1", b'"Wafer-1"').replace(b"2.25", b'"2.25"'),
        with_reading(b" 2.25\t"),
        with_reading(b"+2.25"),
        with_reading(b"225e-2"),
        with_reading(b"0002.2500"),
        GOOD.replace(b",,", b", ,"),
        GOOD.replace(b",-1\n", b", -1 \n"),
    ],
)
def test_other_spellings_of_the_same_file_give_the_same_frame(content: bytes) -> None:
    pd.testing.assert_frame_equal(accepted(content), accepted(GOOD))


def test_columns_may_come_in_any_order() -> None:
    mixed = b"Good/Bad,Sensor-3,Wafer,Sensor-1,Sensor-2\n-1,3,Wafer-1,1.5,2\n1,,Wafer-2,,2.25\n"

    pd.testing.assert_frame_equal(accepted(mixed), accepted(GOOD))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (b"0.1", 0.1),
        (b"9007199254740993", 9007199254740992.0),
        (b"2.2250738585072011e-308", 2.2250738585072011e-308),
        (b"4.9e-324", 5e-324),
        (b"0e-400", 0.0),
        (b"1.7976931348623157e308", 1.7976931348623157e308),
        (b"123456789012345678901234567890.123456789", 123456789012345678901234567890.123456789),
        (b"1.", 1.0),
        (b"-.5", -0.5),
    ],
)
@pytest.mark.parametrize("quote", [b"", b'"'])
def test_reading_is_the_nearest_float64(cell: bytes, value: float, quote: bytes) -> None:
    assert accepted(with_reading(quote + cell + quote))["Sensor-2"].tolist() == [2.0, value]


@pytest.mark.parametrize(
    ("cell", "code", "explanation"),
    [
        *((cell, "reading_missing_code", "") for cell in ("NaN", "nan", "NA", "null", "#N/A", "-", ".", "?", "n.a.")),
        *((cell, "reading_failed", "") for cell in ("-nan", "#DIV/0!", "1.#IND", "#WERT!", "overflow")),
        *((cell, "reading_not_a_number", "") for cell in ("x y", "1_000", "1e+", "1d5", "1.2.3.4", "½", "\x07", "1-2")),
        ("TRUE", "reading_not_a_number", "a truth value"),
        ("0x1F", "reading_not_a_number", "a hexadecimal number"),
        ("=1+1", "reading_not_a_number", "a formula, not a number"),
        ("12.01.1998", "reading_not_a_number", "a date: probably a spreadsheet turned a number into one"),
        ("Feb 01", "reading_not_a_number", "a date: probably a spreadsheet turned a number into one"),
        ("2,5", "reading_not_a_number", "the decimal sign is a comma"),
        ("1,024.5", "reading_not_a_number", "the number is grouped in thousands"),
        ("1 000", "reading_not_a_number", "the number is grouped in thousands"),
        ("1'000", "reading_not_a_number", "the number is grouped in thousands"),
        ("12.5 mV", "reading_not_a_number", "the cell holds a unit beside the number"),
        ("12.5%", "reading_not_a_number", "the cell holds a unit beside the number"),
        ("3.0m/s²", "reading_not_a_number", "the cell holds a unit beside the number"),
        ("<0.1", "reading_not_a_number", "a limit, not a reading"),
        ("1\n", "reading_not_a_number", "the cell holds a line break"),
    ],
)
def test_what_is_not_a_number_is_refused_with_what_it_probably_is(cell: str, code: str, explanation: str) -> None:
    (reason,) = refused(with_reading(f'"{cell}"'.encode()))

    assert (reason.code, reason.row, reason.column) == (code, 3, "Sensor-2")
    assert reason.found == (f"{cell!r}, {explanation}" if explanation else repr(cell))


@pytest.mark.parametrize("cell", [b"1e-400", b"-1e-99999", b"0." + b"0" * 330 + b"1", b"4.9E-0400"])
def test_number_that_would_become_0_is_refused(cell: bytes) -> None:
    for quote in (b"", b'"'):
        assert places(refused(with_reading(quote + cell + quote))) == [("reading_underflow", 3, "Sensor-2")]


@pytest.mark.parametrize("cell", [b"inf", b"-inf", b"+Infinity", b"1e400", b"-1e400", b"1" + b"0" * 400])
def test_what_is_not_finite_is_refused(cell: bytes) -> None:
    assert places(refused(with_reading(cell))) == [("reading_not_finite", 3, "Sensor-2")]


@pytest.mark.parametrize(
    "wafer",
    [
        *("=cmd()|'/c calc'!A1", "+1", "-1", "@SUM(1)", "$where", "batch:1"),
        *("../../etc/passwd", "a/b", "C:\\x", ".hidden", "W" * 65),
        *(" Wafer-2", "Wafer-2 ", "Wafer\n2", "Wafer\x1b[31m", "Wafer\u202e2", "Wäfer"),
    ],
)
def test_wafer_id_that_is_not_safe_to_store_is_refused(wafer: str) -> None:
    (reason,) = refused(GOOD.replace(b"Wafer-2", f'"{wafer}"'.encode()))

    assert (reason.code, reason.column) == ("wafer_id_unsafe", "Wafer")
    assert reason.found.isprintable()


def test_missing_and_repeated_wafer_ids_are_refused() -> None:
    content = GOOD + b"Wafer-1,1,1,1,1\n,1,1,1,1\n"

    reasons = refused(content)

    assert places(reasons) == [("wafer_id_missing", 5, "Wafer"), ("wafer_id_repeated", 4, "Wafer")]
    assert "on line 2" in reasons[1].found


@pytest.mark.parametrize("label", [b"0", b"2", b"--1", b"passed", b"TRUE", b"-1.5"])
def test_label_outside_its_domain_is_refused(label: bytes) -> None:
    passed = GOOD + b"Wafer-3,1,1,1,-1\n"

    assert places(refused(passed.replace(b",3,-1\n", b",3," + label + b"\n"))) == [("label_unknown", 2, "Output")]


@pytest.mark.parametrize(("passed", "faulty"), [(b"0", b"1"), (b"Pass", b"Fail"), (b"1", b"2"), (b"(1)", b"1")])
def test_labels_of_another_coding_are_one_mistake(passed: bytes, faulty: bytes) -> None:
    rows = b"".join(b"Wafer-%d,1,2,3,%s\n" % (number, passed if number % 3 else faulty) for number in range(9))
    (reason,) = refused(GOOD.splitlines(keepends=True)[0] + rows)

    assert reason.code == "label_coding"
    assert "agree on the coding" in reason.remedy


def test_label_is_compared_by_value() -> None:
    assert accepted(GOOD.replace(b",-1\n", b",-1.0\n").replace(b",1\n", b",1.0\n"))["faulty"].tolist() == [0, 1]


def test_missing_label_is_refused() -> None:
    assert places(refused(GOOD.replace(b",-1\n", b", \n"))) == [("label_missing", 2, "Output")]


def test_column_without_any_value_is_refused_unless_optional() -> None:
    empty = GOOD.replace(b"1.5", b"").replace(b",3,", b",,")

    assert places(refused(empty)) == [("column_empty", None, "Sensor-1")]
    nothing_optional = SCHEMA.model_copy(update={"optional_columns": ()})
    (reason,) = refused(empty, schema=nothing_optional)
    assert (reason.column, reason.count) == ("Sensor-1", 2)
    assert reason.found == "Sensor-1 and Sensor-3 have no reading on any of the 2 wafers"


def test_missing_extra_repeated_and_renamed_columns_are_told_apart() -> None:
    header = b",Sensor-1,sensor_2,Sensor-1,,Lot\n"

    assert places(refused(header + b"Wafer-1,1,2,1,,7\n")) == [
        ("labels_absent", 1, "Output"),
        ("column_unexpected", 1, "in place 5"),
        ("column_repeated", 1, "Sensor-1"),
        ("column_renamed", 1, "Sensor-2"),
    ]


@pytest.mark.parametrize("header", ["Sensor - 2", "SENSOR-2", "sensor_2", "Sensor2", " Sensor-2", "Pressure"])
def test_renamed_column_says_which_name_to_restore(header: str) -> None:
    (reason,) = refused(GOOD.replace(b"Sensor-2", header.encode()))

    assert (reason.code, reason.column) == ("column_renamed", "Sensor-2")
    assert reason.remedy.startswith("Rename it to Sensor-2")


def test_unlabelled_file_is_refused_for_training() -> None:
    unlabelled = b",Sensor-1,Sensor-2,Sensor-3\nWafer-1,1,2,3\n"

    (reason,) = refused(unlabelled)
    assert (reason.code, reason.row, reason.column) == ("labels_absent", 1, "Output")
    assert "'Good/Bad' or 'Output'" in reason.found
    assert "belongs to the prediction feed" in reason.remedy


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"", ["file_empty"]),
        (b"\n\r\n", ["file_empty"]),
        (GOOD.splitlines()[0], ["csv_no_rows"]),
        (GOOD.replace(b",", b";"), ["csv_delimiter"]),
        (GOOD.replace(b",", b"\t"), ["csv_delimiter"]),
        (GOOD + b"Wafer-3,1\n", ["csv_ragged_row"]),
        (GOOD + b"Wafer-3,1,2,3,1,\n", ["csv_ragged_row"]),
        (GOOD + b'"Wafer-3,1,2,3,1\n', ["csv_malformed"]),
        (GOOD.replace(b"Wafer-1", b'"Wafer"-1'), ["csv_malformed"]),
        (GOOD.replace(b"Wafer-1", b"Wafer-\0"), ["encoding_binary"]),
        (GOOD.decode().encode("utf-16"), ["encoding_not_utf8"]),
        (GOOD.decode().encode("utf-16-le"), ["encoding_not_utf8"]),
        (gzip.compress(GOOD, mtime=0), ["format_other"]),
        (GOOD.replace(b"Sensor-1", b"Sensor-\xb5"), ["encoding_not_utf8"]),
        (GOOD.rstrip(b"\n") + b"\0" * 100, ["file_cut_off"]),
        (bytes(100), ["encoding_binary"]),
    ],
)
def test_file_that_is_not_the_agreed_csv_is_refused(content: bytes, codes: list[str]) -> None:
    assert [reason.code for reason in refused(content)] == codes


def test_rows_are_lines_as_an_editor_numbers_them() -> None:
    content = b"\n" + GOOD.replace(b"\nWafer-2", b'\n\n"Wafer-9",1,"2",x,1\r\nWafer-2') + b"Wafer-3,1,1 mm,3,1\n"

    assert places(refused(content)) == [
        ("reading_not_a_number", 5, "Sensor-3"),
        ("reading_not_a_number", 7, "Sensor-2"),
    ]


def test_all_reasons_are_found_not_only_the_first() -> None:
    content = b',Sensor-1,Sensor-2,Sensor-4,Good/Bad\n=x,,1e999,1,7\nWafer-2,"",\xff,,\nWafer-2,,2,q,1\nWafer-3,1\n'

    codes = Counter(reason.code for reason in refused(content, name="batch.csv"))

    assert codes == {
        "file_name_invalid": 1,
        "encoding_not_utf8": 1,
        "csv_ragged_row": 1,
        "column_renamed": 1,
        "reading_not_a_number": 1,
        "reading_not_finite": 1,
        "wafer_id_unsafe": 1,
        "wafer_id_repeated": 1,
        "label_missing": 1,
        "label_coding": 1,
    }


def test_one_mistake_is_one_reason_with_its_count_and_first_places() -> None:
    rows = b"".join(b"Wafer-%d,x y,NaN,3,1\n" % number for number in range(500))

    code, other = refused(GOOD.splitlines(keepends=True)[0] + rows)

    assert (code.code, code.row, code.column, code.count) == ("reading_missing_code", 2, "Sensor-2", 500)
    assert code.found == "'NaN'; 500 times in all: also line 3; line 4; line 5, ..."
    assert (other.code, other.count) == ("reading_not_a_number", 500)


def test_reasons_are_capped_per_code_and_the_rest_is_counted() -> None:
    rows = b"".join(b"Wafer-1%s,1,2,3,-1\n" % bytes([33 + number % 90] * 2) for number in range(80))

    reasons = [reason for reason in refused(GOOD + rows.replace(b",,", b"::")) if reason.code == "wafer_id_unsafe"]

    assert len(reasons) == MAX_REASONS_PER_CODE + 1
    assert (reasons[-1].row, reasons[-1].column) == (None, None)
    assert reasons[-1].found.endswith("more like these")


def test_nothing_is_claimed_of_rows_that_were_not_read() -> None:
    empty = b",Sensor-1,Sensor-2,Sensor-3,Good/Bad\nWafer-1,,2,3,-1\n"

    assert places(refused(empty + b"Wafer-2,1,2,3,4,1\n")) == [("csv_ragged_row", 3, None)]
    assert places(refused(empty + b'"Wafer-2,1,2,3,1\n')) == [("csv_malformed", 3, None)]


@pytest.mark.parametrize(
    "name",
    [
        *("", "wafer.csv", "wafer_28012020_051011.csv.zip", "wafer_28012020_051011.csv\0", "\udc80"),
        *("../wafer_28012020_051011.csv", "wafer 28012020 051011.csv", "wafer_28012020_051011 (1).csv"),
        "wäfer_28012020_051011.csv",
    ],
)
def test_name_outside_the_contract_is_refused_with_the_same_reason_before_and_after_reading(
    name: str,
) -> None:
    assert places(refused(GOOD, name=name)) == [("file_name_invalid", None, None)]
    assert check_object(name, len(GOOD), SCHEMA) == refused(GOOD, name=name)


def test_size_is_checked_without_the_content() -> None:
    (reason,) = check_object(NAME, 1_000_000_000, SCHEMA)

    assert reason.code == "file_too_large"
    assert reason.found == "1,000.0 MB, at most 1 MB"
    assert check_object(NAME, SCHEMA.max_file_size, SCHEMA) == ()
    assert [reason.code for reason in check_object(NAME, 0, SCHEMA)] == ["file_empty"]
    assert [reason.code for reason in refused(bytes(1_000_001))] == ["file_too_large"]


def test_100_000_columns_are_refused_quickly() -> None:
    headers = ",".join(["", *(f"Sensor-{number}" for number in range(1, 100_001))])
    content = f"{headers}\n{',' * 100_000}\n".encode()
    schema = load_schema("training")

    start = time.process_time()
    reasons = refused(content, schema=schema)

    assert time.process_time() - start < 3
    assert [(reason.code, reason.count) for reason in reasons] == [
        ("csv_no_rows", 1),
        ("labels_absent", 1),
        ("column_unexpected", 99_410),
    ]


def test_real_sized_file_takes_at_most_20_ms() -> None:
    schema = load_schema("training")
    (batch,) = simulate_batches(1, feed="training", seed=0)

    def elapsed() -> float:
        start = time.process_time()
        assert isinstance(validate(batch.name, batch.content, schema), Accepted)
        return time.process_time() - start

    assert min(elapsed() for _ in range(20)) < 0.02


def test_message_says_where_what_and_what_to_do() -> None:
    (reason,) = refused(with_reading(b"a b"))

    assert reason.message == (
        "line 3, column Sensor-2: the cell is not a number: 'a b'. "
        "Write a plain decimal number, or nothing where none was measured."
    )
    assert reason.as_dict() == {
        "code": "reading_not_a_number",
        "row": 3,
        "column": "Sensor-2",
        "found": "'a b'",
        "remedy": "Write a plain decimal number, or nothing where none was measured.",
        "count": 1,
        "unit": "line",
        "message": reason.message,
    }


def test_found_values_are_shortened() -> None:
    (reason,) = refused(with_reading(b"x" * 1_000))

    assert reason.found == repr("x" * 57 + "...")


def test_every_reason_belongs_to_a_clause_and_every_clause_has_a_reason() -> None:
    assert {kind.clause for kind in REASONS.values()} == set(CLAUSES)
    assert all(code == kind.code and kind.title and kind.remedy for code, kind in KINDS.items())
    assert len(KINDS) == len(REASONS) + len(HOLDS) + len(WARNINGS)

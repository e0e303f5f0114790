"""Names of batch files are read by the pattern that a line declares, or the pattern is refused."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.names import FileNames, NamePatternError

SHIPPED = FileNames("wafer_{stamp}.csv", "%d%m%Y_%H%M%S")
ANY = [
    SHIPPED,
    FileNames("LOT-{stamp}-a.csv", "%Y-%m-%dT%H.%M"),
    FileNames("{stamp}_etch.csv", "%H%M%S on %j of %Y"),
    FileNames("a.b+c{stamp}.csv", "%y%m%d%H%M"),
]


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
        ("wafer_28010000_051011.csv", None),
        ("wafer_2812020_051011.csv", None),
        ("wafer_28012020_051011.CSV", datetime(2020, 1, 28, 5, 10, 11)),
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
def test_time_of_a_name_needs_the_exact_form_and_a_real_time(name: str, time: datetime | None) -> None:
    assert SHIPPED.time_of(name) == time


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("wafer_28012020_051011.csv", None),
        ("wafer_28012020_051011 (1).csv", "it ends with ' (1)', as a second download or a copy does"),
        ("wafer_28012020_051011 - Copy.csv", "it ends with ' - Copy', as a second download or a copy does"),
        ("wafer_28012020_051011.txt", "the extension is .txt, not .csv"),
        ("wafer_28012020_051011.csv.gz", "the extension is .gz, not .csv"),
        ("wafer_28012020_051011", "it does not end with .csv"),
        ("wafer_28012020_051011.csv ", "there is a blank at an end of it"),
        ("wafer-28012020-051011.csv", "it has 'wafer-' where 'wafer_' is agreed"),
        ("Wafer28012020_051011.csv", "it has 'Wafer' where 'wafer_' is agreed"),
        ("wafer_28012020-051011.csv", "it has '-' where '_' is agreed"),
        ("waffle_28012020_051011.csv", "it begins with 'waffle_', not with 'wafer_'"),
        ("wafer_04282020_051011.csv", "the date is no day, for there is no month 28 (day and month may be exchanged)"),
        ("wafer_30022020_051011.csv", "the date is no day, for there is no 2020-02-30"),
        ("wafer_28012020_251011.csv", "the time is none: 25:10:11"),
        ("wafer_28012020_0510.csv", "the time, 0510, has 4 digits instead of 6"),
        ("wafer_280120_051011.csv", "the date, 280120, has 6 digits instead of 8"),
        ("wafer_28012020.csv", "the time is missing"),
        ("wafer_fault_detection.csv", "there is no date and time in it"),
        ("wafer_28012020_051011_1.csv", ""),
        ("", "it does not end with .csv"),
    ],
)
def test_problem_of_a_name_is_the_part_that_is_wrong(name: str, problem: str | None) -> None:
    assert SHIPPED.problem_of(name) == problem


@given(st.text())
def test_a_name_has_a_problem_just_where_it_has_no_time(name: str) -> None:
    assert (SHIPPED.problem_of(name) is None) == (SHIPPED.time_of(name) is not None)


@pytest.mark.parametrize(
    ("names", "name", "time"),
    [
        (ANY[1], "lot-2020-02-29T23.59-A.csv", datetime(2020, 2, 29, 23, 59)),
        (ANY[2], "051011 ON 060 of 2020_etch.csv", datetime(2020, 2, 29, 5, 10, 11)),
        (ANY[2], "051011 on 366 of 2021_etch.csv", None),
        (ANY[2], "051011 on 000 of 2021_etch.csv", None),
        (ANY[3], "a.b+c2002292359.csv", datetime(2020, 2, 29, 23, 59)),
        (ANY[3], "aXb+c2002292359.csv", None),
    ],
)
def test_other_lines_have_other_names(names: FileNames, name: str, time: datetime | None) -> None:
    assert names.time_of(name) == time


@given(st.sampled_from(ANY), st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))
def test_time_of_a_name_is_the_time_that_it_was_made_of(names: FileNames, time: datetime) -> None:
    time = time.replace(microsecond=0, second=time.second if "%S" in names.stamp else 0)

    assert names.time_of(names.name_at(time)) == time


@given(st.sampled_from(ANY), st.text() | st.from_regex(r"\A[a-z]+_[0-9]{8}_[0-9]{6}\.csv\Z"))
def test_any_name_has_a_time_or_none(names: FileNames, name: str) -> None:
    time = names.time_of(name)

    assert time is None or names.name_at(time).lower() == name.lower()


def test_form_and_lengths_are_told() -> None:
    assert SHIPPED.form == "wafer_<DDMMYYYY>_<HHMMSS>.csv"
    assert SHIPPED.example == "wafer_28012020_051011.csv"
    assert SHIPPED.stamp_lengths == (8, 6)
    assert ANY[1].form == "LOT-<YYYY>-<MM>-<DD>T<HH>.<MM>-a.csv"
    assert ANY[1].stamp_lengths == (10, 5)


@pytest.mark.parametrize(
    ("name", "stamp", "key"),
    [
        ("wafer.csv", "%d%m%Y_%H%M%S", "name"),
        ("{stamp}{stamp}.csv", "%d%m%Y_%H%M%S", "name"),
        ("wafer_{stamp}.txt", "%d%m%Y_%H%M%S", "name"),
        ("wafer_{stamp}", "%d%m%Y_%H%M%S", "name"),
        ("lot/{stamp}.csv", "%d%m%Y_%H%M%S", "name"),
        ("{lot}_{stamp}.csv", "%d%m%Y_%H%M%S", "name"),
        ("wäfer_{stamp}.csv", "%d%m%Y_%H%M%S", "name"),
        ("wafer_{stamp}.csv", "%H%M%S", "stamp"),
        ("wafer_{stamp}.csv", "%m%Y_%H%M%S", "stamp"),
        ("wafer_{stamp}.csv", "%d%m_%H%M", "stamp"),
        ("wafer_{stamp}.csv", "%d%m%Y%y_%H%M", "stamp"),
        ("wafer_{stamp}.csv", "%d%m%Y", "stamp"),
        ("wafer_{stamp}.csv", "%d%m%Y_%H", "stamp"),
        ("wafer_{stamp}.csv", "%d%m%Y_%H%M%H", "stamp"),
        ("wafer_{stamp}.csv", "%d%b%Y_%H%M", "stamp"),
        ("wafer_{stamp}.csv", "%d%m%Y_%H%M%", "stamp"),
        ("wafer_{stamp}.csv", "%d%m%Y_%H%M%%", "stamp"),
        ("wafer_{stamp}.csv", "%d/%m/%Y %H%M", "stamp"),
        ("wafer_{stamp}.csv", "", "stamp"),
    ],
)
def test_pattern_without_one_stamp_or_without_a_date_and_a_time_is_refused(name: str, stamp: str, key: str) -> None:
    with pytest.raises(NamePatternError) as refusal:
        FileNames(name, stamp)

    assert refusal.value.key == key
    assert refusal.value.remedy

"""Every case of the collection of partners' files gets its verdict, with the one reason that a person should read."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.lines import Outcome, WaferId
from schemas.loader import BatchSchema, load_schema
from wafer_assets.domain.contract import Accepted, Reason, find_holds, validate

CASES = Path(__file__).parents[2] / ".." / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="there is no folder ../shared/cases beside the project")

CAUSES = {
    # case: code, and what its message must name
    "cell_NaN": ("reading_missing_code", "line 4.*Sensor-20.*NaN"),
    "cell_NULL": ("reading_missing_code", "line 4.*Sensor-20.*NULL"),
    "cell_N_A": ("reading_missing_code", "line 4.*Sensor-20.*N/A"),
    "cell_hash_N_A": ("reading_missing_code", "line 4.*Sensor-20.*#N/A"),
    "cell_None": ("reading_missing_code", "line 4.*Sensor-20.*None"),
    "cell_question_mark": ("reading_missing_code", r"line 4.*Sensor-20.*\?"),
    "cell_div0": ("reading_failed", "line 4.*Sensor-20.*#DIV/0!"),
    "cell_err_ind": ("reading_failed", "line 4.*Sensor-20.*1.#IND"),
    "cell_err_qnan": ("reading_failed", "line 4.*Sensor-20.*-1.#QNAN"),
    "all_missing_NaN": ("reading_missing_code", "NaN.*483 times.*215 columns"),
    "all_missing_hash_N_A": ("reading_missing_code", "#N/A.*483 times.*215 columns"),
    "all_missing_NULL": ("reading_missing_code", "NULL.*483 times.*215 columns"),
    "all_missing_9999": ("reading_code_probable", "9999 stands in 483 cells of 215 columns"),
    "infinity": ("reading_not_finite", "line 4.*Sensor-20.*Infinity.*infinite"),
    "excel_text_formula": ("reading_not_a_number", "line 4.*Sensor-20.*formula"),
    "unit_in_cell": ("reading_not_a_number", "line 4.*Sensor-20.*unit"),
    "below_limit": ("reading_not_a_number", "line 4.*Sensor-20.*a limit"),
    "numbers/parentheses": ("reading_not_a_number", "line 4.*Sensor-20.*parentheses"),
    "fullwidth_digits": ("reading_not_a_number", "line 4.*Sensor-20.*full-width"),
    "unicode_minus": ("reading_not_a_number", "line 4.*Sensor-20.*typographic"),
    "date_by_excel": ("reading_not_a_number", "line 4.*Sensor-20.*spreadsheet.*without opening"),
    "line_break_in_cell": ("reading_not_a_number", "line 4.*Sensor-20.*line break"),
    "400_digits": ("reading_not_finite", "line 4.*Sensor-20.*too large"),
    "underflow": ("reading_underflow", "line 4.*Sensor-20"),
    "semicolon_decimal_comma": ("csv_delimiter", "semicolons separate.*comma is the decimal sign"),
    "decimal_comma_unquoted": ("csv_decimal_comma", "decimal commas.*cells, the header 592"),
    "tab_separated": ("csv_delimiter", "tabs separate"),
    "semicolon_decimal_point": ("csv_delimiter", "semicolons separate the fields, not commas. "),
    "blanks_no_header": ("csv_delimiter", "blanks separate the fields, and there is no header"),
    "thousands_comma_quoted": ("reading_not_a_number", "line 4.*Sensor-20.*grouped in thousands"),
    "sep_line_comma": ("csv_preamble", "line 1.*sep=,.*spreadsheet.*Remove line 1"),
    "trailing_comma_everywhere": ("csv_trailing_delimiter", "every line ends with a comma"),
    "trailing_comma_24_rows": ("csv_trailing_delimiter", "all 24 rows end with a comma"),
    "units_row": ("row_not_a_wafer", "line 2: .*units"),
    "limit_rows": ("row_not_a_wafer", "line 2: .*limits.*LSL.*line 3.*USL"),
    "preamble": ("csv_preamble", "the header is on line 5.*Remove lines 1 to 4"),
    "comment_line": ("csv_preamble", "comment.*Remove line 1"),
    "header_repeated": ("csv_header_repeated", "line 6: several files were joined: the header comes again"),
    "footer": ("row_not_a_wafer", "line 6: .*Total wafers: 4"),
    "lower_case": ("column_renamed", "591 columns are named in lower case .*'sensor-1' for Sensor-1"),
    "underscores": ("column_renamed", "590 columns are named with an underscore .*'Sensor_1' for Sensor-1"),
    "numbered_from_0": ("column_renamed", "'Time'.*numbers from 0 to 589.*every row needs its wafer id"),
    "table_index_before_unnamed_ids": ("column_row_numbers", "the first column holds 0, 1, 2.*Remove the first column"),
    "date_column_first": ("column_unexpected", "'Date', in place 1. Remove the column Date"),
    "timestamp_second": ("column_unexpected", "'Timestamp', in place 2. Remove the column Timestamp"),
    "two_sensors_more": ("column_unexpected", "'Sensor-591' and 'Sensor-592'. Remove them"),
    "hundred_sensors_less": ("column_missing", "100 columns: there is no Sensor-1 to Sensor-100"),
    "no_header": ("csv_header_missing", "line 1: there is no header: the first line is a wafer"),
    "training_without_label": ("labels_absent", "the labels are missing.*Good/Bad.*prediction feed"),
    "prediction_with_label": ("labels_unexpected", "the file holds labels.*training feed"),
    "prediction_with_empty_label": ("column_unexpected", "'Good/Bad', which is empty"),
    "zero_one": ("label_coding", "labels are '0' and '1'|labels are '0', and the contract knows '-1', '1' and"),
    "pass_fail": ("label_coding", "labels are '(Pass|Fail)' and '(Pass|Fail)'"),
    "one_two": ("label_coding", "labels are '2'.*others may mean something else too"),
    "labels/parentheses": ("label_coding", r"'\(1\)'"),
    "polarity_reversed": ("fault_rate_implausible", "18 of 20 wafers are faulty; about 1 in 17 is usual.*exchanged"),
    "one_label_missing": ("label_missing", "line 3.*no label"),
    "one_label_unknown": ("label_unknown", "line 3.*'3'"),
    "excel_scientific_equal": ("wafer_id_shortened", r"1.23457E\+11.*without opening"),
    "lot_and_slot": ("wafer_id_unsafe", "a blank, '#' and '/'"),
    "differ_in_case_only": ("wafer_ids_similar", "'C119-714' and 'c119-714'"),
    "trailing_blank": ("wafer_id_unsafe", "line 3.*blank at an end and is otherwise that of line 2"),
    "one_missing": ("wafer_id_missing", "line 4"),
    "twice": ("wafer_id_repeated", "line 5.*'C124-744', also on line 3"),
    "row_numbers": ("wafer_ids_row_numbers", "0 to 3"),
    "cut_in_a_cell": ("file_cut_off", "line 5.*ends after"),
    "cut_in_last_label_plus": ("file_cut_off", "line 5.*ends with '[+]'"),
    "header_cut": ("file_cut_off", "ends within the header"),
    "quote_never_closed": ("csv_malformed", "line 3.*opened and never closed"),
    "utf16_tab": ("encoding_not_utf8", "UTF-16"),
    "latin1_id": ("encoding_not_utf8", "line 3.*Windows-1252"),
    "gzip": ("format_other", "gzip archive; the contract says CSV. Unpack it"),
    "xlsx": ("format_other", "Excel workbook; the contract says CSV. Save it as CSV"),
    "html_error_page": ("format_other", "web page .403 Forbidden.*Fetch the file again"),
    "json": ("format_other", "JSON file; the contract says CSV"),
    "nul_padding": ("file_cut_off", "line 5.*512 NUL bytes"),
    "byte_order_mark_in_the_middle": ("csv_header_repeated", "line 4.*byte order mark"),
    "empty_file": ("file_empty", "0 bytes"),
    "always_measured_sensor_empty": ("column_empty", "Sensor-30 has no reading on any of the 12 wafers.*95%"),
    "browser_copy": ("file_name_invalid", r"' \(1\)'"),
    "us_date": ("file_name_invalid", "no month 28"),
    "year_2099": ("file_name_future", "28 April 2099"),
    "txt": ("file_name_invalid", "the extension is .txt, not .csv"),
    "dashes": ("file_name_invalid", "'wafer-' where 'wafer_' is agreed"),
    "no_seconds": ("file_name_invalid", "the time, 0319, has 4 digits instead of 6"),
    "index_remedy": ("column_row_numbers|wafer_ids_row_numbers", "Remove the first column|0 to 2"),
}
DEFENSIBLE = {"underflow": "refuse", "polarity_reversed": "refuse"}
"""Verdicts other than the table's, where it says that these can be defended too."""
NOT_OF_THE_CONTRACT = {"one_name_two_files", "big_file", "odd_names"}
"""Cases of commands, which their own tests try."""


def rows() -> Iterator[dict[str, str]]:
    if CASES.is_dir():
        with (CASES / "cases.csv").open(newline="") as file:
            yield from (row for row in csv.DictReader(file) if row["case"] not in NOT_OF_THE_CONTRACT)


def declared(schema: BatchSchema, contract: str) -> BatchSchema:
    """Return the contract of a row: what it declares beside the shipped one."""
    if match := re.fullmatch("declares (.+) as missing", contract):
        return schema.model_copy(update={"missing": (match[1],)})
    if match := re.fullmatch("declares (.+) as passed and (.+) as faulty", contract):
        labels: dict[str, Outcome] = {match[1]: "passed", match[2]: "faulty"}
        return schema.model_copy(update={"label_values": labels})
    if contract.startswith("declares ids of the form"):
        ids = WaferId(pattern=r"LOT#[A-Z] [0-9]+/25", example="LOT#A 1/25")
        return schema.model_copy(update={"wafer_id": ids})
    assert contract in ("shipped", "declares order by batch stamp"), contract
    return schema


def judged(path: Path, schema: BatchSchema) -> tuple[str, tuple[Reason, ...]]:
    result = validate(path.name, path.read_bytes(), schema)
    if not isinstance(result, Accepted):
        return "refuse", result.reasons
    if held := find_holds(result.frame, schema):
        return "refuse", (*held, *result.warnings)
    return "accept", result.warnings


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['case']}-{row['kind']}-{row['contract'][:16]}")
def test_verdict_and_cause_are_those_of_the_table(row: dict[str, str]) -> None:
    schema = declared(load_schema("training" if row["feed"] == "training" else "prediction"), row["contract"])
    path = CASES / row["path"]
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        verdict, reasons = judged(file, schema)
        messages = "\n".join(reason.message for reason in reasons)
        assert verdict == DEFENSIBLE.get(row["case"], row["verdict"]), messages
        told = (row["cause"] or row["case"] in DEFENSIBLE) and row["case"] != "lots_out_of_alphabet"
        assert len(reasons) == (1 if told else 0), messages
        if reasons:
            code, names = CAUSES.get(f"{row['kind']}/{row['case']}", CAUSES.get(row["case"], ("", "")))
            assert re.fullmatch(code, reasons[0].code), messages
            assert re.search(names, messages), messages


def test_defended_verdicts_can_be_defended() -> None:
    assert {row["case"] for row in rows() if row["other_ok"] == "yes"} >= DEFENSIBLE.keys()

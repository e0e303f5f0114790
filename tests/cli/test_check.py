"""`wafer check` without any service: verdicts, pages and repaired copies."""

import json
import re
from pathlib import Path

import pytest

from schemas.loader import load_schema
from tests.shell import call, require_documented
from wafer_assets.domain.contract import Accepted, validate
from wafer_assets.domain.simulation import simulate_batches

SCHEMA = load_schema("training")


@pytest.fixture
def good(folder: Path) -> Path:
    (batch,) = simulate_batches(1, 20, feed="training", schema=SCHEMA, seed=2)
    file = folder / batch.name
    file.write_bytes(batch.content)
    return file


def broken(good: Path, name: str, content: bytes) -> Path:
    file = good.with_name(name)
    file.write_bytes(content)
    return file


def test_good_files_are_accepted_and_nothing_is_written(good: Path) -> None:
    result = call("check", good)

    assert result.exit_code == 0, result.output
    assert "20 wafers keep the contract" in result.stdout
    assert list(good.parent.iterdir()) == [good]


def test_documents_tell_verdicts_reasons_and_warnings_apart(good: Path) -> None:
    content = good.read_bytes()
    broken(good, "wafer_01012020_000000.csv", content.replace(b",", b";"))
    broken(good, "wafer_01012099_000000.csv", content)
    flipped = content.replace(b",-1\n", b",x\n").replace(b",1\n", b",-1\n").replace(b",x\n", b",1\n")
    broken(good, "wafer_02012020_000000.csv", flipped)

    result = call("check", "--json", good.parent)

    assert result.exit_code == 1
    documents = json.loads(result.stdout)
    require_documented(documents, "check")
    verdicts = {Path(each["file"]).name: each["verdict"] for each in documents}
    assert verdicts == {
        good.name: "accepted",
        "wafer_01012020_000000.csv": "refused",
        "wafer_01012099_000000.csv": "accepted",
        "wafer_02012020_000000.csv": "held",
    }
    by_name = {Path(each["file"]).name: each for each in documents}
    assert [reason["code"] for reason in by_name["wafer_01012020_000000.csv"]["reasons"]] == ["csv_delimiter"]
    assert [each["code"] for each in by_name["wafer_01012099_000000.csv"]["warnings"]] == ["file_name_future"]
    (reason,) = by_name["wafer_02012020_000000.csv"]["reasons"]
    assert sorted(reason) == ["code", "column", "count", "message", "remedy", "row"]
    assert "Of 4 files, 1 would be refused and 1 would be held." in result.stderr


def test_page_holds_what_was_found_as_text(good: Path) -> None:
    cell = b"<script>alert(1)</script>"
    bad = broken(good, "wafer_01012020_000000.csv", good.read_bytes().replace(b"\nWafer-2", b"\n" + cell, 1))

    result = call("check", bad, good, "--html", good.parent / "page.html")

    assert result.exit_code == 1
    page = (good.parent / "page.html").read_text()
    assert "wafer_id_unsafe" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def german(content: bytes) -> bytes:
    return content.replace(b",", b";").replace(b".", b",")


def units(content: bytes) -> bytes:
    header, rest = content.split(b"\n", 1)
    return header + b"\n" + b"," + b",".join([b"mV"] * 590) + b",\n" + rest


def trailing(content: bytes) -> bytes:
    return content.replace(b"\n", b",\n")


def lower(content: bytes) -> bytes:
    header, rest = content.split(b"\n", 1)
    return header.lower() + b"\n" + rest


def wide(content: bytes) -> bytes:
    return content.decode().replace(",", "\t").encode("utf-16")


@pytest.mark.parametrize("damage", [german, units, trailing, lower, wide])
def test_repaired_copies_hold_the_same_values(good: Path, damage: object) -> None:
    assert callable(damage)
    content = good.read_bytes()
    bad = broken(good, "wafer_01012020_000000.csv", damage(content))

    result = call("check", bad, "--fix", good.parent / "out")

    assert result.exit_code == 1
    assert "1 of 1 files repaired" in result.stderr
    assert "It would be accepted" in result.stderr
    copy = validate(good.name, (good.parent / "out" / bad.name).read_bytes(), SCHEMA)
    original = validate(good.name, content, SCHEMA)
    assert isinstance(copy, Accepted)
    assert isinstance(original, Accepted)
    assert copy.frame.equals(original.frame)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace(b"\n", b",1\n", 2),
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"Wafer-2", b'"Wafer-2', 1),
        lambda content: content.replace(b",", b",,", 3),
        lambda content: content + b"Total wafers: 6\n",
        lambda content: content.replace(b"Sensor-1,", b"Pressure,", 1),
        lambda content: content.replace(b"Wafer-1,", b"W\xfcfer-1,", 1),
        lambda content: re.sub(rb"[0-9.]*[.][0-9]+", b"1,024", content.replace(b",", b";")),
        lambda content: (
            german(content).replace(b"Wafer-1;", b"Wafer-1;1.5;", 1).replace(b"Sensor-1;", b"x;Sensor-1;", 1)
        ),
    ],
)
def test_what_a_repair_could_change_is_left_to_people(good: Path, damage: object) -> None:
    assert callable(damage)
    bad = broken(good, "wafer_01012020_000000.csv", damage(good.read_bytes()))

    result = call("check", bad, "--fix", good.parent / "out")

    assert "0 of 1 files repaired" in result.stderr, result.stderr
    assert not (good.parent / "out").exists()


def test_copies_never_replace_a_file(good: Path) -> None:
    assert call("check", good, "--fix", good.parent).exit_code == 2
    (good.parent / "a").mkdir()
    other = good.parent / "a" / good.name
    other.write_bytes(b"other")
    result = call("check", good, other, "--fix", good.parent / "out")
    assert result.exit_code == 1
    assert "Two different files have the name" in result.stderr


def test_contract_is_that_of_the_line_and_the_feed(good: Path) -> None:
    assert call("check", good, "--line", "none").exit_code != 0
    result = call("check", good, "--feed", "prediction", "--json")
    assert [reason["code"] for reason in json.loads(result.stdout)[0]["reasons"]] == ["labels_unexpected"]

"""`wafer lines`: what is declared, and whether folders and files keep to it."""

import json
import shutil
from pathlib import Path

import pytest

from schemas.lines import FEEDS, SHIPPED
from tests.shell import call, require_documented
from wafer_assets.domain.simulation import simulate_batches


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with one line, which is the shipped one under another name."""
    folder = tmp_path / "lines"
    shutil.copytree(SHIPPED / "secom", folder / "second")
    declaration = folder / "second" / "line.yaml"
    declaration.write_text(declaration.read_text().replace("line: secom", "line: second"))
    monkeypatch.setenv("WAFER_LINES", str(folder))
    return folder


def test_shipped_and_own_lines_are_listed(own: Path) -> None:  # noqa: ARG001
    documents = json.loads(call("lines", "list", "--json").stdout)
    assert [(item["line"], item["sensors"], item["labelled_columns"]) for item in documents] == [
        ("secom", 590, 592),
        ("second", 590, 592),
    ]
    require_documented(documents, "lines", "list")
    assert "Semiconductor line" in call("lines", "list").stdout


def test_a_broken_folder_is_named_and_takes_no_other_line_along(own: Path) -> None:
    (own / "second" / "line.yaml").write_text("format: 1\nline: second\ncolour: red\n")
    listed = call("lines", "list")
    assert listed.exit_code == 1
    assert "secom" in listed.stdout
    assert "second/line.yaml" in listed.stderr
    refused = call("lines", "check", "second")
    assert refused.exit_code == 1
    assert "second/line.yaml" in refused.stderr


def test_a_line_is_shown_with_what_it_declares(own: Path) -> None:  # noqa: ARG001
    shown = call("lines", "show", "second").stdout
    for words in ("wafer_{stamp}.csv, such as wafer_", "16 are optional", "-1", "wafer_id", "33% of the wafers"):
        assert words in shown, words
    document = json.loads(call("lines", "show", "second", "--json").stdout)
    assert document["line"] == "second"
    assert document["labels"] == {"passed": ["-1"], "faulty": ["1", "+1"], "fault_rate": 0.06}


def test_folder_that_says_all_is_told_so(tmp_path: Path) -> None:
    result = call("lines", "check", "secom")
    assert result.exit_code == 0
    assert "says all that a line needs" in result.stderr
    assert not (tmp_path / ".wafer").exists()


def test_a_line_that_is_not_there_is_answered_with_those_that_are() -> None:
    refused = call("lines", "show", "metal")
    assert refused.exit_code == 1
    assert "there are secom" in refused.stderr


def samples(folder: Path) -> list[Path]:
    """Write files of both feeds to a folder each."""
    folders = []
    for feed in FEEDS:
        into = folder / feed
        into.mkdir()
        first = 1 if feed == "training" else 201
        for batch in simulate_batches(2, 60, feed=feed, seed=3, first_wafer=first, fault_rate=0.2):
            (into / batch.name).write_bytes(batch.content)
        folders.append(into)
    return folders


def test_a_line_is_made_from_samples_and_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled, unlabelled = samples(tmp_path)
    out = tmp_path / "lines"
    made = call("lines", "new", "mine", "--from", labelled, "--from", unlabelled, "--out", out)
    assert made.exit_code == 0, made.output
    assert "4 of 4 samples keep to it" in made.stderr
    assert "Decide: Which spelling" in made.stderr
    assert sorted(file.name for file in (out / "mine").iterdir()) == [
        "line.yaml",
        "schema_prediction.json",
        "schema_training.json",
    ]
    assert [file.name for file in out.iterdir()] == ["mine"]
    monkeypatch.setenv("WAFER_LINES", str(out))
    assert [item["line"] for item in json.loads(call("lines", "list", "--json").stdout)] == ["mine", "secom"]

    again = call("lines", "new", "mine", "--from", labelled)
    assert again.exit_code == 2
    assert "is there already" in again.stderr


def test_what_no_line_can_be_made_of_leaves_nothing_behind(tmp_path: Path) -> None:
    notes = tmp_path / "notes.csv"
    notes.write_text("not a table\n")
    out = tmp_path / "lines"
    refused = call("lines", "new", "mine", "--from", notes, "--out", out)
    assert refused.exit_code == 1
    assert "notes.csv" in refused.stderr
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["Mine", "--out", "lines"], ["mine"]], ids=["no identifier", "no folder"])
def test_a_line_needs_a_name_and_a_place(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "a.csv").write_text("x")
    assert call("lines", "new", *arguments, "--from", tmp_path / "a.csv").exit_code == 2

"""The files of a line are read as they are written, or refused by key."""

from pathlib import Path

import pytest
import yaml

from schemas.files import LineError
from schemas.lines import read_line
from tests.schemas.folders import SMALL, write_line


def test_spellings_are_what_is_written(tmp_path: Path) -> None:
    folder = write_line(tmp_path)
    text = (folder / "line.yaml").read_text()
    labels = yaml.safe_dump({"labels": SMALL["labels"]}, sort_keys=False)
    assert labels in text
    plain = "labels: {passed: [no, 0, ~], faulty: [yes, +1, 1.0]}\nmissing: [null, NaN, 9999, .nan, NO]\nprocess:\n"
    (folder / "line.yaml").write_text(text.replace(labels, plain).replace("'1.0'", "1.0"))

    line = read_line(folder)

    assert line.labels.passed == ("no", "0", "~")
    assert line.labels.faulty == ("yes", "+1", "1.0")
    assert line.missing == ("null", "NaN", "9999", ".nan", "NO")
    assert line.contract == "1.0"
    assert line.process == ""


@pytest.mark.parametrize("file", ["line.yaml", "schema_training.json", "schema_prediction.json"])
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, file: str) -> None:
    folder = write_line(tmp_path)
    (folder / file).write_bytes(b"Wafer: \xb5")
    assert _refusal(folder).file == f"small/{file}"
    (folder / file).unlink()
    assert (_refusal(folder).file, _refusal(folder).key) == (f"small/{file}", "the file")
    (folder / file).mkdir()
    assert _refusal(folder).file == f"small/{file}"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "the file"),
        ("- line", "the file"),
        ("line", "the file"),
        ("{", "the file"),
        ("a: [", "the file"),
        ("\0", "the file"),
        ("[" * 100_000, "0.0.0"),
        ("{a: " * 100_000, "a.a.a"),
        ("title: a\ntitle: b", "title"),
        ("files: {name: a, name: a}", "files.name"),
        ("title: &a [a]\nowner: *a", "owner"),
        ("<<: *a", "<<"),
        ("? [a]\n: b", "the file"),
        ("a: 1\n---\nb: 1", "the file"),
        ("title: !!python/object/apply:os.system [true]", "title"),
        ("format: " + "9" * 5_000, "format"),
    ],
)
def test_text_that_is_no_declaration_is_refused(tmp_path: Path, text: str, key: str) -> None:
    folder = write_line(tmp_path)
    (folder / "line.yaml").write_text(text)

    assert _refusal(folder).key == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "the file"),
        ("[]", "the file"),
        ("{", "the file"),
        ("[" * 100_000, "the file"),
        ('{"SampleFileName": "a", "SampleFileName": "b"}', "SampleFileName"),
        ('{"ColName": {"Wafer": "varchar", "Sensor-1": "float", "Sensor-1": "float"}}', "Sensor-1"),
    ],
)
def test_text_that_is_no_schema_file_is_refused(tmp_path: Path, text: str, key: str) -> None:
    folder = write_line(tmp_path)
    (folder / "schema_training.json").write_text(text)

    assert _refusal(folder).key == key


def test_unknown_key_says_which_was_meant(tmp_path: Path) -> None:
    assert "write title" in _refusal(write_line(tmp_path, SMALL | {"titel": "Etch"})).remedy
    refusal = _refusal(write_line(tmp_path, SMALL | {"sensors": {"Sensor1": {}}}))
    assert "Write Sensor-1" in refusal.remedy


def test_error_is_one_printable_line(tmp_path: Path) -> None:
    folder = write_line(tmp_path)
    for text in ('{"\\ud800\\n": 1}', '{"ColName": "\\ud800"}', '{"SampleFileName": "' + "x" * 1_000 + '"}'):
        (folder / "schema_training.json").write_text(text)
        assert str(_refusal(folder)).isprintable()
        assert len(str(_refusal(folder))) < 300


def _refusal(folder: Path) -> LineError:
    with pytest.raises(LineError) as refusal:
        read_line(folder)
    return refusal.value

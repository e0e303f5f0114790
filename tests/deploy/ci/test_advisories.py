"""Known vulnerabilities of pinned packages, by advisories in OSV's format."""

import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from deploy.ci import advisories
from deploy.ci.advisories import affects, command, findings, pinned, read_advisories

NOW = datetime.now(UTC)


def advisory(name: str, package: str = "jinja2", modified: datetime = NOW, **more: Any) -> dict[str, Any]:
    events = more.pop("events", [{"introduced": "0"}, {"fixed": "2.7.2"}])
    affected = {"package": {"ecosystem": more.pop("ecosystem", "PyPI"), "name": package}}
    affected |= {"ranges": [{"type": "ECOSYSTEM", "events": events}], "versions": more.pop("versions", [])}
    return {"id": name, "modified": modified.isoformat().replace("+00:00", "Z"), "affected": [affected], **more}


def folder_of(folder: Path, *documents: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for document in documents:
        (folder / f"{document['id']}.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "runtime.txt"
    path.write_text(
        "# comment\njinja2==2.7.1 \\\n    --hash=sha256:00\nSQL_alchemy[asyncio]==2.0.1 ; python_version < '4'\n"
    )
    return path


def test_a_lock_is_read_as_pip_names_things(lock: Path) -> None:
    assert list(pinned(lock)) == [("jinja2", "2.7.1"), ("sql-alchemy", "2.0.1")]


def test_an_affected_version_is_found_with_what_mends_it(lock: Path, tmp_path: Path) -> None:
    database = read_advisories(folder_of(tmp_path / "db", advisory("PYSEC-1", "Jinja2", aliases=["CVE-1"])))
    (found,) = findings([lock], database)
    assert str(found) == "runtime.txt: jinja2 2.7.1: PYSEC-1, CVE-1; fixed in 2.7.2"


def test_two_names_of_one_vulnerability_are_one_finding(lock: Path, tmp_path: Path) -> None:
    twice = folder_of(tmp_path / "db", advisory("GHSA-1", aliases=["CVE-1"]), advisory("PYSEC-1", aliases=["CVE-1"]))
    assert len(findings([lock], read_advisories(twice))) == 1


def test_what_was_withdrawn_or_concerns_another_ecosystem_is_not_found(lock: Path, tmp_path: Path) -> None:
    gone, foreign = advisory("A", withdrawn="2024-01-01T00:00:00Z"), advisory("B", ecosystem="npm")
    assert findings([lock], read_advisories(folder_of(tmp_path / "db", gone, foreign, advisory("C", "other")))) == []


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [("0.9", False), ("1.0", True), ("1.5rc1", True), ("1.5", False), ("2.0", True), ("2.1", True), ("2.1.1", False)],
)
def test_ranges_begin_and_end_where_they_say(version: str, is_affected: bool) -> None:
    events = [{"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"last_affected": "2.1"}]
    assert affects(advisory("A", events=events)["affected"][0], version) is is_affected


def test_a_version_may_be_listed_without_a_range() -> None:
    entry = advisory("A", events=[], versions=["1.0", "1.1.0"])["affected"][0]
    assert [affects(entry, version) for version in ("1.0", "1.1", "1.2")] == [True, True, False]


numbers = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


@given(numbers, numbers, numbers)
def test_what_lies_before_the_fix_is_affected_and_nothing_else(introduced: str, fixed: str, ours: str) -> None:
    entry = advisory("A", events=[{"fixed": fixed}, {"introduced": introduced}])["affected"][0]
    begins, ends, version = Version(introduced), Version(fixed), Version(ours)
    if begins < ends:
        assert affects(entry, ours) is (begins <= version < ends)


def test_a_zip_file_is_read_as_a_folder_is(tmp_path: Path) -> None:
    archive = tmp_path / "PyPI.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("PYSEC-1.json", json.dumps(advisory("PYSEC-1", modified=NOW - timedelta(days=3))))
    database = read_advisories(archive)
    assert list(database.by_package) == ["jinja2"]
    assert (NOW - database.newest).days == 3


def test_what_holds_no_advisory_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(click.ClickException, match="has no advisory of a Python package"):
        read_advisories(tmp_path)
    with pytest.raises(click.ClickException, match="neither a folder nor a zip file"):
        read_advisories(tmp_path / "notes.json")


@pytest.fixture
def run(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on one lock, a database, and advisories that are accepted."""
    monkeypatch.setattr(advisories, "LOCKS", lock.parent)
    monkeypatch.setattr(advisories, "ACCEPTED", tmp_path / "accepted.yaml")

    def call(*documents: dict[str, Any], accepted: str = "") -> Any:
        (tmp_path / "accepted.yaml").write_text(accepted)
        return CliRunner().invoke(command, ["--database", str(folder_of(tmp_path / "db", *documents))])

    return call


def test_the_command_prints_the_date_of_its_database(run: Any) -> None:
    result = run(advisory("PYSEC-1", "other"))
    assert result.exit_code == 0, result.output
    assert f"database: {NOW:%Y-%m-%d}, 0 days old, 1 packages with advisories" in result.output


def test_the_command_fails_for_what_it_finds(run: Any) -> None:
    result = run(advisory("PYSEC-1"))
    assert result.exit_code == 1
    assert "jinja2 2.7.1: PYSEC-1" in result.output


def test_what_is_accepted_is_shown_with_its_reason_and_does_not_fail(run: Any) -> None:
    result = run(advisory("PYSEC-1", aliases=["CVE-1"]), accepted="CVE-1: never called with text of others\n")
    assert result.exit_code == 0
    assert "accepted: never called with text of others" in result.output


def test_an_old_database_proves_nothing(run: Any) -> None:
    result = run(advisory("PYSEC-1", "other", modified=NOW - timedelta(days=8)))
    assert result.exit_code == 1
    assert "older than 7 days" in result.output

"""Known vulnerabilities of what the locks pin, from advisories in the OSV format.

No database is asked over the network, so a build is repeatable: the agent fetches the export of the ecosystem PyPI and
says where it is. Its date is printed, and one that is too old is refused.
"""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from deploy.image import ROOT

LOCKS = ROOT / "locks"
ACCEPTED = ROOT / "deploy" / "ci" / "accepted-advisories.yaml"


@dataclass(frozen=True)
class Advisories:
    """A database of advisories.

    Attributes
    ----------
    by_package
        Advisories by the package's name, as pip compares names.
    newest
        When the newest of them was changed last: the age of the database.
    """

    by_package: dict[str, list[dict[str, Any]]]
    newest: datetime


@dataclass(frozen=True)
class Finding:
    """A pinned package with a known vulnerability."""

    lock: str
    package: str
    version: str
    advisory: str
    aliases: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        names = ", ".join([self.advisory, *self.aliases])
        return f"{self.lock}: {self.package} {self.version}: {names}; fixed in {', '.join(self.fixed) or 'no version'}"


def read_advisories(place: Path) -> Advisories:
    """Read a database: a folder or a zip file of advisories, a JSON or YAML document each.

    Raises
    ------
    click.ClickException
        There is no advisory of a Python package in it.
    """
    by_package: dict[str, list[dict[str, Any]]] = {}
    newest = datetime.min.replace(tzinfo=UTC)
    for advisory in _documents(place):
        packages = {
            canonicalize_name(affected["package"]["name"])
            for affected in advisory.get("affected", [])
            if affected.get("package", {}).get("ecosystem") == "PyPI"
        }
        if not packages:
            continue
        newest = max(newest, _time(advisory["modified"]))
        if not advisory.get("withdrawn"):
            for package in packages:
                by_package.setdefault(package, []).append(advisory)
    if not by_package:
        raise click.ClickException(f"{place} has no advisory of a Python package.")
    return Advisories(by_package, newest)


def pinned(lock: Path) -> Iterator[tuple[str, str]]:
    """Yield name and version of what a lock pins."""
    for name, version in re.findall(
        r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)", lock.read_text(), re.MULTILINE
    ):
        yield canonicalize_name(name), version


def findings(locks: Iterable[Path], database: Advisories) -> list[Finding]:
    """Return every pinned version that an advisory says is affected, one line for an advisory under several names."""
    found = []
    for lock in locks:
        for package, version in pinned(lock):
            known: set[str] = set()
            for advisory in database.by_package.get(package, []):
                names = {advisory["id"], *advisory.get("aliases", [])}
                entries = [entry for entry in advisory["affected"] if _is_about(entry, package)]
                if known & names or not any(affects(entry, version) for entry in entries):
                    continue
                known |= names
                fixed = sorted({event["fixed"] for entry in entries for event in _events(entry) if "fixed" in event})
                aliases = sorted(names - {advisory["id"]})
                found.append(Finding(lock.name, package, version, advisory["id"], aliases, fixed))
    return found


def affects(entry: dict[str, Any], version: str) -> bool:
    """Tell whether a version is one of an advisory's ``affected``: it is listed, or inside of a range.

    Notes
    -----
    As the OSV schema says it: events in order of version; ``introduced`` begins a range, ``fixed`` ends it before and
    ``last_affected`` after its version.
    """
    try:
        ours = Version(version)
    except InvalidVersion:
        return version in entry.get("versions", [])
    if any(_version(listed) == ours for listed in entry.get("versions", [])):
        return True
    inside = False
    for kind, at in sorted(
        ((kind, _version(at)) for event in _events(entry) for kind, at in event.items()), key=_place
    ):
        if (
            (kind == "introduced" and at <= ours)
            or (kind == "fixed" and at <= ours)
            or (kind == "last_affected" and at < ours)
        ):
            inside = kind == "introduced"
    return inside


def _place(event: tuple[str, Version]) -> tuple[Version, bool]:
    return event[1], event[0] == "introduced"


def _events(entry: dict[str, Any]) -> Iterator[dict[str, str]]:
    for span in entry.get("ranges", []):
        if span["type"] == "ECOSYSTEM":
            yield from span["events"]


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")


def _is_about(entry: dict[str, Any], package: str) -> bool:
    about = entry.get("package", {})
    return about.get("ecosystem") == "PyPI" and canonicalize_name(about["name"]) == package


def _documents(place: Path) -> Iterator[dict[str, Any]]:
    if place.is_dir():
        texts: Iterable[bytes] = (path.read_bytes() for path in place.rglob("*") if path.suffix in {".json", ".yaml"})
    elif zipfile.is_zipfile(place):
        archive = zipfile.ZipFile(place)
        texts = (archive.read(name) for name in archive.namelist() if name.endswith(".json"))
    else:
        raise click.ClickException(f"{place} is neither a folder nor a zip file of advisories.")
    for text in texts:
        document = json.loads(text) if text.lstrip().startswith(b"{") else yaml.load(text, yaml.CSafeLoader)
        if isinstance(document, dict) and "id" in document and "modified" in document:
            yield document


def _time(value: object) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def accepted(file: Path) -> dict[str, str]:
    """Return the advisories that we live with, each with the reason."""
    return {str(name): str(reason) for name, reason in (yaml.safe_load(file.read_text()) or {}).items()}


@click.command("vulnerabilities")
@click.option(
    "--database",
    envvar="WAFER_ADVISORIES",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder or zip file of advisories in OSV's format.",
)
@click.option("--max-age", default=7, show_default=True, metavar="DAYS", help="Refuse a database older than this.")
def command(database: Path, max_age: int) -> None:
    """Look for known vulnerabilities of what the files in locks/ pin.

    An advisory that does not concern us is named in deploy/ci/accepted-advisories.yaml, with the reason.
    """
    known = read_advisories(database)
    age = datetime.now(UTC) - known.newest
    click.echo(
        f"database: {known.newest:%Y-%m-%d}, {age.days} days old, {len(known.by_package)} packages with advisories"
    )
    if age > timedelta(days=max_age):
        raise click.ClickException(f"The database is older than {max_age} days: fetch a new one, or raise --max-age.")
    reasons = accepted(ACCEPTED)
    open_ = []
    for finding in findings(sorted(LOCKS.glob("*.txt")), known):
        reason = next((reasons[name] for name in (finding.advisory, *finding.aliases) if name in reasons), None)
        click.echo(f"{finding}{f'; accepted: {reason}' if reason else ''}")
        if reason is None:
            open_.append(finding)
    if open_:
        raise click.ClickException(f"{len(open_)} known vulnerabilities: take the fixed versions by `make lock`.")
    click.echo("No known vulnerability that is not accepted.")

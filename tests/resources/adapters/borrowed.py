"""What an adapter borrows, to be found missing by name: what it is for, and how it is called."""

import ast
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Borrowed:
    """A name of another project.

    Parameters
    ----------
    place
        Module and name, with a colon between them; members follow their class after a dot.
    use
        What it is for.
    arguments, keywords
        What it is called with, by us or, where we override it, by the other project; None if it is not called.
    """

    place: str
    use: str
    arguments: tuple[Any, ...] | None = None
    keywords: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.place.replace(":", ".")


def require(borrowed: Borrowed, project: str, see: str) -> None:
    """Fail where a name is gone or takes other arguments, and say what that breaks."""
    where = f"{project} {version(project)}"
    about = f"{borrowed} is used for {borrowed.use}; see {see}"
    found = _found(borrowed.place)
    if found is None:
        pytest.fail(f"{where} has no {borrowed} any more: {about}", pytrace=False)
    unlike = None if borrowed.arguments is None else _unlike(found, borrowed.arguments, borrowed.keywords)
    if unlike:
        pytest.fail(f"{where} does not take what it is given any more, {unlike}: {about}", pytrace=False)


def _found(place: str) -> Any:
    module, _, path = place.partition(":")
    try:
        found = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return None
    return found


def _unlike(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str | None:
    """Return why a function does not take these arguments."""
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError as error:
        return str(error)
    return None


def private_imports(adapter: str, *projects: str) -> set[str]:
    """Return what an adapter imports of modules whose names start so."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / adapter).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(projects):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported(names: Iterable[Borrowed]) -> set[str]:
    """Return what one imports for these names: their module, or the name or its class from there."""
    places = [each.place.partition(":") for each in names]
    return {module for module, _, _ in places} | {f"{module}.{path.partition('.')[0]}" for module, _, path in places}

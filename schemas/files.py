"""The files of a line, as models: YAML and JSON are read as they are written, or refused with one error.

Belongs here: what holds for any of these files. What they say is `lines`.
"""

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

MAX_DEPTH = 20  # of a declaration; what is deeper is no declaration

_Model = TypeVar("_Model", bound=BaseModel)


class LineError(ValueError):
    """A line that cannot be used.

    Attributes
    ----------
    file : str
        The file at fault, below the folder of the lines.
    key : str
        The key at fault.
    found : str
        What it holds, shortened.
    remedy : str
        What to do.
    """

    code = "line_invalid"

    def __init__(self, key: str, found: object, remedy: str, file: str = "") -> None:
        self.key = key if key.isprintable() else ascii(key)[1:-1]
        self.found, self.remedy, self.file = _shortened(found), remedy, file
        where = f"{file}: {self.key}" if file else self.key
        super().__init__(f"{where}: found {self.found}. {remedy}")

    @property
    def line(self) -> str:
        """The name of the line's folder; empty where the error is not about one."""
        return self.file.partition("/")[0] if "/" in self.file else ""

    def at(self, file: str) -> "LineError":
        """Return this error of a file."""
        return LineError(self.key, self.found, self.remedy, file)


def _shortened(found: object) -> str:
    text = found if isinstance(found, str) and found.isprintable() else repr(found)
    return text if len(text) <= 120 else f"{text[:117]}..."


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except LineError as error:
        raise error.at(f"{path.parent.name}/{path.name}") from None


def read_file(model: type[_Model], parse: Callable[[str], object], path: Path, remedy: str) -> _Model:
    """Read a file into a model.

    Parameters
    ----------
    model : type of BaseModel
        What the file holds.
    parse : callable
        Returns what the text says: `parse_json` or `parse_yaml`.
    path : Path
        Of the file.
    remedy : str
        What to write instead of what cannot be parsed.

    Returns
    -------
    BaseModel
        Of the type given.

    Raises
    ------
    LineError
        If the file cannot be read, is malformed, or does not hold what the model needs; names the first key at fault.
    """
    with errors_of(path):
        try:
            content = parse(path.read_bytes().decode())
        except LineError:
            raise
        except OSError as unreadable:
            found = unreadable.strerror or str(unreadable)
            raise LineError("the file", found, f"Give a {path.name} that can be read.") from None
        except (ValueError, RecursionError, yaml.YAMLError) as malformed:
            raise LineError("the file", " ".join(str(malformed).split()) or repr(malformed), remedy) from None
        if not isinstance(content, dict):
            raise LineError("the file", content, remedy)
        try:
            return model.model_validate(content)
        except ValidationError as invalid:
            raise first_error(model, invalid) from None


def first_error(model: type[BaseModel], invalid: ValidationError) -> LineError:
    """Say the first thing that is wrong with a model's input."""
    problem = invalid.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    error = problem.get("ctx", {}).get("error")
    if isinstance(error, LineError):
        return LineError(".".join(filter(None, (key, error.key))) or "the file", error.found, error.remedy)
    found = "nothing" if problem["type"] == "missing" else repr(problem["input"])
    remedy = f"{problem['msg']}."
    if problem["type"] == "extra_forbidden":
        unknown = str(problem["loc"][-1])
        moved = getattr(model, "MOVED", {})
        similar = difflib.get_close_matches(unknown, _known_keys(model), n=1)
        remedy = "Remove it: there is no such key."
        if unknown in moved:
            remedy = f"Remove it: it is {moved[unknown]} now."
        elif similar:
            remedy = f"Remove it, or write {similar[0]}: there is no such key."
    return LineError(key or "the file", found, remedy)


def _known_keys(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    return sorted({key for part in (schema, *schema.get("$defs", {}).values()) for key in part.get("properties", {})})


def parse_json(text: str) -> object:
    """Return what JSON says; raise a `LineError` for a key that is repeated, a ValueError for what is no JSON."""
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object; JSON itself silently keeps the last of two equal keys."""
    content = dict(pairs)
    if len(content) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise LineError(key, f"{times} times in one object", "Keep one.")
    return content


def parse_yaml(text: str) -> object:
    """Return what YAML says, with every scalar as it is written, so that neither `no` nor `+1` becomes another thing.

    A key with nothing after it is left out. Raises a `LineError` for keys that are repeated, aliases, tags and depth,
    and a `yaml.YAMLError` for what is no YAML.
    """
    # Events, because they come one by one: nothing is nested or repeated before it can be refused.
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    content: object = None
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if content is not None:
                raise LineError("the file", "several documents", "Keep one.")
            content = _yaml_value(next(events), events, ())
    return content


def _yaml_value(event: yaml.Event, events: Iterator[yaml.Event], path: tuple[str, ...]) -> object:
    """Return the value that an event begins."""
    key = ".".join(path) or "the file"
    if len(path) > MAX_DEPTH:
        raise LineError(".".join(path[:3]), f"more than {MAX_DEPTH} levels", "Write fewer.")
    if isinstance(event, yaml.AliasEvent):
        raise LineError(key, f"the alias *{event.anchor}", "Write the value itself.")
    if (tag := getattr(event, "tag", None)) not in (None, "!"):
        raise LineError(key, f"the tag {tag}", "Write the value without a tag.")
    if isinstance(event, yaml.ScalarEvent):
        return str(event.value)
    if isinstance(event, yaml.MappingStartEvent):
        return _yaml_mapping(events, path)
    items: list[object] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(_yaml_value(event, events, (*path, str(len(items)))))
    return items


def _yaml_mapping(events: Iterator[yaml.Event], path: tuple[str, ...]) -> dict[str, object]:
    content: dict[str, object] = {}
    times: Counter[str] = Counter()
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise LineError(".".join(path) or "the file", "a key that is no text", "Write text before the colon.")
        name = str(event.value)
        times[name] += 1
        event = next(events)
        # A key with nothing after it is as good as none.
        if not (isinstance(event, yaml.ScalarEvent) and event.implicit[0] and event.value in ("", "~", "null")):
            content[name] = _yaml_value(event, events, (*path, name))
    for name, number in times.items():
        if number > 1:
            raise LineError(".".join((*path, name)), f"{number} times", "Keep one.")
    return content

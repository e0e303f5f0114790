"""Making the folder of a line. What may stand in it is in `schemas.lines`, how it is guessed in `domain.inference`."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from schemas.lines import DECLARATION, FEEDS, Line, read_line
from wafer_assets.domain.inference import decisions, infer_line, render_line_yaml, render_schema_json


@dataclass(frozen=True, slots=True)
class NewLine:
    """What was inferred.

    Attributes
    ----------
    labelled
        Paths of the sample files that have labels.
    decisions
        What a person must decide.
    """

    labelled: tuple[str, ...]
    decisions: tuple[str, ...]


def new_line(folder: Path, name: str, files: Sequence[Path]) -> tuple[Line, NewLine]:
    """Make the folder of a line from sample files, whole or not at all.

    Parameters
    ----------
    folder
        Of lines; it is made where it is not there.
    name
        Of the line.
    files
        Samples of both feeds.

    Raises
    ------
    InferenceError
        Nothing can be inferred from them.
    LineError
        What was inferred does not hold together.
    FileExistsError
        The line is there.
    """
    inferred = infer_line(name, {str(file): file.read_bytes() for file in files})
    folder.mkdir(parents=True, exist_ok=True)
    hidden = Path(mkdtemp(dir=folder, prefix="."))  # hidden folders are no lines
    made = hidden / name
    try:
        made.mkdir()
        (made / DECLARATION).write_text(render_line_yaml(inferred), encoding="utf-8")
        for feed in FEEDS:
            (made / f"schema_{feed}.json").write_text(render_schema_json(inferred, feed), encoding="utf-8")
        line = read_line(made)
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is there already.")
        made.rename(folder / name)
    finally:
        shutil.rmtree(hidden)
    return line, NewLine(tuple(inferred.labelled), tuple(decisions(inferred)))

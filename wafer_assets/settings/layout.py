"""Which layout the state folder has, so that no version of the platform works on a folder that it does not know.

The folder says so in a file of its own. What is in the folder is the business of whoever keeps it there; each change
after which an earlier version could not use the folder any more takes the next number and an entry in `MOVES`.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

LAYOUT = 1
"""The layout that this version of the platform works with."""

LAYOUT_FILE = "layout"
"""Name of the file in the state folder that holds the number of its layout."""

MOVES: dict[int, Callable[[Path], None]] = {}
"""How a folder becomes one of the next layout, by the number of its own; done again if it was cut short."""

# What the first start left in a folder before there were marks.
_UNMARKED = ("services.lock", "dagster", "training.lock")


class StateLayoutError(RuntimeError):
    """The state folder has another layout than this version of the platform works with, or does not say which."""

    code = "state_layout"


def require_layout(state_dir: Path) -> None:
    """Require that the state folder may be used, if there is one; one of an earlier layout is moved if that is known.

    Raises
    ------
    StateLayoutError
        It may not; nothing in it has changed.
    """
    found = _layout_of(state_dir)
    if found is None or found == LAYOUT:
        return
    moves = [MOVES.get(number) for number in range(found, LAYOUT)]
    if not moves or None in moves:
        raise StateLayoutError(
            f"The state folder {state_dir} has layout {found}, and this version of the platform works with layout "
            f"{LAYOUT}. Use the version of the platform that wrote it, or set WAFER_STATE_DIR to another folder."
        )
    for number, move in enumerate(filter(None, moves), found + 1):
        move(state_dir)
        _mark(state_dir, number)


def make_ready(state_dir: Path) -> None:
    """Create the state folder unless it is there, and have it say its layout.

    Raises
    ------
    StateLayoutError
        It is there with another layout; nothing in it has changed.
    OSError
        It cannot be written.
    """
    require_layout(state_dir)
    state_dir.mkdir(parents=True, exist_ok=True)
    if not (state_dir / LAYOUT_FILE).exists():
        _mark(state_dir, LAYOUT)


def _layout_of(state_dir: Path) -> int | None:
    """Return the layout of a folder, which without a mark is the first; None where there is no state yet."""
    content = b""
    try:
        content = (state_dir / LAYOUT_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if state_dir.exists() and not state_dir.is_dir():
            raise StateLayoutError(
                f"{state_dir} is a file, where the state folder should be. Set WAFER_STATE_DIR to a folder."
            ) from None
        return 1 if any((state_dir / name).exists() for name in _UNMARKED) else None
    except IsADirectoryError:
        content = b"a folder"
    if not re.fullmatch(rb"[1-9][0-9]{0,5}\n?", content):
        raise StateLayoutError(
            f"The state folder {state_dir} is marked wrongly: its file {LAYOUT_FILE} holds {content[:20]!r} in place "
            "of the number of its layout. Write that number into it, which is 1 unless a later version of the "
            "platform wrote the folder, or set WAFER_STATE_DIR to another folder."
        )
    return int(content)


def _mark(state_dir: Path, layout: int) -> None:
    # Whole or not at all, for another process may read it at the same time.
    with NamedTemporaryFile("w", dir=state_dir, prefix=f"{LAYOUT_FILE}.", delete=False) as file:
        file.write(f"{layout}\n")
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(state_dir / LAYOUT_FILE)

"""Which layout the state folder has, so that no version of the platform works on a folder that it does not know.

The folder says so in a file of its own. What is in the folder is the business of whoever keeps it there; each change
after which an earlier version could not use the folder any more takes the next number. How a folder becomes one of the
latest layout is `wafer_assets.operations.upgrade`'s, for it takes running services.
"""

import os
import re
from pathlib import Path
from tempfile import NamedTemporaryFile

LAYOUT = 2
"""The layout that this version of the platform works with."""

LAYOUT_FILE = "layout"
"""Name of the file in the state folder that holds the number of its layout."""

UPGRADE_FILE = "upgrade"
"""Name of the file in the state folder that is there while the folder is brought to the latest layout."""

# What the first start left in a folder before there were marks.
_UNMARKED = ("services.lock", "dagster", "training.lock")


class StateLayoutError(RuntimeError):
    """The state folder has another layout than this version of the platform works with, or does not say which."""

    code = "state_layout"


def require_layout(state_dir: Path) -> None:
    """Require that the state folder may be used, if there is one.

    Raises
    ------
    StateLayoutError
        It may not; nothing in it has changed.
    """
    found = _layout_of(state_dir)
    if found is None or found == LAYOUT:
        return
    if found < LAYOUT:
        remedy = "`wafer services upgrade` brings it up to date, or set WAFER_STATE_DIR to another folder."
    else:
        remedy = "Use the version of the platform that wrote it, or set WAFER_STATE_DIR to another folder."
    raise StateLayoutError(
        f"The state folder {state_dir} has layout {found}, and this version of the platform works with layout "
        f"{LAYOUT}. {remedy}"
    )


def require_upgraded(state_dir: Path) -> None:
    """Require that no upgrade of the state folder was cut short.

    Raises
    ------
    StateLayoutError
        One was.
    """
    if (state_dir / UPGRADE_FILE).exists():
        raise StateLayoutError(
            f"The upgrade of the state folder {state_dir} was cut short. `wafer services upgrade` goes on with it."
        )


def begin_upgrade(state_dir: Path) -> bool:
    """Mark a folder of an earlier layout as one that is being upgraded; return whether there is anything to do.

    Raises
    ------
    StateLayoutError
        The folder is of a later layout.
    """
    found = _layout_of(state_dir)
    if found is not None and found < LAYOUT:
        (state_dir / UPGRADE_FILE).touch()
        _mark(state_dir, LAYOUT)
    require_layout(state_dir)
    return (state_dir / UPGRADE_FILE).exists()


def end_upgrade(state_dir: Path) -> None:
    """Say that the folder is one of the latest layout now."""
    (state_dir / UPGRADE_FILE).unlink(missing_ok=True)


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

"""The state folder says which layout it has, and nobody touches one of another layout."""

from pathlib import Path

import pytest

from resources.local_services import LocalServices, ServiceError
from wafer_assets.cli.instance import dagster_home
from wafer_assets.settings import Settings, load_settings
from wafer_assets.settings.layout import (
    LAYOUT,
    LAYOUT_FILE,
    StateLayoutError,
    begin_upgrade,
    end_upgrade,
    make_ready,
    require_layout,
    require_upgraded,
)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


def contents(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Return of everything in a folder, itself included, its mode, when it was changed, and what it holds."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        about = path.stat()
        found[path] = (about.st_mode, about.st_mtime_ns, b"" if path.is_dir() else path.read_bytes())
    return found


def written_by(version: str, state_dir: Path) -> None:
    """Make a folder as some version of the platform leaves it."""
    (state_dir / "dagster").mkdir(parents=True)
    (state_dir / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (state_dir / "services.lock").write_text("1")
    (state_dir / LAYOUT_FILE).write_text(version)


def test_a_new_folder_gets_the_mark_of_this_version(state_dir: Path) -> None:
    make_ready(state_dir)
    assert [path.name for path in state_dir.iterdir()] == [LAYOUT_FILE]
    assert (state_dir / LAYOUT_FILE).read_text() == f"{LAYOUT}\n"
    before = contents(state_dir)
    make_ready(state_dir)
    assert contents(state_dir) == before


def test_asking_for_the_layout_makes_no_folder(state_dir: Path) -> None:
    require_layout(state_dir)
    assert not state_dir.exists()


def test_the_home_of_dagster_and_the_services_mark_their_folder(state_dir: Path, shared_stores: Settings) -> None:
    dagster_home(Settings(state_dir=state_dir))
    for folder in (state_dir, shared_stores.state_dir):
        assert (folder / LAYOUT_FILE).read_text() == f"{LAYOUT}\n"


def test_an_unmarked_folder_is_not_taken_for_one_of_this_version(state_dir: Path) -> None:
    written_by("1", state_dir)
    (state_dir / LAYOUT_FILE).unlink()
    before = contents(state_dir)
    with pytest.raises(StateLayoutError, match="has layout 1, and this version of the platform works with layout 2"):
        make_ready(state_dir)
    assert contents(state_dir) == before


@pytest.mark.parametrize(
    ("mark", "remedy"),
    [
        ("1\n", "`wafer services upgrade` brings it up to date"),
        ("3\n", "Use the version of the platform that wrote it"),
    ],
)
def test_an_older_and_a_newer_folder_are_named_with_the_remedy_and_left_alone(
    state_dir: Path, mark: str, remedy: str
) -> None:
    written_by(mark, state_dir)
    settings = Settings(state_dir=state_dir)
    before = contents(state_dir)
    for use in (load_settings, lambda: LocalServices(settings), lambda: dagster_home(settings)):
        with pytest.raises(StateLayoutError) as error:
            use()
        assert error.value.code == "state_layout"
        assert str(error.value) == (
            f"The state folder {state_dir} has layout {mark.strip()}, and this version of the platform works with "
            f"layout {LAYOUT}. {remedy}, or set WAFER_STATE_DIR to another folder."
        )
    assert contents(state_dir) == before


@pytest.mark.parametrize("mark", ["", "one\n", "0", "-1", "1.5", "1\n2\n", "9" * 5_000, "\x00"])
def test_a_damaged_mark_is_named_with_the_remedy(state_dir: Path, mark: str) -> None:
    written_by(mark, state_dir)
    before = contents(state_dir)
    with pytest.raises(StateLayoutError, match=r"its file layout holds b'.*Write that number into it") as error:
        make_ready(state_dir)
    assert str(state_dir) in str(error.value)
    assert "WAFER_STATE_DIR" in str(error.value)
    assert "\n" not in str(error.value)
    assert contents(state_dir) == before


def test_a_folder_in_place_of_the_mark_is_a_damaged_mark(state_dir: Path) -> None:
    (state_dir / LAYOUT_FILE).mkdir(parents=True)
    with pytest.raises(StateLayoutError, match="is marked wrongly"):
        require_layout(state_dir)


def test_an_upgrade_begins_with_a_mark_and_ends_without(state_dir: Path) -> None:
    assert not begin_upgrade(state_dir), "there is nothing yet"
    written_by("1\n", state_dir)
    assert begin_upgrade(state_dir)
    require_layout(state_dir)
    with pytest.raises(StateLayoutError, match="`wafer services upgrade` goes on with it"):
        require_upgraded(state_dir)
    assert begin_upgrade(state_dir), "it was cut short"
    end_upgrade(state_dir)
    require_upgraded(state_dir)
    assert not begin_upgrade(state_dir)


def test_production_has_no_state_folder_to_ask(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_by("7\n", state_dir)
    monkeypatch.setenv("WAFER_ENVIRONMENT", "production")
    assert load_settings().state_dir == state_dir


def test_a_place_where_no_folder_can_be_is_no_layout(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError) as error:
        LocalServices(Settings(state_dir=tmp_path / "file" / "state")).up()
    assert error.value.code == "state_not_writable"

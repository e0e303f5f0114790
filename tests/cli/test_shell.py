"""What every command does as a process: how it ends, and how it says what went wrong."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from tests.shell import WAFER, call
from tests.waiting import wait_until
from wafer_assets.cli.instance import open_instance
from wafer_assets.cli.shell import Shell
from wafer_assets.settings import Settings

HEAVY = {"dagster", "boto3", "botocore", "pymongo", "sklearn", "mlflow", "pandas", "numpy", "scipy", "xgboost"}


@pytest.mark.parametrize(
    ("arguments", "meant"), [(["modles"], "models"), (["services", "stauts"], "status"), (["serv"], "serve")]
)
def test_a_typo_is_answered_with_what_was_meant(arguments: list[str], meant: str) -> None:
    mistaken = call(*arguments)
    assert mistaken.exit_code == 2
    assert repr(meant) in mistaken.output


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["services", "status"]], ids=" ".join)
def test_help_and_status_import_no_heavy_library(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from wafer_assets.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('loaded', *{name.partition('.')[0] for name in sys.modules})"
    )
    shown = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    loaded = shown.stdout.splitlines()[-1].split()
    assert loaded[0] == "loaded"
    assert not HEAVY & set(loaded)


@pytest.mark.usefixtures("folder")
def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAFER_PORTS__S3", "9")
    monkeypatch.setenv("WAFER_S3__ACCESS_KEY_ID", "not-for-the-terminal")
    refused = call("services", "status")
    assert refused.exit_code == 1
    assert "WAFER_PORTS__S3: " in refused.output
    assert "WAFER_S3: " in refused.output
    assert "not-for-the-terminal" not in refused.output


def test_a_server_that_does_not_answer_is_named_with_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAFER_S3__ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"WAFER_S3__{name}", "x")
    (folder / "x.csv").write_text("x")
    refused = call("upload", "x.csv")
    assert refused.exit_code == 1
    assert "S3 at 127.0.0.1:1 does not answer" in refused.output
    assert "wafer services status" in refused.output


def test_an_error_holds_nothing_that_a_terminal_would_obey() -> None:
    @click.group(cls=Shell)
    def shell() -> None:
        pass

    @shell.command()
    def fail() -> None:
        raise click.ClickException("[/x] \x1b[2J\nsecond line")

    assert "Error: [/x] \\x1b[2J\nsecond line\n" in CliRunner().invoke(shell, ["fail"]).output


@pytest.mark.usefixtures("folder")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [WAFER, "services", "status"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, remarks = process.communicate(timeout=60)
    assert process.returncode == 1
    assert remarks == ""


def test_an_interrupt_ends_a_command_without_a_traceback(folder: Path) -> None:
    folder.joinpath("out").mkdir()
    command = [WAFER, "simulate", "--out", "out", "--batches", "5000", "--wafers", "2000"]
    with subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(Path("out").iterdir()))
        process.send_signal(signal.SIGTERM)
        _, remarks = process.communicate(timeout=30)
    assert process.returncode == 1
    assert remarks.rstrip().endswith("Aborted!")
    assert "Traceback" not in remarks


def failing_with(fail: Callable[[], object]) -> str:
    """Return what the shell says of a command that fails so, which is a line."""

    @click.group(cls=Shell)
    def shell() -> None:
        pass

    shell.command("fail")(fail)
    shown = CliRunner().invoke(shell, ["fail"])
    assert shown.exit_code == 1
    assert len(shown.output.splitlines()) == 1, shown.output
    return shown.output


def test_a_damaged_database_is_said_in_a_line_and_the_remedy_works() -> None:
    settings = Settings()
    with open_instance(settings):
        pass
    home = settings.state_dir / "dagster"
    for database in home.rglob("*.db"):
        database.write_bytes(b"garbage" * 1_000)

    def fail() -> None:
        with open_instance(settings) as instance:
            instance.get_runs()

    said = failing_with(fail)
    assert f"The state folder {settings.state_dir} cannot be used: a database of Dagster's history" in said
    assert "move `dagster` away" in said
    home.rename(home.with_name("dagster-damaged"))
    with open_instance(settings) as instance:
        assert list(instance.get_runs()) == []


def test_a_full_disk_in_the_middle_is_said_without_the_statement(tmp_path: Path) -> None:
    def fail() -> None:
        engine = create_engine(f"sqlite:///{tmp_path / 'full.db'}")
        with engine.begin() as connection:
            connection.execute(text("PRAGMA max_page_count = 2"))  # what SQLite calls a full disk
            connection.execute(text("CREATE TABLE things (thing)"))
            connection.execute(text("INSERT INTO things VALUES (:thing)"), {"thing": "x" * 100_000})

    said = failing_with(fail)
    assert "its disk is full. Make room and do the same again" in said
    assert "INSERT" not in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_disk_refuses_is_said_with_the_file(number: int) -> None:
    file = Settings().state_dir / "file"

    def fail() -> None:
        raise OSError(number, os.strerror(number), str(file))

    said = failing_with(fail)
    assert "The state folder " in said
    assert "disk is full" in said if number == errno.ENOSPC else f"{file}: " in said

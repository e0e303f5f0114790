"""What every command does as a process: how it ends, and how it says what went wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.shell import WAFER, call
from tests.waiting import wait_until
from wafer_assets.cli.shell import Shell

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

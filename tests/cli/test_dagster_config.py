"""The laptop's `dagster.yaml`: an untouched one follows the platform, an edited one is kept and compared."""

import hashlib
from pathlib import Path

import dagster as dg
import pytest

from wafer_assets.cli import dagster_config
from wafer_assets.cli.dagster_config import DAGSTER_YAML, bring_up_to_date, differences


def test_a_file_that_nobody_edited_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, old = tmp_path / "dagster.yaml", "telemetry:\n  enabled: false\n"
    bring_up_to_date(path)
    assert path.read_text() == DAGSTER_YAML
    monkeypatch.setattr(dagster_config, "_FORMER", {hashlib.sha256(old.encode()).hexdigest()})
    path.write_text(old)
    bring_up_to_date(path)
    assert path.read_text() == DAGSTER_YAML
    assert differences(path) == []


def test_an_edited_file_is_kept_and_every_difference_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dagster.yaml"
    edited = DAGSTER_YAML.replace("max_retries: 2", "max_retries: 5").replace("max_runtime_seconds: 7200", "")
    path.write_text(edited + "python_logs:\n  python_log_level: INFO\n")
    bring_up_to_date(path)
    assert path.read_text().startswith(edited)
    assert differences(path) == [
        "run_monitoring.max_runtime_seconds is not set, and the platform's is 7200",
        "run_retries.max_retries is 5, and the platform's is 2",
        "python_logs.python_log_level is INFO, and the platform's is not set",
    ]
    path.write_text("a: [")
    assert differences(path)[0].startswith("it is no YAML")


def test_the_present_text_is_none_of_the_former_ones_and_dagster_takes_it(tmp_path: Path) -> None:
    assert hashlib.sha256(DAGSTER_YAML.encode()).hexdigest() not in dagster_config._FORMER
    bring_up_to_date(tmp_path / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_max_retries == 2

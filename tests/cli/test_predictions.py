"""`wafer predict`, `score`, `report` and `trace` on real services, as a process engineer types them."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from resources.mlflow import Tracking
from resources.predictions import PredictionStore
from schemas.loader import load_schema
from tests.assets.test_predictions import Line, bundle_bytes
from tests.conftest import use
from wafer_assets.cli import main
from wafer_assets.cli.instance import open_instance
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.settings import Settings


@pytest.fixture
def environment(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An environment that points at running services."""
    use(platform_settings, monkeypatch)
    return platform_settings


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    batches = simulate_batches(2, 10, line="prediction", schema=load_schema("prediction"), seed=4, first_wafer=401)
    found = []
    for batch in batches:
        found.append(tmp_path / batch.name)
        found[-1].write_bytes(batch.content)
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def promote_one(settings: Settings) -> None:
    with open_instance(settings) as instance:
        line = Line(settings, instance)
        line.promote(line.register(bundle_bytes(0)))


def test_predict_without_a_champion_says_what_to_do(environment: Settings, files: list[Path]) -> None:
    assert Tracking(environment).aliases() == {}
    result = run("predict", str(files[0]))
    assert result.exit_code == 1
    assert "wafer train" in result.output


def test_files_are_scored_without_dagster_and_bad_ones_named(
    environment: Settings, files: list[Path], tmp_path: Path
) -> None:
    promote_one(environment)
    bad = tmp_path / "wafer_31022020_250000.csv"
    bad.write_bytes(files[0].read_bytes())
    result = run("predict", *map(str, [*files, bad]), "--out", str(tmp_path / "scored"))
    assert result.exit_code == 1
    assert "1 of 3 files break the contract" in result.output
    for file in files:
        assert len(pd.read_csv(tmp_path / "scored" / file.name)) == 10
        assert b"<html" in (tmp_path / "scored" / f"{file.stem}.html").read_bytes()

    printed = subprocess.run(
        [str(Path(sys.executable).with_name("wafer")), "predict", str(files[0])],
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout == (tmp_path / "scored" / files[0].name).read_text()


def test_landed_files_are_scored_reported_and_traced(environment: Settings, files: list[Path], tmp_path: Path) -> None:
    promote_one(environment)
    assert run("upload", "--line", "prediction", *map(str, files)).exit_code == 0
    assert run("ingest", "--line", "prediction").exit_code == 0
    scored = run("score")
    assert scored.exit_code == 0, scored.output
    assert set(PredictionStore(environment).scored()) == {file.name for file in files}
    assert "No batch waits" in run("score").output

    page = tmp_path / "page.html"
    assert run("report", files[0].name, "--out", str(page)).exit_code == 0
    assert files[0].name in page.read_text()
    traced = run("trace", files[0].name)
    assert traced.exit_code == 0
    assert "version 1" in traced.output
    assert "It is needed." in traced.output
    unknown = run("trace", "nothing")
    assert unknown.exit_code == 1
    assert "neither a scored nor an accepted" in unknown.output

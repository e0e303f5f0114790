"""`wafer predict`, `score`, `report` and `trace` on real services, as a process engineer types them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from resources.mlflow import LineTracking
from resources.predictions import PredictionStore
from schemas.loader import load_schema
from tests.assets.test_predictions import Feed, bundle_bytes
from tests.shell import call as run
from tests.shell import require_documented, wafer
from wafer_assets.cli.instance import open_instance
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.settings import Settings


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    batches = simulate_batches(2, 10, feed="prediction", schema=load_schema("prediction"), seed=4, first_wafer=401)
    paths = []
    for batch in batches:
        paths.append(tmp_path / batch.name)
        paths[-1].write_bytes(batch.content)
    return paths


def promote_one(settings: Settings) -> None:
    with open_instance(settings) as instance:
        feed = Feed(settings, instance)
        feed.promote(feed.register(bundle_bytes(0)))


@pytest.mark.usefixtures("platform")
def test_where_no_batch_is_known_there_is_none_to_score_again() -> None:
    assert "knows no batch yet" in run("score", "--all").output


def test_predict_without_a_champion_says_what_to_do(platform: Settings, files: list[Path]) -> None:
    assert LineTracking(platform, "secom").aliases() == {}
    result = run("predict", str(files[0]))
    assert result.exit_code == 1
    assert "wafer train" in result.output


def test_files_are_scored_without_dagster_and_bad_ones_named(
    platform: Settings, files: list[Path], tmp_path: Path
) -> None:
    promote_one(platform)
    bad = tmp_path / "wafer_31022020_250000.csv"
    bad.write_bytes(files[0].read_bytes())
    result = run("predict", *map(str, [*files, bad]), "--out", str(tmp_path / "scored"))
    assert result.exit_code == 1
    assert "1 of 3 files break the contract" in result.output
    for file in files:
        assert len(pd.read_csv(tmp_path / "scored" / file.name)) == 10
        assert b"<html" in (tmp_path / "scored" / f"{file.stem}.html").read_bytes()

    printed = wafer(platform.state_dir, "predict", files[0])
    assert printed.stdout == (tmp_path / "scored" / files[0].name).read_text()


@pytest.mark.usefixtures("platform")
def test_a_training_batch_is_followed_to_what_it_went_into(tmp_path: Path) -> None:
    run("simulate", "--out", tmp_path / "batches", "--batches", "1", "--wafers", "3", "--no-bad")
    (file,) = (tmp_path / "batches").iterdir()
    run("upload", file)
    run("ingest")
    assert "bundles  none yet" in run("trace", file.name).stdout
    document = json.loads(run("trace", file.name, "--json").stdout)
    require_documented(document, "trace")
    (influence,) = document["influences"]
    assert (document["predictions"], influence["bundle_versions"], influence["scored"]) == ([], [], [])
    assert (influence["batch"], influence["file"]["key"]) == (file.name, f"secom/training/{file.name}")


def test_landed_files_are_scored_reported_and_traced(platform: Settings, files: list[Path], tmp_path: Path) -> None:
    promote_one(platform)
    assert run("upload", "--feed", "prediction", *map(str, files)).exit_code == 0
    ingested = run("ingest", "--feed", "prediction")
    assert ingested.exit_code == 0, ingested.output
    scored = run("score")
    assert scored.exit_code == 0, scored.output
    assert set(PredictionStore(platform).scored("secom")) == {file.name for file in files}
    assert "No batch waits" in run("score").output
    assert (run("score", "--all").exit_code, run("score", "--from", "x.csv").exit_code) == (0, 2)

    page = tmp_path / "page.html"
    assert run("report", files[0].name, "--out", str(page)).exit_code == 0
    assert files[0].name in page.read_text()
    traced = run("trace", files[0].name)
    assert traced.exit_code == 0
    assert "version 1" in traced.output
    assert "It is needed." in traced.output
    assert all(len(line) < 1_000 for line in traced.stdout.splitlines())
    document = json.loads(run("trace", files[0].name, "--json").stdout)
    require_documented(document, "trace")
    (prediction,) = document["predictions"]
    assert document["influences"] == []
    assert (prediction["batch"], prediction["bundle_version"]) == (files[0].name, 1)
    assert prediction["file"]["key"] == f"secom/prediction/{files[0].name}"
    assert prediction["promotion"]["reason"] == "It is needed."
    assert prediction["scored_at"].endswith("Z")
    unknown = run("trace", "nothing")
    assert unknown.exit_code == 1
    assert "neither a scored nor an accepted" in unknown.output


def test_the_help_names_the_ids_that_a_spreadsheet_changes() -> None:
    told = run("predict", "--help").output
    assert [wafer for wafer in ("1E5", "00012", "2020-01-02") if wafer not in told] == []

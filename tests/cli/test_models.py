"""`wafer models` on real services: what it shows, changes and refuses."""

import json
from uuid import uuid4

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from resources.mlflow import CHAMPION, OUT_OF_FOLD, BundleNotFoundError, LineTracking
from resources.promotions import PromotionLog
from tests.assets.test_predictions import bundle_bytes
from tests.conftest import use
from tests.domain.test_promotion import results
from tests.shell import require_documented
from wafer_assets.cli.models import models
from wafer_assets.operations.champion import PromotionRefusedError
from wafer_assets.settings import Settings


@pytest.fixture
def wafer(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A shell whose environment points at running services."""
    use(platform_settings, monkeypatch)
    monkeypatch.setenv("LOGNAME", "engineer")
    return CliRunner()


def run(wafer: CliRunner, *arguments: str) -> Result:
    return wafer.invoke(models, list(arguments))


def train(settings: Settings, skill: float, noise: int = 0) -> None:
    """Register a small bundle as one that was evaluated with this skill."""
    tracking = LineTracking(settings, "secom")
    with tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as tracked:
        tracked.log_bytes(OUT_OF_FOLD, results(skill, noise=noise).to_parquet())
        tracking.register_bundle(tracked, bundle_bytes(0), sensors=["Sensor-1"], tags={})


def test_a_champion_is_compared_promoted_and_rolled_back(wafer: CliRunner, platform_settings: Settings) -> None:
    settings = platform_settings
    assert "wafer train" in run(wafer, "list").output
    assert json.loads(run(wafer, "list", "--json").stdout) == []

    train(settings, 0.5, noise=1)
    first = run(wafer, "compare")
    assert "AUC minus one half" in first.output
    assert "no champion yet" in first.output
    assert "Version 1 is champion." in run(wafer, "promote", "1", "--reason", "The first [of many].").output

    train(settings, 4)
    compared = run(wafer, "compare", "2", "champion").output
    assert "Average precision minus the champion's" in compared
    assert "version 2 is promoted" in compared
    assert "version 1 is not promoted" in run(wafer, "compare", "1", "2").output
    document = json.loads(run(wafer, "compare", "--json").stdout)
    require_documented(document, "models", "compare")
    assert (document["challenger"], document["champion"], document["promote"]) == (2, 1, True)
    assert {"name", "meaning", "passed", "value", "low", "high"} <= set(document["gates"][0])
    promoted = run(wafer, "promote", "2", "--reason", "It finds more.")
    assert "Version 2 is champion, in place of version 1." in promoted.output

    listed = run(wafer, "list").output.splitlines()
    rows = [line for line in listed if "engineer" in line]
    assert "challenger, champion" in rows[0]
    assert "It finds more." in rows[0]
    assert "The first [of many]." in rows[1]
    newest, first_version = json.loads(run(wafer, "list", "--json").stdout)
    require_documented([newest, first_version], "models", "list")
    assert (newest["version"], newest["aliases"]) == (2, ["challenger", "champion"])
    assert newest["registered_at"] >= first_version["registered_at"]
    decision = first_version["latest_decision"]
    assert decision.pop("at").endswith("Z")
    assert decision == {"action": "promote", "by": "engineer", "reason": "The first [of many]."}

    assert "Version 1 is champion" in run(wafer, "rollback", "--reason", "Too many alarms.").output
    champion = LineTracking(settings, "secom").version(CHAMPION)
    assert champion is not None
    assert champion.version == 1
    history = PromotionLog(settings).history(settings.mlflow.of("secom").model_name)
    assert [(record.action, record.by, record.reason) for record in history] == [
        ("promote", "engineer", "The first [of many]."),
        ("promote", "engineer", "It finds more."),
        ("rollback", "engineer", "Too many alarms."),
    ]


def test_what_makes_no_sense_is_refused_with_what_to_do(wafer: CliRunner, platform_settings: Settings) -> None:
    assert isinstance(run(wafer, "rollback", "--reason", "x").exception, PromotionRefusedError)
    assert "No version has the alias 'challenger'" in run(wafer, "compare").output
    assert isinstance(run(wafer, "promote", "3", "--reason", "x").exception, BundleNotFoundError)
    assert "--reason" in run(wafer, "promote", "3").output
    train(platform_settings, 1)
    assert run(wafer, "promote", "1", "--reason", " ").exit_code == 2
    assert LineTracking(platform_settings, "secom").version(CHAMPION) is None

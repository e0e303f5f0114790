"""The champion on real services: who gets promoted, who not, and what is left in the books."""

import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from resources.mlflow import CHAMPION, OUT_OF_FOLD, BundleUnusableError, BundleVersion, LineTracking
from resources.model_config import FaultModelConfig, PromotionConfig, model_resource
from resources.promotions import PromotionLog
from resources.trainings import MixedTrainingsError, Provenance
from tests.assets.test_predictions import bundle_bytes
from tests.domain.test_promotion import results
from tests.feeds import LINE
from wafer_assets.assets.champion import champion_asset
from wafer_assets.domain.foreign_text import unescaped
from wafer_assets.keys import training_key
from wafer_assets.operations.champion import promote, rollback
from wafer_assets.settings import Settings

ORIGIN = Provenance("a training", "some hyperparameters", "a table")


@pytest.fixture
def tracking(platform_settings: Settings) -> LineTracking:
    return LineTracking(platform_settings, "secom")


@pytest.fixture
def log(platform_settings: Settings) -> PromotionLog:
    return PromotionLog(platform_settings)


def challenge(
    tracking: LineTracking, skill: float, *, wafers: int = 400, noise: int = 0, content: bytes | None = None
) -> BundleVersion:
    """Register a small bundle as one that was evaluated with this skill."""
    run = dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))
    with tracking.run(run) as tracked:
        tracked.log_bytes(OUT_OF_FOLD, results(skill, wafers=wafers, noise=noise).to_parquet())
        content = content or bundle_bytes(int(skill) % 3)
        return tracking.register_bundle(tracked, content, sensors=["Sensor-1"], tags=ORIGIN.as_tags())


class Only:
    """The tracking of all lines, where there is one line."""

    def __init__(self, tracking: LineTracking) -> None:
        self._tracking = tracking

    def of(self, line: str) -> LineTracking:
        assert line == "secom"
        return self._tracking


def decide(
    tracking: LineTracking,
    log: PromotionLog,
    version: BundleVersion | None = None,
    *,
    origin: Provenance = ORIGIN,
    clearly_better: bool = False,
) -> dict[str, object]:
    """Materialize the asset for a version, by default the newest; return its metadata."""
    number = (version or tracking.versions()[0]).version

    @dg.asset(key=training_key("secom", "model_bundle"))
    def registered() -> dict[str, object]:
        return {"version": number, **origin.as_tags()}

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [registered, champion_asset(LINE)],
            instance=instance,
            resources={
                "io_manager": dg.mem_io_manager,
                "tracking": Only(tracking),
                "promotions": log,
                model_resource("secom"): FaultModelConfig(),
                "promotion": PromotionConfig(clearly_better=clearly_better),
            },
        )
    (found,) = result.asset_materializations_for_node("secom__training__champion")
    return {name: value.value for name, value in found.metadata.items()}


def current(tracking: LineTracking) -> int | None:
    version = tracking.version(CHAMPION)
    return version.version if version else None


def test_only_better_models_become_champion_and_every_decision_is_kept(
    tracking: LineTracking, log: PromotionLog
) -> None:
    challenge(tracking, 0.01)
    useless = decide(tracking, log)
    assert (useless["decision"], current(tracking)) == ("keep", None)
    assert "first model must beat the base rate" in str(useless["reasons"])

    challenge(tracking, 2)
    first = decide(tracking, log)
    assert (first["decision"], first["champion_version"], current(tracking)) == ("promote", 2, 2)

    before = log.history(tracking.settings.model_name)
    again = decide(tracking, log)
    assert (again["decision"], again["champion_version"]) == ("unchanged", 2)
    assert log.history(tracking.settings.model_name) == before

    worse = challenge(tracking, 0.5, noise=1)
    for _ in range(2):  # the second time adds nothing
        kept = decide(tracking, log)
        assert (kept["decision"], kept["champion_version"], current(tracking)) == ("keep", 2, 2)
    assert "| Log loss minus the champion's must lie below zero | no |" in str(kept["gates"])
    assert tracking.get_version(worse.version).tags["decision"] == "keep"

    better = challenge(tracking, 5)
    assert decide(tracking, log, clearly_better=True)["decision"] == "promote"
    assert current(tracking) == better.version == 4
    assert tracking.get_version(4).tags["decision_reason"].startswith("Better")

    history = log.history(tracking.settings.model_name)
    assert [(record.action, record.version, record.previous) for record in history] == [
        ("keep", 1, None),
        ("promote", 2, None),
        ("keep", 3, 2),
        ("promote", 4, 2),
    ]
    assert all(record.dagster_run_id and record.reason and record.figures["gates"] for record in history)


def test_the_evidence_is_in_mlflow(tracking: LineTracking, log: PromotionLog) -> None:
    from mlflow import MlflowClient

    challenge(tracking, 2)
    found = decide(tracking, log)
    client = MlflowClient(tracking.settings.tracking_uri)
    run_id = str(found["mlflow_run_id"])
    written = json.loads(Path(client.download_artifacts(run_id, "promotion.json")).read_text())
    assert (written["challenger"], written["champion"], written["promote"]) == (1, None, True)
    assert {gate["name"] for gate in written["gates"]} == {"log_loss_below_base_rate", "auc_above_chance"}
    assert [file.path for file in client.list_artifacts(run_id, "plots")] == ["plots/promotion.png"]


def test_what_was_rolled_back_is_not_promoted_by_rule(tracking: LineTracking, log: PromotionLog) -> None:
    for skill in (1, 4):
        challenge(tracking, skill)
        assert decide(tracking, log)["decision"] == "promote"
    rollback(tracking, log, by="an engineer", reason="It alarms at every wafer of tool 3.")
    found = decide(tracking, log)
    assert (found["decision"], current(tracking)) == ("keep", 1)
    assert "rolled back by an engineer: It alarms at every wafer of tool 3." in str(found["reasons"])


def test_a_champion_without_results_is_not_replaced_by_rule(tracking: LineTracking, log: PromotionLog) -> None:
    with tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as tracked:
        old = tracking.register_bundle(tracked, bundle_bytes(0), sensors=["Sensor-1"], tags={})
    promote(tracking, log, old, by="me", reason="by hand", figures={})
    challenge(tracking, 4)
    found = decide(tracking, log)
    assert (found["decision"], current(tracking)) == ("keep", 1)
    assert "version 1" in str(found["reasons"])
    assert OUT_OF_FOLD in unescaped(str(found["reasons"]))


def test_a_champion_that_cannot_be_read_is_replaced_by_a_model_that_is_good_as_the_first(
    tracking: LineTracking, log: PromotionLog
) -> None:
    damaged = challenge(tracking, 4, content=bundle_bytes(0)[:5_000])
    with pytest.raises(BundleUnusableError, match="is damaged"):
        decide(tracking, log)
    tracking.set_alias(CHAMPION, damaged)  # as if its file had been damaged since
    challenge(tracking, 0.01)  # no better than chance
    assert (decide(tracking, log)["decision"], current(tracking)) == ("keep", 1)
    challenge(tracking, 2)  # worse than what the champion was, and better than none
    found = decide(tracking, log)
    assert (found["decision"], current(tracking)) == ("promote", 3)
    assert "version 1, cannot be read" in str(found["reasons"])


def test_a_training_judges_its_own_version_and_not_the_newest(tracking: LineTracking, log: PromotionLog) -> None:
    own = challenge(tracking, 2)
    newest = challenge(tracking, 5)
    found = decide(tracking, log, own)
    assert (found["decision"], found["challenger_version"], current(tracking)) == ("promote", own.version, own.version)
    assert tracking.version("challenger") == newest


@pytest.mark.parametrize("what", ["training", "config_hash", "table_hash"])
def test_a_version_that_is_not_what_the_training_registered_is_not_judged(
    tracking: LineTracking, log: PromotionLog, what: str
) -> None:
    version = challenge(tracking, 2)
    other = replace(ORIGIN, **{what: "another"})
    with pytest.raises(MixedTrainingsError, match=f"its {what} is .*, not another. Start the job `train`"):
        decide(tracking, log, version, origin=other)
    assert log.history(version.name) == []
    assert current(tracking) is None

"""Who predicts: promotions and rollbacks by hand, and what each leaves in the books."""

from datetime import UTC, datetime

import pytest

from resources.mlflow import CHAMPION, BundleUnusableError, LineTracking
from resources.promotions import Promotion, PromotionAction, PromotionLog
from tests.assets.test_champion import challenge, current
from wafer_assets.operations.champion import (
    ChampionChangedError,
    PromotionRefusedError,
    against_rule,
    earlier_champions,
    promote,
    require_champion,
    rollback,
)
from wafer_assets.settings import Settings


@pytest.fixture
def tracking(platform_settings: Settings) -> LineTracking:
    return LineTracking(platform_settings, "secom")


@pytest.fixture
def log(platform_settings: Settings) -> PromotionLog:
    return PromotionLog(platform_settings)


def test_rollbacks_go_back_step_by_step_and_give_the_old_bytes(tracking: LineTracking, log: PromotionLog) -> None:
    versions = [challenge(tracking, skill) for skill in (1, 2, 3)]
    for version in versions:
        promote(tracking, log, version, by="me", reason="by hand", figures={})
    first = tracking.content_of(versions[0])

    assert rollback(tracking, log, by="me", reason="too many alarms").version == 2
    assert rollback(tracking, log, by="me", reason="still").version == 1
    champion_now = tracking.version(CHAMPION)
    assert champion_now is not None
    assert tracking.content_of(champion_now) == first != tracking.content_of(versions[1])
    with pytest.raises(PromotionRefusedError, match="first champion"):
        rollback(tracking, log, by="me", reason="once more")

    promote(tracking, log, versions[1], by="me", reason="by hand", figures={})
    promote(tracking, log, versions[2], by="me", reason="by hand", figures={})
    with pytest.raises(PromotionRefusedError, match="Version 9 was not champion before version 3; 1, 2 was"):
        rollback(tracking, log, by="me", reason="skip one", to=9)
    assert rollback(tracking, log, by="me", reason="skip one", to=1).version == 1
    assert [record.action for record in log.history(versions[0].name)].count("rollback") == 3


def test_changes_that_make_no_sense_are_refused(tracking: LineTracking, log: PromotionLog) -> None:
    with pytest.raises(PromotionRefusedError, match="no champion to roll back"):
        rollback(tracking, log, by="me", reason="why not")
    version = challenge(tracking, 1)
    with pytest.raises(PromotionRefusedError, match="needs a reason"):
        promote(tracking, log, version, by="me", reason=" ", figures={})
    promote(tracking, log, version, by="me", reason="by hand", figures={})
    with pytest.raises(PromotionRefusedError, match="champion already"):
        promote(tracking, log, version, by="me", reason="by hand", figures={})
    assert len(log.history(version.name)) == 1


def test_a_version_whose_file_is_gone_never_becomes_champion(tracking: LineTracking, log: PromotionLog) -> None:
    from mlflow import MlflowClient

    version = challenge(tracking, 1)
    MlflowClient(tracking.settings.tracking_uri).delete_model_version(version.name, str(version.version))
    with pytest.raises(BundleUnusableError):
        promote(tracking, log, version, by="me", reason="by hand", figures={})
    assert log.history(version.name) == []


class CutOff(LineTracking):
    """Loses its server just before it would change the champion."""

    def set_alias(self, *_: object) -> None:
        raise ConnectionError("gone")


def test_a_switch_that_was_cut_off_is_repeated(
    tracking: LineTracking, log: PromotionLog, platform_settings: Settings
) -> None:
    first, second = challenge(tracking, 1), challenge(tracking, 4)
    promote(tracking, log, first, by="me", reason="by hand", figures={})
    with pytest.raises(ConnectionError):
        promote(CutOff(platform_settings, "secom"), log, second, by="me", reason="by hand", figures={})
    assert current(tracking) == 1
    assert earlier_champions(log.history(first.name), 1) == []

    promote(tracking, log, second, by="me", reason="by hand", figures={})
    assert earlier_champions(log.history(first.name), 2) == [1]
    assert rollback(tracking, log, by="me", reason="too many alarms").version == 1


def test_a_comparison_with_a_champion_that_is_no_more_decides_nothing(
    tracking: LineTracking, log: PromotionLog
) -> None:
    versions = [challenge(tracking, skill) for skill in (1, 2, 3)]
    promote(tracking, log, versions[0], by="me", reason="by hand", figures={})
    compared_with = tracking.version(CHAMPION)
    require_champion(tracking, versions[1], compared_with)
    promote(tracking, log, versions[2], by="me", reason="by hand", figures={})
    with pytest.raises(ChampionChangedError, match="the champion, version 1, which now is version 3"):
        require_champion(tracking, versions[1], compared_with)


def decided(action: PromotionAction, version: int, run: str | None) -> Promotion:
    """Return a decision as it is written down; `run` is None where a person decided."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Promotion(
        at=now,
        action=action,
        model="m",
        version=version,
        previous=None,
        by="x",
        reason="y",
        figures={},
        dagster_run_id=run,
    )


@pytest.mark.parametrize(
    ("history", "against"),
    [
        pytest.param([decided("promote", 1, "run")], False, id="by the rule"),
        pytest.param([decided("promote", 1, None)], False, id="by hand and never judged"),
        pytest.param([decided("keep", 1, "run"), decided("promote", 1, None)], True, id="by hand, refused before"),
        pytest.param([decided("keep", 2, "run"), decided("promote", 1, None)], False, id="another was refused"),
        pytest.param(
            [decided("keep", 1, "a"), decided("promote", 1, None), decided("promote", 1, "b")], False, id="passed since"
        ),
    ],
)
def test_a_version_that_the_rule_refused_and_a_person_promoted_is_known(
    history: list[Promotion], against: bool
) -> None:
    assert against_rule(history, 1) is against

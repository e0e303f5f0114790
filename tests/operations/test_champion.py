"""Who predicts: promotions and rollbacks by hand, and what each leaves in the books."""

import pytest

from resources.mlflow import CHAMPION, BundleUnusableError, LineTracking
from resources.promotions import PromotionLog
from tests.assets.test_champion import challenge, current
from wafer_assets.operations.champion import (
    ChampionChangedError,
    PromotionRefusedError,
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

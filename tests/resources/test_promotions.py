"""The promotion log: complete, in order, and only ever added to."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from resources.promotions import Promotion, PromotionLog
from wafer_assets.settings import Settings


def decision(version: int, model: str = "m") -> Promotion:
    return Promotion(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        action="promote",
        model=model,
        version=version,
        previous=version - 1 or None,
        by="an engineer",
        reason="The line changed.",
        figures={"promote": True, "gates": [{"name": "log_loss", "value": -0.1 - 0.2, "low": None}]},
        dagster_run_id=None,
    )


@pytest.fixture
def log(settings: Settings) -> PromotionLog:
    return PromotionLog(settings)


def test_decisions_come_back_exactly_oldest_first_and_by_model(log: PromotionLog) -> None:
    assert log.history("m") == []
    for record in (decision(1), decision(2, "other"), decision(2)):
        log.append(record)
    assert log.history("m") == [decision(1), decision(2)]
    assert log.history("other") == [decision(2, "other")]


def test_decisions_at_once_are_all_kept(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: PromotionLog(settings).append(decision(version)), range(1, 9)))
    assert sorted(record.version for record in PromotionLog(settings).history("m")) == list(range(1, 9))


def test_nothing_changes_a_decision_or_removes_it_alone() -> None:
    assert {name for name in vars(PromotionLog) if not name.startswith("_")} == {"append", "history", "remove_line"}

"""Gates on the training feed: nothing is learned from a useless table, and people see what a model is worth."""

import dagster as dg
import pytest

from tests.checks.alone import facts_of, judge, run
from tests.feeds import LINE
from wafer_assets.checks.models import (
    LEAK_AUC,
    both_outcomes,
    quality_check_results,
    quality_check_specs,
    superseding_check_result,
)
from wafer_assets.keys import training_key
from wafer_assets.operations.table import Superseding

FIRST, SECOND = "wafer_06012020_060000.csv", "wafer_07012020_060000.csv"


def report_table(instance: dg.DagsterInstance, wafers: int, faulty: int) -> None:
    facts = {"dagster/row_count": wafers, "faulty_wafers": faulty}
    instance.report_runless_asset_event(dg.AssetMaterialization(training_key("secom", "wafer_table"), metadata=facts))


@pytest.mark.parametrize(
    ("wafers", "faulty", "passes"), [(10, 1, True), (10, 9, True), (10, 0, False), (10, 10, False)]
)
def test_a_table_holds_faulty_and_passed_wafers(
    instance: dg.DagsterInstance, wafers: int, faulty: int, passes: bool
) -> None:
    report_table(instance, wafers, faulty)
    outcome = judge(both_outcomes(LINE), instance)
    assert outcome.passed == passes
    assert outcome.blocking
    assert facts_of(outcome) == {"faulty_wafers": faulty, "passed_wafers": wafers - faulty}
    assert outcome.description == f"{faulty} faulty and {wafers - faulty} passed wafers; training needs both."


def test_without_a_table_there_is_nothing_to_judge(instance: dg.DagsterInstance) -> None:
    (failure,) = [event for event in run(both_outcomes(LINE), instance).all_events if event.is_step_failure]
    said = str(failure.step_failure_data.user_failure_data)
    assert "There is no table. Materialize secom/training/wafer_table first." in said


def test_batches_that_supersede_many_wafers_are_named() -> None:
    assert superseding_check_result("secom", []).passed
    result = superseding_check_result("secom", [Superseding("wafer_03122021_080000.csv", 3, 3, 1)])
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert "row numbers" in str(result.description)
    (record,) = result.metadata["batches"].records
    assert record.data == {"batch": "wafer_03122021_080000.csv", "wafers": 3, "superseded": 3, "relabelled": 1}


# --- A model to look at ---


@pytest.mark.parametrize(
    ("auc", "low", "failed"),
    [
        (0.70, 0.60, set()),
        (0.55, 0.50, {"better_than_chance"}),
        (0.55, float("nan"), {"better_than_chance"}),
        (LEAK_AUC, 0.75, {"plausible"}),
        (0.95, 0.49, {"better_than_chance", "plausible"}),
        (float("nan"), float("nan"), {"better_than_chance", "plausible"}),
    ],
)
def test_a_model_is_better_than_chance_and_no_better_than_can_be_believed(
    auc: float, low: float, failed: set[str]
) -> None:
    results = quality_check_results("secom", auc, low)
    assert {result.check_name for result in results if not result.passed} == failed


def test_quality_warns_and_stops_nothing() -> None:
    results, specs = quality_check_results("secom", 0.5, 0.4), quality_check_specs("secom")
    assert [result.check_name for result in results] == [spec.name for spec in specs]
    for result, spec in zip(results, specs, strict=True):
        assert result.severity == dg.AssetCheckSeverity.WARN
        assert result.asset_key == spec.asset_key == training_key("secom", "evaluation")
        assert {name: entry.value for name, entry in result.metadata.items()} == {"auc": 0.5, "auc_low": 0.4}
        assert not spec.blocking

"""Runs over batches: as few as their gaps allow, and what is said of one that fails."""

from collections.abc import Iterator

import click
import dagster as dg
import pytest

from tests.feeds import TRAINING
from tests.landing import land
from tests.shell import call
from wafer_assets.cli.instance import open_instance, run_job
from wafer_assets.cli.runs import require_success, run_batches
from wafer_assets.settings import Settings

BATCHES = [f"batch {number}.csv" for number in range(3)]


def test_batches_are_run_over_in_as_many_runs_as_they_have_gaps(stores: Settings) -> None:
    with open_instance(stores) as instance:
        land(stores, instance, dict.fromkeys(BATCHES, b"x"))

        def runs(between: tuple[str, ...] = ()) -> int:
            before = instance.get_runs_count()
            run_batches(stores, instance, TRAINING, "ingest_training", [BATCHES[0], BATCHES[2]], between)
            return instance.get_runs_count() - before

        assert runs() == 2
        assert runs(between=(BATCHES[1],)) == 1


def test_a_run_that_fails_is_told_of_with_the_steps_that_did(stores: Settings) -> None:
    with open_instance(stores) as instance:
        result = run_job(stores, instance, "secom__train")
    with pytest.raises(click.ClickException) as failure:
        require_success(result)
    first, step, hint = failure.value.message.splitlines()
    assert first == f"Run {result.run_id} failed."
    assert step.startswith("secom/training/wafer_table: ")
    assert "wafer dev" in hint


def test_a_run_that_a_check_stopped_is_told_of_with_what_the_check_says() -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("both_outcomes", asset="table", blocking=True)])
    def table() -> Iterator[dg.Output[int] | dg.AssetCheckResult]:
        yield dg.Output(1)
        yield dg.AssetCheckResult(passed=False, description="0 faulty and 400 passed wafers; training needs both.")

    job = dg.Definitions(assets=[table], jobs=[dg.define_asset_job("train")]).resolve_job_def("train")
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        with pytest.raises(click.ClickException, match="both_outcomes: 0 faulty and 400 passed wafers"):
            require_success(result)


@pytest.mark.usefixtures("stores")
def test_no_batch_is_known_before_one_has_landed() -> None:
    assert "knows no batch" in call("ingest", "--from", "x.csv").output

"""Which values a step gets where several runs write them, on a small line of assets like the real one's."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from resources.io_managers import FrameIOManager
from resources.model_config import FaultModelConfig, model_resource
from resources.s3 import S3Store
from resources.trainings import MixedTrainingsError, Provenance, forget, training_pool
from wafer_assets.domain.table import frame_hash
from wafer_assets.keys import training_folder


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


LINE = "secom"


class Feed:
    """Table, scale, centre and bundle; `value` is what the next table holds, `between` runs before the centre is."""

    def __init__(self, s3: S3Store, instance: dg.DagsterInstance) -> None:
        self.s3, self.instance = s3, instance
        self.value = 0.0
        self.between: Callable[[], object] = lambda: None

        @dg.asset(io_manager_key="frames")
        def table() -> dg.Output[pd.DataFrame]:
            frame = pd.DataFrame({"wafer": ["Wafer-1"], "Sensor-1": [self.value]})
            return dg.Output(frame, metadata={"content_hash": frame_hash(frame)})

        @dg.asset(io_manager_key="frames", pool=training_pool(LINE))
        def scale(table: pd.DataFrame, secom__model: FaultModelConfig) -> pd.DataFrame:
            return table.assign(seed=secom__model.seed)

        @dg.asset(io_manager_key="frames", pool=training_pool(LINE))
        def centre(scale: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
            assert scale["Sensor-1"].equals(table["Sensor-1"])
            return scale

        @dg.asset(io_manager_key="frames", pool=training_pool(LINE))
        def bundle(scale: pd.DataFrame, centre: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
            return scale.join(centre, rsuffix=" of centre").join(table["Sensor-1"], rsuffix=" of table")

        @dg.asset_check(asset=scale, blocking=True)
        def pause() -> dg.AssetCheckResult:
            self.between()
            return dg.AssetCheckResult(passed=True)

        self.defs = dg.Definitions(
            assets=[table, scale, centre, bundle],
            asset_checks=[pause],
            resources={"frames": FrameIOManager.definition(s3, LINE), model_resource(LINE): FaultModelConfig()},
            executor=dg.in_process_executor,
        )

    def run(self, *assets: str, seed: int = 0, **options: object) -> dg.ExecuteInProcessResult:
        """Materialize some or all assets, together with their checks."""
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
            run_config={"resources": {model_resource(LINE): {"config": {"seed": seed}}}},
            **options,  # type: ignore[arg-type]
        )

    def repeat(self, failed: dg.DagsterRun, *assets: str) -> dg.DagsterRun:
        """Re-execute these assets of a run, as the daemon and the UI do."""
        whole = self.defs.resolve_implicit_global_asset_job_def()
        job = whole.get_subset(asset_selection={dg.AssetKey(asset) for asset in assets}, asset_check_selection=set())
        run = self.instance.create_run_for_job(
            job, run_config=failed.run_config, parent_run_id=failed.run_id, root_run_id=failed.run_id
        )
        execute_run(InMemoryJob(job), run, self.instance)
        done = self.instance.get_run_by_id(run.run_id)
        assert done is not None
        return done

    def latest(self, asset: str = "bundle") -> tuple[dict[str, object], Provenance]:
        content, metadata = self.s3.read(self.s3.lake, f"{asset}/{asset}.parquet")
        origin = Provenance.of(metadata)
        assert origin is not None
        return dict(FrameIOManager(self.s3, LINE).decode(content).iloc[0]), origin


@pytest.fixture
def feed(s3: S3Store, instance: dg.DagsterInstance) -> Feed:
    return Feed(s3, instance)


def test_a_training_goes_on_with_its_own_values_whatever_another_one_stores(feed: Feed) -> None:
    def another() -> None:
        feed.between, feed.value = lambda: None, 2.0
        feed.run(seed=2)

    feed.between, feed.value = another, 1.0
    first = feed.run(seed=1)
    row, origin = feed.latest()
    assert {row["Sensor-1"], row["Sensor-1 of centre"], row["Sensor-1 of table"]} == {1.0}
    assert (row["seed"], row["seed of centre"]) == (1, 1)
    assert origin == Provenance(first.run_id, FaultModelConfig(seed=1).values.content_hash, origin.table_hash)
    assert origin.table_hash != feed.latest("table")[1].table_hash, "the other one's table is the latest"


def test_a_table_that_is_rewritten_during_a_training_of_some_assets_is_not_mixed_in(feed: Feed) -> None:
    feed.run()

    def rewrite() -> None:
        feed.value = 2.0
        feed.run("table")

    feed.between = rewrite
    assert feed.run("scale", "centre", "bundle").success
    row, _ = feed.latest()
    assert row["Sensor-1 of table"] == 0.0
    assert feed.latest("table")[0]["Sensor-1"] == 2.0


def test_one_asset_alone_works_on_the_latest_values_of_one_training(feed: Feed) -> None:
    first = feed.run(seed=3)
    forget(feed.instance, feed.s3, first.dagster_run)
    alone = feed.run("bundle", seed=3)
    row, origin = feed.latest()
    assert (row["seed"], row["seed of centre"], origin.training) == (3, 3, alone.run_id)
    # And a table that was made again with the same content is the same table.
    feed.run("table")
    assert feed.run("bundle", seed=3).success


def test_what_does_not_fit_is_refused(feed: Feed) -> None:
    feed.run(seed=1)
    with pytest.raises(
        MixedTrainingsError, match=r"other hyperparameters .* than this run has .* Start the job `train`"
    ):
        feed.run("bundle", seed=2)

    feed.run("scale", seed=1)
    with pytest.raises(MixedTrainingsError, match="were made by different trainings"):
        feed.run("bundle", seed=1)

    feed.run(seed=1)
    feed.value = 2.0
    feed.run("table")
    with pytest.raises(MixedTrainingsError, match="come from different tables"):
        feed.run("bundle", seed=1)
    assert feed.run(seed=1).success, "the remedy"


def test_a_value_of_an_earlier_release_is_refused(feed: Feed) -> None:
    feed.run()
    content, _ = feed.s3.read(feed.s3.lake, "scale/scale.parquet")
    feed.s3.put(feed.s3.lake, "scale/scale.parquet", content)
    with pytest.raises(MixedTrainingsError, match="scale was stored by an earlier release"):
        feed.run("centre")


def test_a_run_that_is_repeated_from_its_failure_finds_its_values(feed: Feed) -> None:
    def die() -> None:
        feed.value = 2.0
        feed.between = lambda: None
        feed.run(seed=2)
        raise ConnectionError("gone")

    feed.between, feed.value = die, 1.0
    failed = feed.run(seed=1, raise_on_error=False)
    assert not failed.success
    assert feed.repeat(failed.dagster_run, "centre", "bundle").is_success
    row, origin = feed.latest()
    assert (row["seed"], row["seed of centre"], row["Sensor-1 of table"]) == (1, 1, 1.0)
    assert origin.training == failed.run_id


def test_a_run_without_modelling_keeps_nothing_of_its_own_and_success_sweeps_what_a_training_kept(feed: Feed) -> None:
    feed.run("table")
    assert feed.s3.list_objects(feed.s3.lake, "runs/") == []
    result = feed.run()
    folder = training_folder(result.run_id)
    kept = {item.key.removeprefix(folder) for item in feed.s3.list_objects(feed.s3.lake, folder)}
    assert kept == {"table.parquet", "scale.parquet", "centre.parquet", "bundle.parquet"}
    forget(feed.instance, feed.s3, result.dagster_run)
    assert feed.s3.list_objects(feed.s3.lake, "runs/") == []
    assert feed.latest()[1].training == result.run_id


def test_what_a_reexecution_at_work_needs_is_not_deleted(feed: Feed) -> None:
    first = dg.DagsterRun("secom__train", run_id=str(uuid4()), status=dg.DagsterRunStatus.SUCCESS)
    again = dg.DagsterRun(
        "secom__train",
        run_id=str(uuid4()),
        status=dg.DagsterRunStatus.STARTED,
        root_run_id=first.run_id,
        parent_run_id=first.run_id,
        tags={"dagster/root_run_id": first.run_id, "dagster/parent_run_id": first.run_id},
    )
    feed.instance.add_run(again)
    key = f"{training_folder(first.run_id)}a step/a value.skops"
    feed.s3.put(feed.s3.lake, key, b"needed")
    forget(feed.instance, feed.s3, first)
    assert feed.s3.exists(feed.s3.lake, key)
    feed.instance.report_run_canceled(again)
    forget(feed.instance, feed.s3, first)
    assert not feed.s3.exists(feed.s3.lake, key)

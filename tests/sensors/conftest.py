"""The platform of a sensor's test on real services: files land, sensors look, conditions ask, runs are made."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan

from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.lines import LineFeed
from schemas.loader import load_schema
from sensors.landing import landing_sensor
from tests.feeds import TRAINING
from wafer_assets.definitions import build_defs
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import landing_key
from wafer_assets.operations.ranges import batch_ranges
from wafer_assets.settings import Settings

Requested = Mapping[str, set[str | None]]

INGESTED = ("secom/training/validated_batches", "secom/training/wafer_records")
FOLLOWING = ("secom/training/batch_ledger", "secom/training/wafer_table")

BAD = b"Wafer,Sensor-1\nWafer-1,1\n"


class Flow:
    """The platform of one test, tick by tick."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.s3, self.store, self.instance = S3Store(settings), WaferStore(settings), instance
        self.settings, self.clock = settings, time.time
        self.defs = build_defs(settings)
        self.repository = self.defs.get_repository_def()
        self.cursors: dict[str, str | None] = {}
        self.conditions = dg.evaluate_automation_conditions(self.defs, instance).cursor

    def drop(self, files: Mapping[str, bytes], feed: LineFeed = TRAINING) -> None:
        for name, content in files.items():
            self.s3.put(self.s3.landing, landing_key(feed, name), content)

    def tick(self, feed: LineFeed = TRAINING) -> str:
        """Let the landing sensor look once; return what it says."""
        name = str(feed)
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            resources={"s3": self.s3, "wafers": self.store},
        )
        sensor = landing_sensor(load_schema(feed.kind), self.settings.automation, self.clock)
        result = sensor.evaluate_tick(context)
        self.cursors[name] = result.cursor
        return str(result.skip_message)

    def evaluate(self, at: datetime | None = None) -> Requested:
        """Evaluate all conditions once; return the partitions that are asked for, by asset."""
        result = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.conditions, evaluation_time=at)
        self.conditions = result.cursor
        found = {
            key.to_user_string(): result.get_requested_partitions(key)
            for key in self.repository.asset_graph.materializable_asset_keys
        }
        return {key: partitions for key, partitions in found.items() if partitions}

    def run(
        self,
        *assets: str,
        partitions: set[str | None] | None = None,
        feed: LineFeed = TRAINING,
        wafers: WaferStore | None = None,
    ) -> bool:
        """Materialize assets, as the daemon would, on another store if one is given."""
        selection = [dg.AssetKey(asset.split("/")) for asset in assets]
        defs = build_defs(self.settings, wafers=wafers) if wafers else self.defs
        job = defs.get_repository_def().get_implicit_job_def_for_assets(selection)
        assert job is not None
        subset = job.get_subset(asset_selection=set(selection))
        tags: list[dict[str, str]] = [{}]
        if partitions:
            tags = [part.tags for part in batch_ranges(self.instance, feed, [str(key) for key in partitions])]
        return all(
            subset.execute_in_process(instance=self.instance, tags=each, raise_on_error=False).success for each in tags
        )

    def begin(self, asset: str, tags: dict[str, str]) -> dg.DagsterRun:
        """Begin a run that does not end by itself."""
        key = dg.AssetKey(asset.split("/"))
        implicit = self.repository.get_implicit_job_def_for_assets([key])
        assert implicit is not None
        job = implicit.get_subset(asset_selection={key})
        return self.instance.create_run_for_job(
            job,
            execution_plan=create_execution_plan(job, tags=tags),
            tags=tags,
            asset_selection={key},
            status=dg.DagsterRunStatus.STARTED,
        )

    def observations(self, batch: str) -> int:
        found = self.instance.fetch_observations(
            dg.AssetRecordsFilter(dg.AssetKey(["secom", "training", "raw_batches"]), asset_partitions=[batch]), limit=10
        )
        return len(found.records)


@pytest.fixture
def flow(settings: Settings) -> Iterator[Flow]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Flow(settings, instance)


@pytest.fixture(scope="module")
def good() -> dict[str, bytes]:
    batches = simulate_batches(4, 6, feed="training", schema=load_schema("training"), seed=5, fault_rate=0.3)
    return {batch.name: batch.content for batch in batches}

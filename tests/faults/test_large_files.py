"""The largest file that the contract allows goes through like any other, within 2 GB and with all servers well."""

import json
import os
import subprocess
import sys

import pytest
from pymongo import MongoClient

from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.loader import MEGABYTE, load_schema
from tests.conftest import environment_of
from tests.feeds import TRAINING
from tests.landing import large_file
from wafer_assets.domain.table import frame_hash
from wafer_assets.keys import landing_key
from wafer_assets.settings import Settings

pytestmark = pytest.mark.services

WAFERS = 5_000
MEMORY = 2e9

# Lands nothing: what is in the bucket is reported, ingested and made into a table, as the daemon's runs do.
INGEST_AND_MERGE = """
import json, resource
import dagster as dg
from resources.mongo import WaferStore
from resources.s3 import S3Store
from schemas.loader import load_schema
from wafer_assets.definitions import build_defs
from wafer_assets.cli.instance import open_instance, run_job
from wafer_assets.operations.landing import take_up
from wafer_assets.settings import load_settings

settings = load_settings()
s3 = S3Store(settings)
with open_instance(settings) as instance:
    (only,) = take_up(instance, load_schema("training").line_feed, s3, WaferStore(settings))
    ingested = run_job(settings, instance, "secom__ingest_training", tags=only.tags).success
    job = build_defs(settings).resolve_implicit_global_asset_job_def()
    table = job.get_subset(asset_selection={dg.AssetKey(["secom", "training", "wafer_table"])})
    merged = table.execute_in_process(instance=instance)
    (event,) = merged.asset_materializations_for_node("secom__training__wafer_table")
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([ingested, event.metadata["dagster/row_count"].value, memory]))
"""


def require_health(settings: Settings) -> None:
    assert settings.mongo.uri is not None
    uri = settings.mongo.uri.get_secret_value()
    with MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=5_000, timeoutMS=5_000) as client:
        assert client.admin.command("ping")["ok"]
    s3 = S3Store(settings)
    s3.put(s3.lake, "health", b"")
    s3.delete(s3.lake, "health")


@pytest.fixture(scope="module")
def largest() -> tuple[str, bytes]:
    return large_file("training", WAFERS)


def test_five_thousand_wafers_in_one_file_become_records_and_table(
    settings: Settings, largest: tuple[str, bytes]
) -> None:
    name, content = largest
    assert 16 * MEGABYTE < len(content) <= load_schema("training").max_file_size
    s3, store = S3Store(settings), WaferStore(settings)
    s3.put(s3.landing, landing_key(TRAINING, name), content)
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INGEST_AND_MERGE],
        env={**os.environ, **environment_of(settings)},
        stdout=subprocess.PIPE,
        check=True,
    )
    ingested, rows, memory = json.loads(child.stdout.splitlines()[-1])
    assert ingested
    assert rows == WAFERS
    assert memory < MEMORY
    ((manifest, frame),) = store.read_batches(TRAINING)
    assert frame_hash(frame) == manifest.sha256
    assert len(frame) == manifest.wafers == WAFERS
    assert store.miscounted(TRAINING, [manifest]) == []
    require_health(settings)

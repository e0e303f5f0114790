"""Files whose labels contradict what the line has seen wait for a person, and nobody else."""

import pytest

from resources.mongo import WaferStore
from resources.releases import ReleaseLog
from resources.s3 import S3Store
from schemas.loader import load_schema
from tests.feeds import TRAINING
from tests.stored import frame_of
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import landing_key, quarantine_folder, validated_key
from wafer_assets.operations.ingestion import BatchOutcome, ingest_batch
from wafer_assets.operations.releasing import NotHeldError, release
from wafer_assets.settings import Settings

SCHEMA = load_schema("training")
GOOD, LATER = simulate_batches(2, 40, feed="training", seed=1)


def flipped(content: bytes) -> bytes:
    lines = content.decode().splitlines()
    rows = [row.rpartition(",") for row in lines[1:]]
    return "\n".join([lines[0], *(f"{cells},{'-1' if label != '-1' else '1'}" for cells, _, label in rows)]).encode()


def ingest(s3: S3Store, wafers: WaferStore, name: str, content: bytes) -> BatchOutcome:
    s3.put(s3.landing, landing_key(TRAINING, name), content)
    return ingest_batch(SCHEMA, name, s3, wafers)


def test_flipped_labels_are_held_and_replace_none(s3: S3Store, mongo: WaferStore) -> None:
    assert ingest(s3, mongo, GOOD.name, GOOD.content).manifest.status == "accepted"
    before = frame_of(mongo, TRAINING, GOOD.name)

    outcome = ingest(s3, mongo, LATER.name, flipped(GOOD.content))

    assert outcome.manifest.status == "held"
    assert [reason.code for reason in outcome.reasons] == ["fault_rate_implausible", "labels_contradict"]
    assert "40 of the 40 wafers that other batches hold too" in outcome.reasons[1].found
    assert {item.batch for item in mongo.batches(TRAINING, "accepted")} == {GOOD.name}
    assert frame_of(mongo, TRAINING, GOOD.name).equals(before)
    kept = s3.get(s3.lake, f"{quarantine_folder(TRAINING, LATER.name)}{LATER.name}")
    assert kept == flipped(GOOD.content)


def test_same_wafers_with_the_same_labels_are_not_held(s3: S3Store, mongo: WaferStore) -> None:
    ingest(s3, mongo, GOOD.name, GOOD.content)

    assert ingest(s3, mongo, LATER.name, GOOD.content).manifest.status == "accepted"
    assert ingest(s3, mongo, LATER.name, LATER.content).manifest.status == "accepted"


def test_released_file_is_ingested_with_its_doubts_as_warnings(
    settings: Settings, s3: S3Store, mongo: WaferStore
) -> None:
    name, content, log = GOOD.name, flipped(GOOD.content), ReleaseLog(settings)
    ingest(s3, mongo, name, content)

    record = release(mongo, log, TRAINING, name, by="ada", reason="The etcher was down.")

    assert (record.by, record.batch) == ("ada", name)
    (kept,) = log.history(TRAINING)
    assert kept.model_dump(exclude={"at"}) == record.model_dump(exclude={"at"})
    outcome = ingest_batch(SCHEMA, name, s3, mongo)
    assert outcome.manifest.status == "accepted"
    assert [warning["code"] for warning in outcome.manifest.warnings] == ["fault_rate_implausible"]
    assert mongo.batches(TRAINING)[0].warnings == outcome.manifest.warnings
    assert s3.list_objects(s3.lake, validated_key(TRAINING, name))
    with pytest.raises(NotHeldError, match="is not held"):
        release(mongo, log, TRAINING, name, by="ada", reason="Again.")


def test_file_that_replaces_a_released_one_is_judged_anew(settings: Settings, s3: S3Store, mongo: WaferStore) -> None:
    ingest(s3, mongo, GOOD.name, flipped(GOOD.content))
    release(mongo, ReleaseLog(settings), TRAINING, GOOD.name, by="ada", reason="The etcher was down.")

    assert ingest(s3, mongo, GOOD.name, flipped(LATER.content)).manifest.status == "held"

"""Ingestion without Dagster: every batch comes back in order, with its outcome or with why it has none."""

import pytest

from resources.mongo import WaferStore
from resources.s3 import ObjectNotFoundError, S3Store
from schemas.loader import load_schema
from tests.feeds import PREDICTION
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import landing_key, quarantine_folder, validated_key
from wafer_assets.operations.ingestion import BatchOutcome, ingest_batch, ingest_batches, ingestion_version
from wafer_assets.settings import Settings

SCHEMA = load_schema("prediction")
NAMES = [batch.name for batch in simulate_batches(3, 2, feed="prediction", seed=1)]


@pytest.fixture
def landed(s3: S3Store) -> S3Store:
    for batch in simulate_batches(3, 2, feed="prediction", seed=1):
        s3.put(s3.landing, landing_key(PREDICTION, batch.name), batch.content)
    s3.put(s3.landing, landing_key(PREDICTION, "notes.csv"), b"not a batch")
    return s3


def test_batches_come_in_the_order_that_was_asked_for_each_with_its_outcome(landed: S3Store, mongo: WaferStore) -> None:
    wanted = [NAMES[2], "notes.csv", "never_landed.csv", NAMES[0], NAMES[1]]
    outcomes = dict(ingest_batches(SCHEMA, wanted, landed, mongo))
    assert list(outcomes) == wanted
    missing = outcomes.pop("never_landed.csv")
    assert isinstance(missing, ObjectNotFoundError)
    stored = {batch: item.manifest for batch, item in outcomes.items() if isinstance(item, BatchOutcome)}
    assert {item.batch: item.sha256 for item in mongo.batches(PREDICTION)} == {
        batch: item.sha256 for batch, item in stored.items()
    }
    assert {batch for batch, item in stored.items() if item.status == "accepted"} == set(NAMES)


def test_an_accepted_file_is_normalised_and_has_no_reasons(landed: S3Store, mongo: WaferStore) -> None:
    outcome = ingest_batch(SCHEMA, NAMES[0], landed, mongo)
    assert (outcome.manifest.status, outcome.reasons) == ("accepted", ())
    header = landed.get(landed.lake, validated_key(PREDICTION, NAMES[0])).splitlines()[0].decode()
    assert header.replace('"', "").split(",") == ["wafer", *SCHEMA.sensors]


def test_a_refused_file_comes_with_the_reasons_that_its_manifest_keeps(landed: S3Store, mongo: WaferStore) -> None:
    outcome = ingest_batch(SCHEMA, "notes.csv", landed, mongo)
    assert outcome.manifest.status == "quarantined"
    assert [reason.as_dict() for reason in outcome.reasons] == [dict(item) for item in outcome.manifest.reasons]
    assert "file_name_invalid" in {reason.code for reason in outcome.reasons}
    kept = landed.get(landed.lake, f"{quarantine_folder(PREDICTION, 'notes.csv')}notes.csv")
    assert kept == b"not a batch"


def test_an_outage_is_raised_with_the_batch_it_happened_to(settings: Settings, mongo: WaferStore) -> None:
    gone = settings.model_copy(update={"s3": settings.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})})
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9") as error:
        list(ingest_batches(SCHEMA, NAMES[:1], S3Store(gone), mongo))
    assert error.value.__notes__ == [f"This happened to the batch {NAMES[0]!r}."]
    assert mongo.failures(PREDICTION) == []


def test_what_decides_on_a_file_is_the_code_and_the_contract() -> None:
    assert ingestion_version(SCHEMA).endswith(f", contract {SCHEMA.contract_version}")
    other = SCHEMA.model_copy(update={"contract_version": "9.9"})
    assert ingestion_version(other) != ingestion_version(SCHEMA)

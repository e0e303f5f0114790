"""Ingestion without Dagster: every batch comes back in order, with its outcome or with why it has none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from resources.mongo import WaferStore
from resources.s3 import ObjectNotFoundError, S3Store
from schemas.lines import read_line
from schemas.loader import BatchSchema, load_schema
from tests.feeds import PREDICTION, line_like
from tests.schemas.folders import SMALL, write_line
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


def test_what_a_line_declares_to_be_no_sensor_is_stored_with_the_wafers_and_read_back(
    s3: S3Store, mongo: WaferStore, tmp_path: Path
) -> None:
    context = {"Tool": {"type": "text"}, "Layer": {"type": "number"}, "Made": {"type": "time"}}
    columns = {"Wafer": "varchar", "Tool": "varchar", "Layer": "float", "Made": "varchar", "Sensor-1": "float"}
    line = read_line(
        write_line(tmp_path, {**SMALL, "context": context, "order": "column:Made", "sensors": {}}, columns)
    )
    schema, name = BatchSchema.of(line, "training"), "wafer_08012020_120000.csv"
    rows = ["W-1,ETCH-3,4,2020-01-08T12:00:00,1.5,-1", "W-2,,,2020-01-08T11:00:00,2.5,1"]
    s3.put(s3.landing, landing_key(schema.line_feed, name), "\n".join([",".join([*columns, "Output"]), *rows]).encode())
    assert ingest_batch(schema, name, s3, mongo).manifest.status == "accepted"

    stored = mongo.read(schema.line_feed, name)
    assert stored.frame is not None
    assert stored.context is not None
    noon = datetime(2020, 1, 8, 12, tzinfo=UTC)
    assert stored.frame["order"].tolist() == [noon.timestamp(), noon.timestamp() - 3600]
    assert stored.frame["Sensor-1"].tolist() == [1.5, 2.5]
    assert list(stored.frame) == ["wafer", "order", "Sensor-1", "faulty"], "what is no sensor is not learned from"
    first, second = stored.context.to_dict("records")
    assert (first["Tool"], first["Layer"], first["Made"]) == ("ETCH-3", 4.0, noon)
    assert pd.isna([second["Tool"], second["Layer"]]).all()
    assert second["Made"] == noon - timedelta(hours=1)


def test_files_of_one_name_are_batches_of_their_lines(s3: S3Store, mongo: WaferStore) -> None:
    etch = line_like("etch")
    contract = BatchSchema.of(etch, "prediction")
    (batch,) = simulate_batches(1, 2, feed="prediction", seed=1)
    s3.put(s3.landing, landing_key(PREDICTION, batch.name), batch.content)
    s3.put(s3.landing, landing_key(contract.line_feed, batch.name), b"not a batch")
    assert ingest_batch(SCHEMA, batch.name, s3, mongo).manifest.status == "accepted"
    assert ingest_batch(contract, batch.name, s3, mongo).manifest.status == "quarantined"
    assert [item.status for item in mongo.batches(PREDICTION)] == ["accepted"]
    assert [item.status for item in mongo.batches(contract.line_feed)] == ["quarantined"]
    assert len(mongo.batches_of(PREDICTION, "Wafer-1")) == 1
    assert mongo.batches_of(contract.line_feed, "Wafer-1") == []

"""`wafer quarantine` on real stores: refused files, their reasons, and another try."""

import io
import json

import dagster as dg
import pandas as pd
import pytest

from resources.mongo import WaferStore
from resources.releases import ReleaseLog
from resources.s3 import S3Store
from schemas.loader import load_schema
from tests.feeds import LINE, TRAINING, line_like
from tests.landing import land
from tests.shell import call, require_documented
from tests.stored import frame_of
from wafer_assets.cli.instance import open_instance
from wafer_assets.definitions import build_defs
from wafer_assets.domain.simulation import simulate_batches
from wafer_assets.keys import feed_key, landing_key
from wafer_assets.settings import Settings

HOSTILE = "[/x] [bold]\x1b[31m:smile:‮"


@pytest.mark.usefixtures("stores")
def test_the_quarantine_of_a_new_platform_is_empty() -> None:
    assert "empty" in call("quarantine", "list").output
    assert json.loads(call("quarantine", "list", "--json").stdout) == []
    assert "empty" in call("quarantine", "replay").output


@pytest.mark.usefixtures("stores")
def test_an_unknown_batch_is_answered_with_what_to_do() -> None:
    for command in ("show", "replay"):
        unknown = call("quarantine", command, "nothing.csv")
        assert unknown.exit_code == 1
        assert "wafer quarantine list" in unknown.output


def refuse(settings: Settings, name: str, column: str) -> None:
    """Land and ingest a file that has one column too many."""
    (batch,) = simulate_batches(1, 3, feed="training", schema=load_schema("training"), seed=2)
    header, rest = batch.content.split(b"\n", 1)
    rows = b"\n".join(line + b",1" if line else line for line in rest.split(b"\n"))
    content = header + b"," + column.encode() + b"\n" + rows
    store = S3Store(settings)
    store.put(store.landing, f"secom/training/{name}", content)
    assert call("ingest").exit_code == 0


def test_hostile_names_are_shown_as_text_whole_and_on_one_line(stores: Settings) -> None:
    name = f"[bold] [red]{'long' * 40}.csv"
    refuse(stores, name, HOSTILE)
    listed, shown = call("quarantine", "list"), call("quarantine", "show", name)
    assert (listed.exit_code, shown.exit_code) == (0, 0), shown.output
    assert any(name in line and "file_name_invalid" in line for line in listed.stdout.splitlines())
    assert shown.stdout.splitlines()[0] == name
    assert shown.stdout.rstrip().splitlines()[-1].endswith(f"quarantined_batches/{name}/{name}")
    assert "[/x] [bold]" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "‮" not in shown.stdout

    (listed_document,) = json.loads(call("quarantine", "list", "--json").stdout)
    require_documented(listed_document, "quarantine", "list")
    assert listed_document["batch"] == name
    assert listed_document["refused_at"].endswith("Z")
    document = json.loads(call("quarantine", "show", "--json", name).stdout)
    require_documented(document, "quarantine", "show")
    assert document["kept_as"].endswith(f"/{name}/{name}")
    assert {reason["code"] for reason in document["reasons"]} == set(listed_document["codes"])
    assert [sorted(reason) for reason in document["reasons"]] == [
        ["code", "column", "count", "found", "remedy", "row"]
    ] * len(document["reasons"])


@pytest.fixture
def refused(stores: Settings) -> str:
    """A file that a narrower contract refused, because of a sensor that may be empty by now."""
    schema = load_schema("training")
    sensor = schema.optional_columns[0]
    narrower = line_like(LINE.name, sensors={name: told for name, told in LINE.sensors.items() if name != sensor})
    (batch,) = simulate_batches(1, 6, feed="training", schema=schema, seed=2)
    frame = pd.read_csv(io.BytesIO(batch.content))
    frame[sensor] = None
    defs = build_defs(stores, [narrower])
    with open_instance(stores) as instance:
        tags = land(stores, instance, {batch.name: frame.to_csv(index=False).encode()})
        assert defs.resolve_job_def("secom__ingest_training").execute_in_process(instance=instance, tags=tags).success
    return batch.name


def test_quarantined_files_are_replayed_after_a_change_of_the_contract(stores: Settings, refused: str) -> None:
    refuse(stores, "wafer_01012020_000000.csv", "one too many")
    assert "column_empty" in call("quarantine", "list").output
    store = S3Store(stores)
    store.delete(store.landing, f"secom/training/{refused}")

    replayed = call("quarantine", "replay", refused).output
    assert "1 files put back into the landing bucket" in replayed
    assert "1 of 1 batches are accepted now" in replayed
    assert len(frame_of(WaferStore(stores), TRAINING, refused)) == 6
    assert "Not in quarantine" in call("quarantine", "replay", refused).output
    assert "0 of 1 batches are accepted now" in call("quarantine", "replay").output


def test_held_file_is_released_with_a_reason_and_ingested(stores: Settings) -> None:
    (batch,) = simulate_batches(1, 30, feed="training", schema=load_schema("training"), seed=2)
    name, store = "wafer_01012020_000000.csv", S3Store(stores)
    flipped = batch.content.replace(b",-1\n", b",x\n").replace(b",1\n", b",-1\n").replace(b",x\n", b",1\n")
    store.put(store.landing, landing_key(TRAINING, name), flipped)
    assert call("ingest").exit_code == 0
    (listed,) = json.loads(call("quarantine", "list", "--json").stdout)
    assert (listed["batch"], listed["status"], listed["codes"]) == (name, "held", ["fault_rate_implausible"])
    assert f"wafer quarantine release {name}" in call("quarantine", "show", name).stdout
    store.delete(store.landing, landing_key(TRAINING, name))

    assert call("quarantine", "release", name).exit_code == 2
    assert call("quarantine", "release", name, "--reason", " ").exit_code == 2
    released = call("quarantine", "release", name, "--reason", "The lab confirms it.")

    assert released.exit_code == 0, released.output
    assert "The lab confirms it." in released.output
    assert len(frame_of(WaferStore(stores), TRAINING, name)) == 30
    with open_instance(stores) as instance:
        (event,) = instance.fetch_materializations(feed_key(TRAINING, "validated_batches"), limit=1).records
    assert event.asset_materialization is not None
    warnings = event.asset_materialization.metadata["warnings"]
    assert isinstance(warnings, dg.TableMetadataValue)
    assert [warning.data["code"] for warning in warnings.records] == ["fault_rate_implausible"]
    (record,) = ReleaseLog(stores).history(TRAINING)
    assert (record.reason, record.batch) == ("The lab confirms it.", name)
    assert call("quarantine", "release", name, "--reason", "Again.").exit_code == 1


def test_name_with_a_percent_sign_is_listed_and_shown_as_it_is_written(stores: Settings) -> None:
    refuse(stores, "50%25 off.csv", "one too many")

    (listed,) = json.loads(call("quarantine", "list", "--json").stdout)
    assert listed["batch"] == "50%25 off.csv"
    shown = json.loads(call("quarantine", "show", listed["batch"], "--json").stdout)
    assert shown["batch"] == "50%25 off.csv"
    assert "0 of 1 batches" in call("quarantine", "replay", listed["batch"]).output

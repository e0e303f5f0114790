"""What counts as new, changed, gone or waiting in the landing bucket, and what `wafer ingest` takes up of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from resources.mongo import WaferStore
from resources.s3 import S3Store, StoredObject
from tests.feeds import LINE, TRAINING, line_like
from wafer_assets.definitions import build_defs
from wafer_assets.keys import landing_key
from wafer_assets.operations.landing import ReportedFile, SameNameError, plan_tick, report_vanished, take_up, upload
from wafer_assets.settings import Settings

NOTES = "notes.csv"


def landed(key: str, etag: str = "a", age: int = 0) -> StoredObject:
    return StoredObject(key, 1, etag, datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=age))


def reported(event: int, etag: str = "a", *, vanished: bool = False) -> ReportedFile:
    return ReportedFile(etag, vanished, event)


def test_only_new_and_changed_files_of_the_line_are_changed_oldest_first() -> None:
    listing = [
        landed("secom/training/known.csv"),
        landed("secom/training/changed.csv", etag="b"),
        landed("secom/training/new.csv", age=1),
        landed("secom/prediction/other.csv"),
    ]
    tick = plan_tick(TRAINING, listing, {"known.csv": reported(1), "changed.csv": reported(2)})
    assert list(tick.changed) == ["new.csv", "changed.csv"]
    assert not tick.vanished
    assert not tick.waiting  # nobody looked


def test_lines_look_each_at_its_own_folder() -> None:
    etch = line_like("etch", files=LINE.files.model_copy(update={"landing": "fab/etch"}))
    listing = [landed("fab/etch/training/own.csv"), landed("etch/training/x.csv"), landed("secom/training/y.csv")]
    assert list(plan_tick(etch.feed("training"), listing, {}).changed) == ["own.csv"]
    assert list(plan_tick(TRAINING, listing, {}).changed) == ["y.csv"]


def test_a_file_that_left_has_vanished_once_and_is_new_when_it_is_back() -> None:
    gone = plan_tick(TRAINING, [], {"left.csv": reported(1), "told.csv": reported(2, vanished=True)})
    assert gone.vanished == ["left.csv"]
    back = plan_tick(TRAINING, [landed("secom/training/told.csv")], {"told.csv": reported(2, vanished=True)})
    assert list(back.changed) == ["told.csv"]
    assert not back.vanished


def test_files_without_outcome_wait_in_the_order_of_their_reports() -> None:
    batches = {"late.csv": reported(9), "b.csv": reported(3), "a.csv": reported(5), "done.csv": reported(1)}
    listing = [landed(f"secom/training/{batch}") for batch in batches]
    tick = plan_tick(TRAINING, listing, batches, {"done.csv": "a", "a.csv": "of an earlier version"}, until=5)
    assert list(tick.waiting) == ["b.csv", "a.csv"]
    assert not tick.changed


def test_what_cannot_be_stored_waits_for_another_version_only() -> None:
    listing = [landed("secom/training/bad.csv", etag="x")]
    known = {"bad.csv": reported(1, "x")}
    assert not plan_tick(TRAINING, listing, known, {}, given_up={("bad.csv", "x")}).waiting
    assert list(plan_tick(TRAINING, listing, known, {}, given_up={("bad.csv", "w")}).waiting) == ["bad.csv"]


def test_a_file_that_changed_does_not_wait_as_well() -> None:
    tick = plan_tick(TRAINING, [landed("secom/training/a.csv", etag="new")], {"a.csv": reported(1, "old")}, {})
    assert list(tick.changed) == ["a.csv"]
    assert not tick.waiting


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def drop(s3: S3Store, content: bytes = b"notes") -> None:
    s3.put(s3.landing, landing_key(TRAINING, NOTES), content)


def ingested(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    """Ingest what is to be ingested, in one run; return the batches at its ends."""
    found = take_up(instance, TRAINING, S3Store(settings), WaferStore(settings))
    job = build_defs(settings).resolve_job_def("secom__ingest_training")
    for part in found:
        job.execute_in_process(instance=instance, tags=part.tags)
    return [part.first for part in found]


def test_a_file_is_taken_up_until_dagster_knows_its_outcome(
    settings: Settings, s3: S3Store, instance: dg.DagsterInstance
) -> None:
    drop(s3)
    assert len(take_up(instance, TRAINING, s3, WaferStore(settings))) == 1, "it is told"
    assert ingested(settings, instance) == [NOTES], "and has no outcome yet"
    assert ingested(settings, instance) == []
    drop(s3, b"other notes")
    assert ingested(settings, instance) == [NOTES]


def test_a_file_that_was_gone_and_is_back_as_it_was_is_not_ingested_again(
    settings: Settings, s3: S3Store, instance: dg.DagsterInstance
) -> None:
    drop(s3)
    assert ingested(settings, instance) == [NOTES]
    report_vanished(instance, TRAINING, [NOTES])
    assert ingested(settings, instance) == []


def test_everything_is_taken_up_where_it_is_asked_for(
    settings: Settings, s3: S3Store, instance: dg.DagsterInstance
) -> None:
    drop(s3)
    assert ingested(settings, instance) == [NOTES]
    (only,) = take_up(instance, TRAINING, s3, WaferStore(settings), everything=True)
    assert (only.first, only.last) == (NOTES, NOTES)


def test_two_different_files_of_one_name_are_refused_before_any_is_sent(s3: S3Store, tmp_path: Path) -> None:
    files = [tmp_path / folder / "wafer_01012022_000000.csv" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"of the folder {file.parent.name}")

    with pytest.raises(SameNameError) as error:
        list(upload(s3, TRAINING, files))
    assert all(str(file) in str(error.value) for file in files)
    assert s3.list_objects(s3.landing) == []

    files[1].write_bytes(files[0].read_bytes())
    assert list(upload(s3, TRAINING, files)) == [True, False]

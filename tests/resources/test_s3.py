"""The object store: exact content, whole listings, clear errors."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from resources.s3 import InvalidKeyError, ObjectChangedError, ObjectNotFoundError, S3Store
from wafer_assets.settings import NotConfiguredError, Settings

KEYS = [
    "wafer_28012020_051011.csv",
    "secom/training/wafer 28012020 051011.csv",
    "晶圆_28012020.csv",
    "e\u0301\u00e9.csv",  # twice the same letter, in two ways
    "100% +x&y=z?#[1]'\"~.csv",
    " leading and trailing ",
    "x" * 200,
]
NO_KEYS = [
    "",
    "/",
    "a//b",
    "a/",
    "/a",
    "..",
    "../a.csv",
    "a/../b.csv",
    "./a",
    "a\\b",
    "a\nb",
    "\x00",
    "ü" * 513,
]


@pytest.mark.parametrize("key", KEYS)
def test_any_plain_path_is_a_key(s3: S3Store, key: str) -> None:
    s3.put(s3.landing, key, b"content")
    assert s3.get(s3.landing, key) == b"content"
    assert [item.key for item in s3.list_objects(s3.landing)] == [key]
    assert s3.head(s3.landing, key) == s3.list_objects(s3.landing)[0]
    s3.copy(s3.landing, key, s3.lake, key)
    assert s3.get(s3.lake, key) == b"content"
    s3.delete(s3.landing, key)
    assert not s3.exists(s3.landing, key)
    s3.delete(s3.landing, key)


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_would_not_come_back_as_it_is_is_refused(s3: S3Store, key: str) -> None:
    for use in (s3.get, s3.head, s3.exists, s3.delete):
        with pytest.raises(InvalidKeyError, match="Rename"):
            use(s3.landing, key)
    with pytest.raises(InvalidKeyError):
        s3.put(s3.landing, key, b"")
    with pytest.raises(InvalidKeyError):
        s3.upload(s3.landing, key, io.BytesIO())


def test_an_object_is_described(s3: S3Store) -> None:
    s3.put(s3.landing, "file.csv", b"12345")
    described = s3.head(s3.landing, "file.csv")
    assert described.size == 5
    assert abs(datetime.now(UTC) - described.last_modified) < timedelta(minutes=1)


def test_a_listing_is_whole_and_knows_prefixes(s3: S3Store) -> None:
    keys = {f"secom/training/{number:04}.csv" for number in range(1_050)} | {
        "training-old.csv",
        "secom/prediction/1.csv",
    }
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put(s3.landing, key, b""), keys))
    assert {item.key for item in s3.list_objects(s3.landing)} == keys
    assert len(s3.list_objects(s3.landing, "secom/training/")) == 1_050
    assert s3.list_objects(s3.landing, "nothing/") == []


def test_a_failed_listing_is_no_empty_listing(settings: Settings) -> None:
    stranger = settings.s3.model_copy(update={"secret_access_key": SecretStr("guessed")})
    with pytest.raises(ClientError):
        S3Store(settings.model_copy(update={"s3": stranger})).list_objects("landing")
    nobody = settings.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:1"})
    with pytest.raises(BotoCoreError):
        S3Store(settings.model_copy(update={"s3": nobody})).list_objects("landing")


def test_a_missing_object_is_named(s3: S3Store) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"no object 'nothing\.csv' in the bucket 'landing'"):
        s3.get(s3.landing, "nothing.csv")
    with pytest.raises(ObjectNotFoundError):
        s3.head(s3.landing, "nothing.csv")
    with pytest.raises(ObjectNotFoundError):
        s3.copy(s3.landing, "nothing.csv", s3.lake, "nothing.csv")


def test_an_object_that_was_replaced_since_it_was_listed_is_noticed(s3: S3Store) -> None:
    s3.put(s3.landing, "file.csv", b"old")
    listed = s3.list_objects(s3.landing)[0]
    assert s3.get(s3.landing, "file.csv", etag=listed.etag) == b"old"
    s3.put(s3.landing, "file.csv", b"new")
    with pytest.raises(ObjectChangedError, match="replaced since"):
        s3.get(s3.landing, "file.csv", etag=listed.etag)


def test_an_upload_reports_its_progress(s3: S3Store, tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_bytes(bytes(range(256)) * 80_000)
    sent: list[int] = []
    with file.open("rb") as stream:
        s3.upload(s3.landing, "large.csv", stream, sent.append)
    assert sum(sent) == s3.head(s3.landing, "large.csv").size == file.stat().st_size
    assert len(sent) > 1
    assert s3.get(s3.landing, "large.csv") == file.read_bytes()


def test_a_laptop_without_services_never_talks_to_aws() -> None:
    store = S3Store(Settings())
    with pytest.raises(NotConfiguredError, match="wafer services up"):
        store.list_objects(store.landing)


@pytest.mark.parametrize("size", [10, 9 << 20], ids=["small", "copied in parts"])
def test_a_copy_takes_the_metadata_along(s3: S3Store, size: int) -> None:
    content = bytes(size)
    s3.put(s3.lake, "a", content, {"training": "1", "config-hash": "abc"})
    s3.copy(s3.lake, "a", s3.lake, "b")
    copied, metadata = s3.read(s3.lake, "b")
    assert copied == content
    assert {name.lower(): value for name, value in metadata.items()} == {"training": "1", "config-hash": "abc"}

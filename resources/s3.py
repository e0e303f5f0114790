"""Object storage: everything the platform does with S3 goes through `S3Store`.

Which objects there are is in `wafer_assets.keys`, and how assets' values become objects in `resources.io_managers`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from wafer_assets.settings import NotConfiguredError, S3Settings, Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_KEY_BYTES = 1024  # S3's limit


class InvalidKeyError(ValueError):
    """A key that is no plain path, so that some client or server on the way would turn it into another."""

    code = "invalid_key"


class ObjectNotFoundError(LookupError):
    """The bucket holds no object of that key."""

    code = "object_not_found"


class ObjectChangedError(RuntimeError):
    """The object is not the version that was asked for."""

    code = "object_changed"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What S3 says of an object; `etag` changes with the content, `size` is in bytes."""

    key: str
    size: int
    etag: str
    last_modified: datetime


class S3Store:
    """The platform's buckets.

    The client is made at the first use: a store of settings without an endpoint can be built, not used. Keys
    are plain paths of up to 1,024 bytes, in any script and with spaces; others raise `InvalidKeyError`.
    Errors of the server and the network are botocore's, after five tries.

    Attributes
    ----------
    landing, lake
        Names of the buckets.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.landing = settings.s3.landing_bucket
        self.lake = settings.s3.lake_bucket

    @cached_property
    def _client(self) -> "S3Client":
        if self._settings.environment == "local" and self._settings.s3.endpoint_url is None:
            raise NotConfiguredError("S3", "WAFER_S3__ENDPOINT_URL")
        return s3_client(self._settings.s3)

    def list_objects(self, bucket: str, prefix: str = "") -> list[StoredObject]:
        """List all objects whose keys start with `prefix`, in the server's order.

        Raises
        ------
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
            The listing failed, in whole or in part. A failed listing is never a short or empty one.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [
            StoredObject(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"])
            for page in pages
            for item in page.get("Contents", [])
        ]

    def head(self, bucket: str, key: str) -> StoredObject:
        """Describe an object without reading it.

        Raises
        ------
        ObjectNotFoundError
            There is none.
        """
        with _translated(bucket, key):
            found = self._client.head_object(Bucket=bucket, Key=key)
        return StoredObject(key, found["ContentLength"], found["ETag"].strip('"'), found["LastModified"])

    def exists(self, bucket: str, key: str) -> bool:
        """Return whether the bucket holds an object of that key."""
        try:
            self.head(bucket, key)
        except ObjectNotFoundError:
            return False
        return True

    def get(self, bucket: str, key: str, *, etag: str | None = None) -> bytes:
        """Read an object, or only that version of it.

        Raises
        ------
        ObjectNotFoundError
            There is none.
        ObjectChangedError
            Its ETag is not `etag`.
        """
        with _translated(bucket, key):
            if etag is None:
                found = self._client.get_object(Bucket=bucket, Key=key)
            else:
                found = self._client.get_object(Bucket=bucket, Key=key, IfMatch=f'"{etag}"')
            return found["Body"].read()

    def read(self, bucket: str, key: str) -> tuple[bytes, Mapping[str, str]]:
        """Read an object and its metadata, both of one version.

        Raises
        ------
        ObjectNotFoundError
            There is none.
        """
        with _translated(bucket, key):
            found = self._client.get_object(Bucket=bucket, Key=key)
            return found["Body"].read(), found["Metadata"]

    def put(self, bucket: str, key: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object and its metadata in one request: readers see the old or the new one, never a part."""
        with _translated(bucket, key):
            self._client.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata or {})

    def upload(self, bucket: str, key: str, file: IO[bytes], progress: Callable[[int], None] | None = None) -> None:
        """Write an object from a file of any size; `progress` is told the bytes sent since its last call."""
        with _translated(bucket, key):
            self._client.upload_fileobj(file, bucket, key, Callback=progress)

    def copy(self, bucket: str, key: str, to_bucket: str, to_key: str, *, etag: str | None = None) -> None:
        """Copy an object of any size within the server, with its metadata, or only that version of it.

        Raises
        ------
        ObjectNotFoundError
            There is none.
        ObjectChangedError
            Its ETag is not `etag`, or it was replaced meanwhile.
        """
        with _translated(to_bucket, to_key), _translated(bucket, key):
            # A large object is copied in parts: by itself, that loses the metadata and may mix two versions.
            found = self._client.head_object(Bucket=bucket, Key=key)
            version = {"CopySourceIfMatch": f'"{etag}"' if etag else found["ETag"]}
            extra = version | {"Metadata": found["Metadata"], "MetadataDirective": "REPLACE"}
            self._client.copy({"Bucket": bucket, "Key": key}, to_bucket, to_key, ExtraArgs=extra)

    def page_url(self, key: str) -> str:
        """Return the address under which people open a page of the lake bucket."""
        if self._settings.pages_url:
            return f"{self._settings.pages_url.rstrip('/')}/{quote(key)}"
        region = self._settings.s3.region
        return f"https://{region}.console.aws.amazon.com/s3/object/{self.lake}?region={region}&prefix={quote(key)}"

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object if there is one."""
        with _translated(bucket, key):
            self._client.delete_object(Bucket=bucket, Key=key)


def s3_client(settings: S3Settings, *, attempts: int = 5) -> "S3Client":
    """Return a boto3 client that gives up after so many attempts, each after a minute without an answer."""
    import boto3
    from botocore.config import Config

    access, secret = settings.access_key_id, settings.secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=access.get_secret_value() if access else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": attempts},
            # Servers other than AWS have no host name per bucket.
            s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
        ),
    )


@contextmanager
def _translated(bucket: str, key: str) -> Iterator[None]:
    """Refuse keys that would not come back as they are, and name the object in the errors one expects."""
    from botocore.exceptions import ClientError

    require_plain_key(key)
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchKey", "404"):
            raise ObjectNotFoundError(f"There is no object {key!r} in the bucket {bucket!r}.") from error
        if code in ("PreconditionFailed", "412"):
            raise ObjectChangedError(
                f"The object {key!r} in the bucket {bucket!r} was replaced since it was listed. List the bucket again."
            ) from error
        raise


def require_plain_key(key: str) -> None:
    """Require that a key is a plain path, which every server and every tool takes as it is.

    Raises
    ------
    InvalidKeyError
        It has an empty part, ``.`` or ``..``, a backslash or a character that cannot be printed, or is too long.
    """
    if problem := _problem(key):
        raise InvalidKeyError(f"The key {key!r} {problem}. Rename the file or the asset it comes from.")


def _problem(key: str) -> str | None:
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        return "is no plain path: it has an empty part, `.` or `..`"
    if not key.isprintable() or "\\" in key:
        return "holds a backslash or a character that cannot be printed"
    if len(key.encode()) > _MAX_KEY_BYTES:
        return f"is longer than {_MAX_KEY_BYTES} bytes"
    return None

"""What is in a bucket, every version of it, and how it is emptied."""

from dataclasses import dataclass

import boto3
from botocore.exceptions import ClientError


@dataclass(frozen=True)
class Content:
    """How much a bucket holds."""

    versions: int
    megabytes: float


def content(session: boto3.Session, bucket: str) -> Content | None:
    """Count all versions of all objects; ``None`` if there is no such bucket."""
    pages = session.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket)
    versions, size = 0, 0
    try:
        for page in pages:
            versions += len(page.get("Versions", [])) + len(page.get("DeleteMarkers", []))
            size += sum(version["Size"] for version in page.get("Versions", []))
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            return None
        raise
    return Content(versions, size / 1e6)


def empty(session: boto3.Session, bucket: str) -> int:
    """Delete every version, every mark of deletion and every part of an unfinished upload; return how many versions.

    Raises
    ------
    RuntimeError
        If S3 keeps one of them.
    """
    s3, deleted = session.client("s3"), 0
    # Each page is listed anew from the start: what a page held is gone by then.
    while True:
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=1000)
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not found:
            break
        objects = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        kept = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors", [])  # type: ignore[typeddict-item]
        if kept:
            raise RuntimeError(f"S3 keeps {len(kept)} objects of {bucket}, first {kept[0]}")
        deleted += len(objects)
    for uploads in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in uploads.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    return deleted

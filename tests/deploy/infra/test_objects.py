"""A bucket is emptied of every version, and of what was never finished."""

import boto3
import pytest

from deploy.infra.objects import Content, content, empty
from tests.deploy.infra.conftest import NO_TOOLS, REGION

pytestmark = [NO_TOOLS, pytest.mark.infra]


@pytest.fixture
def bucket(aws: boto3.Session) -> str:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="mine", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="mine", VersioningConfiguration={"Status": "Enabled"})
    return "mine"


def test_versions_marks_and_unfinished_uploads_go(aws: boto3.Session, bucket: str) -> None:
    s3 = aws.client("s3")
    for body in (b"first", b"second"):
        s3.put_object(Bucket=bucket, Key="secom/training/a.csv", Body=body)
    s3.put_object(Bucket=bucket, Key="secom/training/b.csv", Body=b"x" * 1000)
    s3.delete_object(Bucket=bucket, Key="secom/training/b.csv")
    s3.create_multipart_upload(Bucket=bucket, Key="secom/training/c.csv")
    assert content(aws, bucket) == Content(versions=4, megabytes=pytest.approx(0.001011))
    assert empty(aws, bucket) == 4
    assert content(aws, bucket) == Content(0, 0)
    s3.delete_bucket(Bucket=bucket)
    assert content(aws, bucket) is None


def test_more_versions_than_a_page_holds_go(aws: boto3.Session, bucket: str) -> None:
    s3 = aws.client("s3")
    for number in range(1005):
        s3.put_object(Bucket=bucket, Key=f"runs/{number}", Body=b"")
    assert empty(aws, bucket) == 1005
    assert content(aws, bucket) == Content(0, 0)


def test_an_empty_bucket_stays_as_it_is(aws: boto3.Session, bucket: str) -> None:
    assert empty(aws, bucket) == 0

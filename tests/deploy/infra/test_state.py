"""The bucket of Terraform's state is made once, privately, and goes with the environment."""

import json

import boto3
import pytest

from deploy.infra.environment import Environment
from deploy.infra.state import delete_state, make_state
from tests.deploy.infra.conftest import NO_TOOLS

pytestmark = [NO_TOOLS, pytest.mark.infra]


@pytest.fixture
def environment() -> Environment:
    return Environment.read("dev")


def test_it_is_private_versioned_and_encrypted_and_made_once(aws: boto3.Session, environment: Environment) -> None:
    assert make_state(aws, environment) is True
    assert make_state(aws, environment) is False
    s3, bucket = aws.client("s3"), environment.state_bucket
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert {tag["Key"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]} == {"project", "environment", "owner"}


def test_it_goes_with_every_version_of_the_state(aws: boto3.Session, environment: Environment) -> None:
    make_state(aws, environment)
    s3 = aws.client("s3")
    for body in (b"{}", b"{ }"):
        s3.put_object(Bucket=environment.state_bucket, Key="cloud.tfstate", Body=body)
    delete_state(aws, environment)
    assert s3.list_buckets()["Buckets"] == []
    delete_state(aws, environment)

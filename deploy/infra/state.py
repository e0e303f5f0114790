"""The bucket of Terraform's state: the one thing that Terraform cannot make itself."""

import json

import boto3
from botocore.exceptions import ClientError

from deploy.infra.environment import Environment, InfraError
from deploy.infra.objects import empty


def make_state(session: boto3.Session, environment: Environment) -> bool:
    """Make the bucket, private, versioned and encrypted, and say whether it is new; safe to repeat.

    Raises
    ------
    InfraError
        If the name belongs to somebody else.
    """
    s3, bucket = session.client("s3"), environment.state_bucket
    new = not _is_there(session, bucket)
    if new:
        place = {"CreateBucketConfiguration": {"LocationConstraint": environment.region}}
        try:
            s3.create_bucket(Bucket=bucket, **({} if environment.region == "us-east-1" else place))  # type: ignore[arg-type]
        except ClientError as error:
            raise InfraError(
                f"The bucket {bucket} cannot be made: {error}. Change `project`, if it is taken."
            ) from None
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(_tls_only(bucket)))
    tags = {"project": environment.project, "environment": environment.name, "owner": "terraform"}
    s3.put_bucket_tagging(
        Bucket=bucket, Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}
    )
    return new


def delete_state(session: boto3.Session, environment: Environment) -> None:
    """Delete the bucket with every version of the state."""
    if _is_there(session, environment.state_bucket):
        empty(session, environment.state_bucket)
        session.client("s3").delete_bucket(Bucket=environment.state_bucket)


def _is_there(session: boto3.Session, bucket: str) -> bool:
    try:
        session.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return False
        raise InfraError(
            f"The bucket {bucket} is there, but not yours: {error}. Choose another `project`, or sign in as its owner."
        ) from None
    return True


def _tls_only(bucket: str) -> dict[str, object]:
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "RefusePlainHttp",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": resources,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }

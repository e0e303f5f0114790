"""What is left in an account is found service by service, on a stand-in for AWS: all of it, and nothing besides."""

from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from deploy.infra.environment import Environment
from deploy.infra.leftovers import KINDS, leftovers
from tests.deploy.infra.conftest import NO_TOOLS, REGION, Infra

pytestmark = [NO_TOOLS, pytest.mark.infra]

NAME = "wafer-dev"


@pytest.fixture
def environment() -> Environment:
    return Environment.read("dev")


def tags(**given: str) -> list[Any]:
    return [{"Key": key, "Value": value} for key, value in given.items()]


OURS = {"project": "wafer", "environment": "dev", "owner": "me"}


def found(session: boto3.Session, environment: Environment) -> set[tuple[str, bool]]:
    return {(item.service, item.ours) for item in leftovers(session, environment)}


def test_in_an_empty_account_nothing_is_left(aws: boto3.Session, environment: Environment) -> None:
    assert leftovers(aws, environment) == []


def seed_network(aws: boto3.Session, **named: str) -> tuple[str, list[str]]:
    """Make a VPC with two subnets."""
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    if named:
        ec2.create_tags(Resources=[vpc], Tags=tags(**named))
    zones = [f"{REGION}{letter}" for letter in "ab"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{index}.0/24", AvailabilityZone=zone)
        for index, zone in enumerate(zones)
    ]
    return vpc, [made["Subnet"]["SubnetId"] for made in subnets]


def test_what_lost_its_tags_is_listed_as_nobodys(aws: boto3.Session, environment: Environment) -> None:
    ec2 = aws.client("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]
    ec2.create_snapshot(VolumeId=volume)
    ec2.allocate_address(Domain="vpc")
    _, subnets = seed_network(aws)
    aws.client("elbv2").create_load_balancer(Name="k8s-wafer-0123", Subnets=subnets)
    aws.client("logs").create_log_group(logGroupName="/somebody/else")
    aws.client("secretsmanager").create_secret(Name="somebody/else", SecretString="x")
    assert found(aws, environment) == {
        ("volume", False),
        ("snapshot of a volume", False),
        ("address", False),
        ("load balancer", False),
        ("log group", False),
        ("secret", False),
    }


def test_what_carries_the_environments_name_or_tags_is_its_own(aws: boto3.Session, environment: Environment) -> None:
    ec2 = aws.client("ec2")
    vpc, subnets = seed_network(aws, Name=NAME)
    group = ec2.create_security_group(GroupName="k8s-traffic", Description="made by a controller", VpcId=vpc)["GroupId"]
    ec2.create_network_interface(SubnetId=subnets[0], Groups=[group])
    ec2.create_volume(
        AvailabilityZone=f"{REGION}a", Size=8, TagSpecifications=[{"ResourceType": "volume", "Tags": tags(**OURS)}]
    )
    aws.client("elbv2").create_load_balancer(Name="k8s-a", Subnets=subnets, Tags=tags(**{"eks:eks-cluster-name": NAME}))
    aws.client("logs").create_log_group(logGroupName=f"/aws/eks/{NAME}/cluster")
    aws.client("secretsmanager").create_secret(Name=f"{NAME}/stores", SecretString="x")
    aws.client("ecr").create_repository(repositoryName=f"{NAME}/wafer-fault-platform")
    aws.client("s3").create_bucket(Bucket=f"{NAME}-lake-1", CreateBucketConfiguration={"LocationConstraint": REGION})
    aws.client("iam").create_role(RoleName=f"{NAME}-runs", AssumeRolePolicyDocument="{}")
    aws.client("eks").create_cluster(
        name=NAME, roleArn="arn:aws:iam::1:role/a", resourcesVpcConfig={"subnetIds": subnets}
    )
    key = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
    aws.client("kms").create_alias(AliasName=f"alias/{NAME}-data", TargetKeyId=key)
    ours = {service for service, is_ours in found(aws, environment) if is_ours}
    assert ours == {
        *("network", "security group", "network interface", "volume", "load balancer", "log group", "secret"),
        *("registry of images", "bucket", "role", "cluster", "name of a key"),
    }


def test_what_is_of_another_environment_is_left_out(aws: boto3.Session, environment: Environment) -> None:
    other = tags(project="wafer", environment="production")
    ec2 = aws.client("ec2")
    ec2.create_volume(
        AvailabilityZone=f"{REGION}a", Size=8, TagSpecifications=[{"ResourceType": "volume", "Tags": other}]
    )
    aws.client("logs").create_log_group(logGroupName="/aws/eks/wafer-production/cluster")
    # Its name begins like ours.
    aws.client("s3").create_bucket(
        Bucket=f"{NAME}elopment-lake", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    aws.client("iam").create_role(RoleName=f"my-{NAME}-runs", AssumeRolePolicyDocument="{}")
    assert leftovers(aws, environment) == []


def test_what_was_kept_on_purpose_is_no_leftover(aws: boto3.Session, environment: Environment) -> None:
    aws.client("s3").create_bucket(Bucket=f"{NAME}-kept", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert [item.name for item in leftovers(aws, environment)] == [f"{NAME}-kept"]
    assert leftovers(aws, environment, [f"{NAME}-kept"]) == []


def test_a_snapshot_of_a_database_is_found(aws: boto3.Session, environment: Environment) -> None:
    rds = aws.client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier=NAME, DBInstanceClass="db.t4g.micro", Engine="postgres", AllocatedStorage=20,
        MasterUsername="postgres", MasterUserPassword="only-for-the-stand-in",
    )  # fmt: skip
    rds.create_db_snapshot(DBInstanceIdentifier=NAME, DBSnapshotIdentifier=f"{NAME}-final-1")
    left = {item.service: item for item in leftovers(aws, environment)}
    assert set(left) >= {"database", "snapshot of a database"}
    assert "20" in left["snapshot of a database"].detail


def test_a_service_that_does_not_answer_is_not_taken_for_empty(
    aws: boto3.Session, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(EndpointConnectionError):
        leftovers(aws, environment)


def test_the_command_tells_by_its_status_whether_anything_of_ours_is_left(aws: boto3.Session, infra: Infra) -> None:
    aws.client("logs").create_log_group(logGroupName="/somebody/else")
    done = infra("sweep", "dev")
    assert (done.returncode, "Left of wafer-dev: nothing" in done.stdout) == (0, True)
    assert "log group                /somebody/else" in done.stdout
    aws.client("logs").create_log_group(logGroupName=f"/aws/eks/{NAME}/cluster")
    done = infra("sweep", "dev")
    assert (done.returncode, "Left of wafer-dev: 1" in done.stdout) == (3, True)


def test_every_kind_that_costs_money_is_listed_whosever_it_is() -> None:
    assert {kind.service for kind in KINDS if kind.anybodys} == {
        *("load balancer", "machine", "volume", "snapshot of a volume", "address", "NAT gateway", "cluster"),
        *("database", "snapshot of a database", "log group", "secret", "registry of images"),
    }

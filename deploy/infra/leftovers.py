"""What is left in the account, service by service.

Looks at everything in the region and then asks whose it is, not the other way round: what a controller made, or what
lost its tags, is in no list by tag. What carries the environment's name is its own; what could be anybody's is
listed too, for a person to judge; what says that it is somebody else's is left out.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import boto3
from botocore.exceptions import ClientError

from deploy.infra.environment import Environment

Item: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Leftover:
    """Something that is there.

    Attributes
    ----------
    service : str
        What kind of thing it is.
    name : str
        By what AWS knows it.
    detail : str
        What it is like.
    ours : bool
        Whether it carries the environment's name, or is in the environment's network.
    """

    service: str
    name: str
    detail: str
    ours: bool


class Kind(NamedTuple):
    """A kind of thing, and how it is listed."""

    service: str
    """As people read it."""
    client: str
    operation: str
    key: str
    """Key of the things in the answer."""
    identity: str
    """Key of what AWS knows a thing by."""
    anybodys: bool = False
    """Whether one without a name is listed too: where leaving it costs money."""


KINDS = (
    Kind("load balancer", "elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerArn", True),
    Kind("target group", "elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn"),
    Kind("machine", "ec2", "describe_instances", "Reservations", "InstanceId", True),
    Kind("volume", "ec2", "describe_volumes", "Volumes", "VolumeId", True),
    Kind("snapshot of a volume", "ec2", "describe_snapshots", "Snapshots", "SnapshotId", True),
    Kind("address", "ec2", "describe_addresses", "Addresses", "AllocationId", True),
    Kind("NAT gateway", "ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId", True),
    Kind("network interface", "ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    Kind("VPC endpoint", "ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    Kind("peering", "ec2", "describe_vpc_peering_connections", "VpcPeeringConnections", "VpcPeeringConnectionId"),
    Kind("security group", "ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    Kind("network", "ec2", "describe_vpcs", "Vpcs", "VpcId"),
    Kind("cluster", "eks", "list_clusters", "clusters", "Name", True),
    Kind("database", "rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier", True),
    Kind("snapshot of a database", "rds", "describe_db_snapshots", "DBSnapshots", "DBSnapshotIdentifier", True),
    Kind("log group", "logs", "describe_log_groups", "logGroups", "logGroupName", True),
    Kind("secret", "secretsmanager", "list_secrets", "SecretList", "Name", True),
    Kind("registry of images", "ecr", "describe_repositories", "repositories", "repositoryName", True),
    Kind("bucket", "s3", "list_buckets", "Buckets", "Name"),
    Kind("role", "iam", "list_roles", "Roles", "RoleName"),
    Kind("certificate", "acm", "list_certificates", "CertificateSummaryList", "CertificateArn"),
    Kind("name of a key", "kms", "list_aliases", "Aliases", "AliasName"),
)
# Not those that AWS gives to everybody, and not the daily backups, which go with their database.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "describe_snapshots": {"OwnerIds": ["self"]},
    "describe_db_snapshots": {"SnapshotType": "manual"},
}
_GONE = {"deleted", "deleting", "terminated", "shutting-down", "rejected", "expired"}
_DETAILS = (
    "Type",
    "InstanceType",
    "Size",
    "VolumeSize",
    "AllocatedStorage",
    "PublicIp",
    "CidrBlock",
    "DomainName",
    "GroupName",
)


def leftovers(session: boto3.Session, environment: Environment, expected: Iterable[str] = ()) -> list[Leftover]:
    """Return what is there, the environment's own first.

    Parameters
    ----------
    session : boto3.Session
        In the environment's account and region.
    environment : Environment
        Whose leftovers are looked for.
    expected : iterable of str
        Names of what was kept on purpose, and is therefore no leftover.

    Raises
    ------
    botocore.exceptions.ClientError
        If a service does not answer: what could not be looked at is never taken for empty.
    """
    found = [(kind, item) for kind in KINDS for item in _items(session, kind)]
    networks = {item["VpcId"] for kind, item in found if kind.service == "network" and _named(environment, item)}
    left = []
    for kind, item in found:
        name = item[kind.identity]
        ours = _named(environment, item) or item.get("VpcId") in networks
        if name in expected or not (ours or (kind.anybodys and not _somebody_elses(environment, item))):
            continue
        detail = ", ".join(f"{key} {item[key]}" for key in _DETAILS if item.get(key))
        left.append(Leftover(kind.service, name, detail, ours))
    return sorted(left, key=lambda item: (not item.ours, item.service, item.name))


def _items(session: boto3.Session, kind: Kind) -> Iterator[Item]:
    client: Any = session.client(kind.client)  # type: ignore[call-overload]
    arguments = _ARGUMENTS.get(kind.operation, {})
    pages = (
        client.get_paginator(kind.operation).paginate(**arguments)
        if client.can_paginate(kind.operation)
        else [getattr(client, kind.operation)(**arguments)]
    )
    for page in pages:
        for found in page.get(kind.key, []):
            for item in found["Instances"] if kind.key == "Reservations" else [found]:
                thing = {kind.identity: item} if isinstance(item, str) else item
                if _counts(thing):
                    yield thing | (
                        {"Tags": _tags_of_balancer(client, thing[kind.identity])} if kind.client == "elbv2" else {}
                    )


def _counts(item: Item) -> bool:
    """Say whether a thing is there for good: neither on its way out nor what every account has."""
    state = item.get("State", item.get("Status", ""))
    name = state.get("Name", state.get("Code", "")) if isinstance(state, dict) else state
    return not (str(name).lower() in _GONE or item.get("IsDefault") or item.get("GroupName") == "default")


def _tags_of_balancer(client: Any, arn: str) -> list[Item]:
    try:
        (described,) = client.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    except ClientError as error:
        if error.response["Error"]["Code"].endswith("NotFound"):  # it went meanwhile
            return []
        raise
    return list(described["Tags"])


def _tags(item: Item) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for key in ("Tags", "TagSet", "TagList") for tag in item.get(key) or []}


def _named(environment: Environment, item: Item) -> bool:
    """Say whether an item has the environment's tags, or its whole name in one of its own words."""
    tags = _tags(item)
    own = tags.get("project") == environment.project and tags.get("environment") == environment.name
    return own or _says(item, environment.full_name)


def _somebody_elses(environment: Environment, item: Item) -> bool:
    """Say whether an item tells that it is of another environment or project."""
    tags = _tags(item)
    said = tags.get("project", environment.project), tags.get("environment", environment.name)
    others = {file.stem for file in environment.file.parent.glob("*.tfvars")} - {environment.name}
    named = any(_says(item, f"{environment.project}-{other}") for other in others)
    return named or said != (environment.project, environment.name)


def _says(item: Item, name: str) -> bool:
    whole = re.compile(rf"(?<![a-z0-9-]){re.escape(name)}(?![a-z0-9])")
    words = [value for value in item.values() if isinstance(value, str)]
    return any(whole.search(word) for word in [*words, *_tags(item).values()])

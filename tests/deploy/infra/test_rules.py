"""What every environment keeps to, read from what Terraform would have made of it; and what breaks a rule is found.

Each rule is a function that says what is wrong with a list of resources.
"""

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.deploy.infra.conftest import NO_TERRAFORM, terraform

pytestmark = [NO_TERRAFORM, pytest.mark.infra]

Resource: TypeAlias = dict[str, Any]
# Everything that each role may do, whoever has it.
ACTIONS = {
    "runs": {
        *("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
        *("kms:Decrypt", "kms:GenerateDataKey"),
    },
    "dagster": {
        *("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
        *("kms:Decrypt", "kms:GenerateDataKey"),
    },
    "mlflow": {
        *("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
        *("kms:Decrypt", "kms:GenerateDataKey"),
    },
    "external-secrets": {"secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret", "kms:Decrypt"},
    "external-dns": {
        *("route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets", "route53:ListTagsForResources"),
        "route53:ListHostedZones",
    },
    "partner-fab": {"s3:PutObject", "s3:AbortMultipartUpload", "kms:GenerateDataKey", "kms:Decrypt"},
    "network-log": {
        *("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams", "logs:DescribeLogGroups"),
    },
    "cluster": {
        *("ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateLaunchTemplate", "ec2:CreateVolume"),
        *("ec2:CreateSnapshot", "ec2:CreateNetworkInterface", "ec2:CreateSecurityGroup"),
        *("elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"),
        *("elasticloadbalancing:CreateListener", "elasticloadbalancing:CreateRule"),
    },
}
PREFIX = "wafer-production-"


def _walk(module: dict[str, Any]) -> Iterator[Resource]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _walk(child)


@pytest.fixture(scope="module")
def made(project: Path) -> dict[str, Any]:
    """The state of a production environment that was applied, and the plan that led to it."""
    folder = project / "deploy" / "terraform" / "cloud"
    override = folder / "backend_override.tf"
    override.write_text('terraform {\n  backend "local" {}\n}\n')
    options: dict[str, Any] = {"env": os.environ | {"TF_DATA_DIR": ".terraform/rules"}, "folder": folder}
    try:
        for command in (
            ["init"],
            ["plan", "-out=rules.plan", "-var-file=../environments/production.tfvars"],
            ["apply", "-auto-approve", "rules.plan"],
        ):
            done = terraform(*command, **options)
            assert done.returncode == 0, done.stderr
        state = json.loads(terraform("show", "-json", **options).stdout)["values"]["root_module"]
        plan = json.loads(terraform("show", "-json", "rules.plan", **options).stdout)
    finally:
        for file in (override, folder / "terraform.tfstate", folder / "rules.plan"):
            file.unlink(missing_ok=True)
    return {"resources": list(_walk(state)), "plan": plan}


@pytest.fixture
def resources(made: dict[str, Any]) -> list[Resource]:
    return [found for found in copy.deepcopy(made["resources"]) if found["mode"] == "managed"]


def of_type(resources: list[Resource], *types: str) -> list[Resource]:
    return [found for found in resources if found["type"] in types]


def open_to_the_world(resources: list[Resource]) -> list[str]:
    """Security groups and their rules that let anybody in."""
    found = []
    for resource in resources:
        values = resource["values"]
        rules = [values] if resource["type"].endswith("ingress_rule") else values.get("ingress") or []
        for rule in rules:
            networks = [rule.get("cidr_ipv4"), rule.get("cidr_ipv6"), *(rule.get("cidr_blocks") or [])]
            if any(network and network.endswith("/0") for network in networks):
                found.append(resource["address"])
        if values.get("publicly_accessible") or values.get("map_public_ip_on_launch"):
            found.append(resource["address"])
    return found


def public_buckets(resources: list[Resource]) -> list[str]:
    blocked = {
        resource["values"]["bucket"]
        for resource in of_type(resources, "aws_s3_bucket_public_access_block")
        if all(
            resource["values"][key] for key in resource["values"] if key.startswith(("block_", "ignore_", "restrict_"))
        )
    }
    buckets = of_type(resources, "aws_s3_bucket")
    found = [bucket["address"] for bucket in buckets if bucket["values"]["id"] not in blocked]
    return found + [
        policy["address"]
        for policy in of_type(resources, "aws_s3_bucket_policy")
        for statement in json.loads(policy["values"]["policy"])["Statement"]
        if statement["Effect"] == "Allow"
    ]


def unencrypted(resources: list[Resource]) -> list[str]:
    """What is stored without a key of our own."""
    keyed = {
        "aws_db_instance": "kms_key_id",
        "aws_secretsmanager_secret": "kms_key_id",
        "aws_cloudwatch_log_group": "kms_key_id",
    }
    found = [
        resource["address"]
        for resource in resources
        if resource["type"] in keyed and not resource["values"].get(keyed[resource["type"]])
    ]
    buckets = {bucket["values"]["id"] for bucket in of_type(resources, "aws_s3_bucket")}
    kinds = of_type(resources, "aws_s3_bucket_server_side_encryption_configuration")
    found += sorted(buckets - {kind["values"]["bucket"] for kind in kinds})
    for repository in of_type(resources, "aws_ecr_repository"):
        if not any(part["kms_key"] for part in repository["values"]["encryption_configuration"]):
            found.append(repository["address"])
    return found


def unprotected(resources: list[Resource]) -> list[str]:
    """What could be destroyed by mistake, with what is in it."""
    rules = {
        "aws_db_instance": ("deletion_protection", True),
        "aws_eks_cluster": ("deletion_protection", True),
        "mongodbatlas_advanced_cluster": ("termination_protection_enabled", True),
        "aws_ecr_repository": ("force_delete", False),
        "aws_secretsmanager_secret": ("recovery_window_in_days", 30),
        "aws_kms_key": ("deletion_window_in_days", 30),
    }
    found = [
        resource["address"]
        for resource in resources
        if resource["type"] in rules and resource["values"][rules[resource["type"]][0]] != rules[resource["type"]][1]
    ]
    buckets = of_type(resources, "aws_s3_bucket")
    return found + [bucket["address"] for bucket in buckets if bucket["values"].get("force_destroy")]


def endless_logs(resources: list[Resource]) -> list[str]:
    groups = of_type(resources, "aws_cloudwatch_log_group")
    return [group["address"] for group in groups if not group["values"].get("retention_in_days")]


def other_rights(resources: list[Resource]) -> list[str]:
    """Roles whose actions are not the list that the platform needs."""
    actions: dict[str, set[str]] = {}
    for policy in of_type(resources, "aws_iam_role_policy"):
        role = policy["values"]["role"].removeprefix(PREFIX)
        for statement in json.loads(policy["values"]["policy"])["Statement"]:
            given = statement["Action"]
            actions.setdefault(role, set()).update([given] if isinstance(given, str) else given)
    roles = {role["values"]["name"].removeprefix(PREFIX) for role in of_type(resources, "aws_iam_role")}
    differing = {role: actions.get(role, set()) ^ wanted for role, wanted in ACTIONS.items()}
    found = [f"{role}: {sorted(names)}" for role, names in differing.items() if names]
    return found + sorted(roles - set(ACTIONS) - {"nodes"})


def secrets_in_state(resources: list[Resource]) -> list[str]:
    """Values of secrets that Terraform would know."""
    versions = of_type(resources, "aws_secretsmanager_secret_version", "random_password")
    found = [resource["address"] for resource in versions]
    return found + [
        f"{resource['address']}.{key}"
        for resource in resources
        for key, value in resource["values"].items()
        if re.fullmatch(r".*password|secret_string|private_key.*", key) and isinstance(value, str) and value
    ]


Rule: TypeAlias = Callable[[list[Resource]], list[str]]
RULES: list[Rule] = [
    open_to_the_world,
    public_buckets,
    unencrypted,
    unprotected,
    endless_logs,
    other_rights,
    secrets_in_state,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_production_keeps_the_rule(rule: Rule, resources: list[Resource]) -> None:
    assert rule(resources) == []


def first(resources: list[Resource], type_: str) -> dict[str, Any]:
    values: dict[str, Any] = of_type(resources, type_)[0]["values"]
    return values


def _and_delete_versions(resources: list[Resource]) -> None:
    policy = next(p for p in of_type(resources, "aws_iam_role_policy") if p["values"]["role"] == f"{PREFIX}runs")[
        "values"
    ]
    policy["policy"] = policy["policy"].replace('"s3:DeleteObject"', '"s3:DeleteObject","s3:DeleteObjectVersion"')


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (open_to_the_world, lambda r: first(r, "aws_vpc_security_group_ingress_rule").update(cidr_ipv4="0.0.0.0/0")),
        (open_to_the_world, lambda r: first(r, "aws_db_instance").update(publicly_accessible=True)),
        (public_buckets, lambda r: first(r, "aws_s3_bucket_public_access_block").update(block_public_policy=False)),
        (public_buckets, lambda r: r.remove(of_type(r, "aws_s3_bucket_public_access_block")[0])),
        (unencrypted, lambda r: first(r, "aws_db_instance").update(kms_key_id=None)),
        (unencrypted, lambda r: r.remove(of_type(r, "aws_s3_bucket_server_side_encryption_configuration")[0])),
        (unprotected, lambda r: first(r, "aws_eks_cluster").update(deletion_protection=False)),
        (unprotected, lambda r: first(r, "aws_s3_bucket").update(force_destroy=True)),
        (endless_logs, lambda r: first(r, "aws_cloudwatch_log_group").update(retention_in_days=0)),
        (other_rights, _and_delete_versions),
        (other_rights, lambda r: first(r, "aws_iam_role").update(name="wafer-production-god")),
        (secrets_in_state, lambda r: first(r, "aws_db_instance").update(password="hunter2")),
    ],
)
def test_the_rule_finds_what_breaks_it(
    rule: Rule, change: Callable[[list[Resource]], object], resources: list[Resource]
) -> None:
    change(resources)
    assert rule(resources) != []


def test_nothing_is_untagged(made: dict[str, Any]) -> None:
    """AWS' provider tags all that it makes; what else has tags is given them."""
    config = made["plan"]["configuration"]["provider_config"]
    assert {provider["full_name"].rpartition("/")[2] for provider in config.values()} == {"aws", "mongodbatlas"}
    assert [key for key in config if key.startswith("aws")] == ["aws"]
    assert config["aws"]["expressions"]["default_tags"][0]["tags"] == {"references": ["local.tags"]}
    wanted = {"project": "wafer", "environment": "production", "owner": "wafer-platform"}
    tagged = [found for found in made["resources"] if "tags" in found["values"]]
    atlas = [found for found in tagged if found["type"].startswith("mongodbatlas")]
    assert {found["type"] for found in atlas} == {"mongodbatlas_project", "mongodbatlas_advanced_cluster"}
    for found in atlas:
        tags = found["values"]["tags"]
        assert (tags if isinstance(tags, dict) else {tag["key"]: tag["value"] for tag in tags}) == wanted


def test_each_role_reads_and_writes_where_it_must_and_nowhere_else(made: dict[str, Any]) -> None:
    resources = made["resources"]
    buckets = [found["values"] for found in of_type(resources, "aws_s3_bucket")]
    names = {bucket["arn"]: bucket["bucket"].split("-")[2] for bucket in buckets}
    objects = {"GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"}
    logs = {(action, "logs/dagster/*") for action in objects}
    expected = {
        "runs": {("ListBucket", bucket) for bucket in ("landing", "lake", "logs")}
        | {("GetObject", f"landing/secom/{feed}/*") for feed in ("training", "prediction")}
        | {(action, f"lake/{folder}/*") for action in objects for folder in ("secom", "runs")}
        | logs,
        "dagster": {("ListBucket", "logs")} | logs,
        "mlflow": {("ListBucket", "lake")} | {(action, "lake/mlflow/*") for action in objects},
        "partner-fab": {
            (action, f"landing/secom/{feed}/*")
            for action in ("PutObject", "AbortMultipartUpload")
            for feed in ("training", "prediction")
        },
    }
    for policy in of_type(resources, "aws_iam_role_policy"):
        role = policy["values"]["role"].removeprefix(PREFIX)
        if role not in expected:
            continue
        given = set()
        for statement in json.loads(policy["values"]["policy"])["Statement"]:
            for action in _listed(statement["Action"]):
                for resource in _listed(statement["Resource"]):
                    arn = next((arn for arn in names if resource.startswith(arn)), None)
                    if action.startswith("s3:"):
                        assert arn is not None, resource
                        given.add((action.removeprefix("s3:"), names[arn] + resource.removeprefix(arn)))
        assert given == expected.pop(role), role
    assert expected == {}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_a_role_is_for_one_service_account_of_this_cluster(made: dict[str, Any]) -> None:
    associations = of_type(made["resources"], "aws_eks_pod_identity_association")
    assert {(found["values"]["namespace"], found["values"]["service_account"]) for found in associations} == {
        ("wafer", "wafer-runs"),
        ("wafer-runs", "wafer-runs"),
        ("wafer", "dagster"),
        ("wafer", "mlflow"),
        ("external-secrets", "external-secrets"),
        ("external-dns", "external-dns"),
    }
    roles = {(found["values"]["role_arn"], found["values"]["service_account"]) for found in associations}
    assert len({role for role, _ in roles}) == len(roles) == len(associations) - 1, "code location and runs share one"

"""From an environment back to nothing: what will be lost is named first, and what is left is told afterwards."""

from dataclasses import dataclass
from typing import Any

import boto3
import click
from botocore.exceptions import ClientError

from deploy.infra.cluster import drain, reached
from deploy.infra.environment import Environment, InfraError
from deploy.infra.leftovers import Leftover, leftovers
from deploy.infra.objects import content, empty
from deploy.infra.stacks import Stack, kind, variables

# What refuses to be destroyed until an apply has taken its protection off.
PROTECTED = (
    "aws_eks_cluster",
    "aws_db_instance",
    "mongodbatlas_advanced_cluster",
    "aws_ecr_repository",
    "aws_secretsmanager_secret",
)


@dataclass(frozen=True)
class Losses:
    """What is there and will be no more, in words; and the buckets that have to be emptied."""

    words: list[str]
    buckets: list[str]


def losses(session: boto3.Session, environment: Environment, outputs: dict[str, Any]) -> Losses:
    """Look at what an environment holds."""
    facts = outputs.get("environment", {})
    words, buckets = [], []
    for key in ("LANDING_BUCKET", "LAKE_BUCKET", "LOGS_BUCKET"):
        held = content(session, facts[key]) if key in facts else None
        if held is not None:
            buckets.append(facts[key])
            words.append(f"bucket {facts[key]}: {held.versions:,} versions of objects, {held.megabytes:,.1f} MB")
    words.append(f"PostgreSQL {environment.full_name}: {_last_backup(session, environment)}")
    words.append(f"MongoDB Atlas {environment.full_name}: records, predictions, the record of promotions")
    words.append(f"secrets {environment.full_name}/*, all images of {facts.get('REPOSITORY', 'the registry')}")
    if outputs.get("base", {}).get("cluster"):
        words.append(f"cluster {environment.full_name}, with whatever runs in it")
    return Losses(words, buckets)


def _last_backup(session: boto3.Session, environment: Environment) -> str:
    try:
        (database,) = session.client("rds").describe_db_instances(DBInstanceIdentifier=environment.full_name)[
            "DBInstances"
        ]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("DBInstanceNotFound", "DBInstanceNotFoundFault"):
            return "not there"
        raise
    latest = database.get("LatestRestorableTime")
    return "history of runs, models and figures; " + (
        f"can be restored up to {latest:%Y-%m-%d %H:%M} UTC, until it is destroyed" if latest else "no backup yet"
    )


def sleep(environment: Environment, session: boto3.Session) -> None:
    """Take away what the cluster holds and the cluster's base, so that the next apply can take away the cluster."""
    cloud = Stack(environment, "cloud")
    _undo_base(environment, cloud, session, skip_drain=False)


def destroy(
    session: boto3.Session, environment: Environment, buckets: list[str], snapshot: str | None, *, skip_drain: bool
) -> list[Leftover]:
    """Destroy an environment, and return what is left.

    Parameters
    ----------
    session : boto3.Session
        In the environment's account and region.
    environment : Environment
        What is destroyed.
    buckets : list of str
        Buckets to empty.
    snapshot : str or None
        Name of a last backup of PostgreSQL that is kept; with it Atlas keeps its backups.
    skip_drain : bool
        Do not ask the cluster to let go of what AWS made for it, for it does not answer any more.

    Raises
    ------
    InfraError
        If a step fails; all of it may be repeated.
    """
    cloud = Stack(environment, "cloud")
    cloud.init()
    _undo_base(environment, cloud, session, skip_drain=skip_drain)
    # After the environment's file, which says otherwise: the last one counts.
    options = ["-auto-approve", "-var=protected=false", *([f"-var=final_snapshot={snapshot}"] if snapshot else [])]
    with variables(environment, cloud, "cloud") as arguments:
        there = cloud.resources()
        protected = [address for address in there if kind(address) in PROTECTED]
        if protected:
            click.echo("Taking the protection off ...")
            cloud.run("apply", *arguments, *options, *(f"-target={address}" for address in protected))
        for bucket in buckets:
            click.echo(f"Emptying {bucket} ...")
            empty(session, bucket)
        # Atlas keeps a project that has backups: Terraform would wait for it in vain.
        projects = [address for address in there if snapshot and kind(address) == "mongodbatlas_project"]
        if projects:
            cloud.run("state", "rm", *projects, quiet=True)
        cloud.run("destroy", *arguments, *options)
    kept = {environment.state_bucket, *([snapshot] if snapshot else [])}
    return leftovers(session, environment, kept)


def _undo_base(environment: Environment, cloud: Stack, session: boto3.Session, *, skip_drain: bool) -> None:
    base = Stack(environment, "base")
    base.init()
    cluster = cloud.outputs().get("base", {}).get("cluster")
    if not cluster:
        return
    if not skip_drain:
        if not _answers(session, environment):
            raise InfraError(
                f"The cluster {environment.full_name} is in Terraform's state, and AWS does not know it. "
                "If it is gone, repeat with --skip-drain."
            )
        with reached(environment) as kubectl:
            drain(kubectl)
    if base.resources():
        with variables(environment, cloud, "base") as arguments:
            base.run("destroy", "-auto-approve", *arguments)


def _answers(session: boto3.Session, environment: Environment) -> bool:
    try:
        session.client("eks").describe_cluster(name=environment.full_name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return False
        raise
    return True

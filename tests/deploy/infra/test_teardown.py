"""An environment goes: what is lost is named, nothing happens without its name, and what is left is told.

Terraform and its state are real; buckets, database and leftovers are those of the stand-in for AWS; there is no cluster
to drain, so what it is asked is written down instead. `make test-kubernetes` is where there is one.
"""

from pathlib import Path

import boto3
import pytest

from deploy.infra.cluster import DRAIN
from tests.deploy.infra.conftest import ACCOUNT, NO_TERRAFORM, NO_TOOLS, REGION, Infra

pytestmark = [NO_TERRAFORM, NO_TOOLS, pytest.mark.infra]

NAME = "wafer-production"


@pytest.fixture
def production(aws: boto3.Session, infra: Infra) -> boto3.Session:
    """A production environment, with files in a bucket and a cluster that AWS knows."""
    assert infra("state", "production").returncode == 0
    done = infra("apply", "production", "--yes")
    assert done.returncode == 0, done.stderr
    s3 = aws.client("s3")
    bucket = f"{NAME}-landing-{ACCOUNT}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        s3.put_object(Bucket=bucket, Key="secom/training/a.csv", Body=b"x" * 500_000)
    aws.client("eks").create_cluster(name=NAME, roleArn="arn:aws:iam::1:role/a", resourcesVpcConfig={})
    return aws


def remove_what_terraform_would(aws: boto3.Session) -> None:
    """Its providers call nothing here."""
    aws.client("eks").delete_cluster(name=NAME)


@pytest.mark.usefixtures("production")
def test_nothing_is_touched_without_its_name(infra: Infra, bin_with_kubectl: str) -> None:
    done = infra("destroy", "production", given="production\n", path=bin_with_kubectl)
    assert done.returncode == 1
    assert "That was not its name: nothing was changed." in done.stderr
    assert f"bucket {NAME}-landing-{ACCOUNT}: 2 versions of objects, 1.0 MB" in done.stdout
    assert "PostgreSQL wafer-production:" in done.stdout
    assert infra("drift", "production").returncode == 0
    assert not Path(bin_with_kubectl.split(":")[0]).with_name("asked").exists()


def test_it_drains_empties_destroys_and_tells_what_is_left(
    production: boto3.Session, infra: Infra, bin_with_kubectl: str
) -> None:
    production.client("logs").create_log_group(logGroupName=f"/aws/eks/{NAME}/cluster")
    done = infra("destroy", "production", "--confirm", NAME, "--snapshot", path=bin_with_kubectl)
    # The bucket and the cluster stay in the stand-in, as if Terraform had forgotten them: the sweep finds them.
    assert done.returncode == 3, done.stderr
    assert f"Kept: PostgreSQL's snapshot {NAME}-final-2" in done.stdout
    assert f"Atlas' project {NAME} with its backups" in done.stdout
    left = done.stdout.partition(f"Left of {NAME}: ")[2]
    for line in ("log group", "bucket", "cluster"):
        assert line in left
    assert production.client("s3").list_object_versions(Bucket=f"{NAME}-landing-{ACCOUNT}").get("Versions", []) == []
    asked = Path(bin_with_kubectl.split(":")[0]).with_name("asked").read_text().splitlines()
    assert asked[0].startswith(f"aws eks update-kubeconfig --name {NAME} --region {REGION} --kubeconfig ")
    assert [" ".join(DRAIN[what]) in line for what, line in zip(DRAIN, asked[1:], strict=True)] == [True] * len(DRAIN)
    # Terraform has nothing left, and the state stays until nothing is.
    assert f"The state {NAME}-terraform-{ACCOUNT} stays until nothing is left." in done.stderr
    production.client("logs").delete_log_group(logGroupName=f"/aws/eks/{NAME}/cluster")
    production.client("s3").delete_bucket(Bucket=f"{NAME}-landing-{ACCOUNT}")
    remove_what_terraform_would(production)
    again = infra("destroy", "production", "--confirm", NAME, "--no-snapshot", path=bin_with_kubectl)
    assert again.returncode == 0, again.stderr
    assert f"{NAME} is destroyed, and its state with it." in again.stdout
    assert production.client("s3").list_buckets()["Buckets"] == []


def test_a_cluster_that_is_gone_needs_a_word_of_its_own(
    production: boto3.Session, infra: Infra, bin_with_kubectl: str
) -> None:
    remove_what_terraform_would(production)
    done = infra("destroy", "production", "--confirm", NAME, path=bin_with_kubectl)
    assert done.returncode == 1
    assert "repeat with --skip-drain" in done.stderr
    assert infra("destroy", "production", "--confirm", NAME, "--skip-drain").returncode == 3

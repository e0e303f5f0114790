"""An environment is made, is as the code says, differs when somebody changes it, sleeps, and is destroyed.

Terraform is the real one, with the providers' real schemas and its state in a real bucket of the stand-in for AWS;
that its providers call AWS is not tested.
"""

import json
from pathlib import Path

import boto3
import pytest

from deploy.infra.environment import Environment
from deploy.infra.stacks import Stack, kind
from tests.deploy.infra.conftest import ACCOUNT, CERTIFICATES, NO_TERRAFORM, NO_TOOLS, Infra, outputs

pytestmark = [NO_TERRAFORM, NO_TOOLS, pytest.mark.infra]

BUCKET = f"wafer-production-terraform-{ACCOUNT}"


@pytest.fixture
def production(aws: boto3.Session, infra: Infra) -> boto3.Session:
    """The stand-in for AWS, with a production environment applied."""
    assert infra("state", "production").returncode == 0
    done = infra("apply", "production", "--yes")
    assert done.returncode == 0, done.stderr
    return aws


def test_a_second_plan_is_empty_and_what_somebody_changed_is_told(
    production: boto3.Session, infra: Infra, project: Path
) -> None:
    same = infra("drift", "production")
    assert (same.returncode, same.stdout) == (0, "")
    assert "0 differences in production." in same.stderr
    file = project / "deploy" / "terraform" / "environments" / "production.tfvars"
    text = file.read_text()
    try:
        file.write_text(text.replace('class = "db.t4g.medium"', 'class = "db.t4g.large"'))
        other = infra("drift", "production")
    finally:
        file.write_text(text)
    assert other.returncode == 2
    assert other.stdout.splitlines() == ["cloud  update         module.postgresql.aws_db_instance.this"]
    # The state is where it should be, and its lock is gone.
    listed = production.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    assert {found["Key"] for found in listed} == {"cloud.tfstate", "base.tfstate"}


@pytest.mark.usefixtures("production")
def test_what_was_made_is_written_where_helm_and_kustomize_read_it(infra: Infra, project: Path) -> None:
    facts = outputs(project)["environment"]
    written = project / "deploy" / "environments" / "production"
    assert f"LANDING_BUCKET={facts['LANDING_BUCKET']}\n" in (written / "environment.env").read_text()
    assert facts["POSTGRESQL_ADDRESS"] in (written / "values.yaml").read_text()
    before = {file.name: file.read_text() for file in written.iterdir()}
    assert infra("render", "production").returncode == 0
    assert {file.name: file.read_text() for file in written.iterdir()} == before


def test_a_state_that_is_locked_is_told_with_what_to_do(production: boto3.Session, infra: Infra) -> None:
    lock = {"ID": "4fd0a1a6-9f3c-4f5c-a5a5-5a8a5a3b2f10", "Who": "ann@fab", "Operation": "OperationTypeApply"}
    production.client("s3").put_object(Bucket=BUCKET, Key="cloud.tfstate.tflock", Body=json.dumps(lock).encode())
    done = infra("apply", "production", "--yes")
    assert done.returncode == 1
    assert "ann@fab" in done.stderr
    assert "Somebody else changes production just now: wait." in done.stderr
    assert "force-unlock ID" in done.stderr
    # A look at drift waits for nobody.
    assert infra("drift", "production").returncode == 0


@pytest.mark.usefixtures("aws")
def test_an_environment_without_a_bucket_for_its_state_is_told(infra: Infra) -> None:
    done = infra("apply", "dev", "--yes")
    assert done.returncode == 1
    assert "There is no bucket for the state yet: `make state ENV=dev`." in done.stderr


@pytest.mark.usefixtures("aws")
def test_nothing_is_done_with_credentials_of_another_account(infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "999999999999")
    for command in ("state", "plan", "apply", "drift", "destroy", "sweep"):
        done = infra(command, "production")
        assert done.returncode == 1
        assert "These credentials are of account 999999999999" in done.stderr


def test_asleep_nothing_is_left_of_the_cluster_and_awake_all_is_back(
    aws: boto3.Session, infra: Infra, project: Path, bin_with_kubectl: str
) -> None:
    file = project / "deploy" / "terraform" / "environments" / "dev.tfvars"
    text = file.read_text()
    assert infra("state", "dev").returncode == 0
    assert infra("apply", "dev", "--yes").returncode == 0
    aws.client("eks").create_cluster(name="wafer-dev", roleArn="arn:aws:iam::1:role/a", resourcesVpcConfig={})
    try:
        file.write_text(text.replace("awake     = true", "awake     = false"))
        asleep = infra("apply", "dev", "--yes", path=bin_with_kubectl)
        assert asleep.returncode == 0, asleep.stderr
        stack = Stack(_of(project, "dev"), "cloud", project / "deploy" / "terraform")
        kinds = {kind(address) for address in stack.resources()}
    finally:
        file.write_text(text)
    assert {"aws_s3_bucket", "aws_db_instance", "aws_iam_role", "mongodbatlas_advanced_cluster"} <= kinds
    assert kinds.isdisjoint({"aws_eks_cluster", "aws_nat_gateway", "aws_eip", "aws_eks_pod_identity_association"})
    awake = infra("apply", "dev", "--yes")
    assert awake.returncode == 0, awake.stderr
    assert outputs(project, "base", "dev")["argocd_namespace"] == "argocd"


def test_secrets_are_filled_and_reach_postgresql_without_being_seen(
    production: boto3.Session, infra: Infra, project: Path, bin_with_kubectl: str
) -> None:
    facts = outputs(project)["secrets"]
    secrets = production.client("secretsmanager")
    for name in facts["names"].values():
        secrets.create_secret(Name=name)
    secrets.create_secret(
        Name=facts["master_secret"], SecretString='{"username": "postgres", "password": "kept-by-rds"}'
    )
    answers = {
        "OIDC client id": "wafer",
        "OIDC client secret": "hush",
        "Apprise addresses of notifications, as a JSON list": "[]",
    }
    filled = infra("secrets", "production", "--answers", "-", given=json.dumps(answers))
    assert filled.returncode == 0, filled.stderr
    assert filled.stdout.count(": filled") == 4
    done = infra("databases", "production", "--tag", "0123abc", path=bin_with_kubectl)
    assert done.returncode == 0, done.stderr
    folder = Path(bin_with_kubectl.split(":")[0]).parent
    given = json.loads((folder / "given").read_text())
    password = json.loads(secrets.get_secret_value(SecretId="wafer-production/postgresql")["SecretString"])["password"]
    assert given["master"] == {
        "host": facts["postgresql"],
        "user": "postgres",
        "password": "kept-by-rds",
        "sslmode": "verify-full",
    }
    assert given["certificates"] == CERTIFICATES
    assert given["passwords"]["dagster"] == password
    assert len(given["passwords"]["mlflow"]) == len(password)
    # Neither what was started nor what was printed shows one.
    seen = (folder / "asked").read_text() + filled.stdout + filled.stderr + done.stdout + done.stderr
    assert ":0123abc " in seen
    assert " -- python -c" in seen
    assert [word for word in (password, given["passwords"]["mlflow"], "kept-by-rds", "hush") if word in seen] == []


def _of(project: Path, name: str) -> Environment:
    return Environment.read(name, project / "deploy" / "terraform" / "environments")

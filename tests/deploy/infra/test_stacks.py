"""What is told about what Terraform says."""

import pytest

from deploy.infra.environment import Environment
from deploy.infra.stacks import ADVICE, Stack, kind


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error: Error acquiring the state lock", "force-unlock"),
        ("Error: No valid credential sources found", "sign in"),
        (
            "BucketAlreadyExists: The requested name is not available",
            "another `bucket_suffix`",
        ),
        (
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
            "force-delete",
        ),
        ("EntityAlreadyExists: Role with name wafer-production-runs already exists.", "make sweep ENV=production"),
        ("VcpuLimitExceeded: You have requested more vCPU capacity", "Service Quotas"),
        ("AWS account ID not allowed: 999999999999", "another account"),
    ],
)
def test_what_people_run_into_is_answered(said: str, told: str) -> None:
    answer = Stack(Environment.read("production"), "cloud").advice(said)
    assert answer is not None
    assert told in answer
    assert "{" not in answer


def test_no_answer_is_given_to_what_is_not_known() -> None:
    assert Stack(Environment.read("production"), "cloud").advice("Error: something new") is None
    assert len(ADVICE) > 5


def test_environments_do_not_share_what_terraform_keeps() -> None:
    folders = {Stack(Environment.read(name), "cloud").variables()["TF_DATA_DIR"] for name in ("dev", "production")}
    assert len(folders) == 2


@pytest.mark.parametrize(
    "address",
    ["aws_subnet.one", "module.network.aws_subnet.one[0]", 'module.a["b.c"].module.d[1].aws_subnet.one["e.f"]'],
)
def test_the_kind_of_a_resource_is_read_from_its_address(address: str) -> None:
    assert kind(address) == "aws_subnet"

"""An environment's file is read before Terraform runs: what it must say, and what is answered where it does not."""

from pathlib import Path

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.infra.environment import ENVIRONMENTS, Environment, InfraError, sign_in
from tests.deploy.infra.conftest import NO_TOOLS

FILE = """
environment = "test" # a remark
region      = "eu-central-1"
account     = "111122223333"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "test.tfvars").write_text(text)
    return folder


def test_a_file_says_what_must_be_known(tmp_path: Path) -> None:
    environment = Environment.read("test", write(tmp_path, FILE))
    assert (environment.full_name, environment.region) == ("wafer-test", "eu-central-1")
    assert environment.state_bucket == "wafer-test-terraform-111122223333"
    assert environment.awake


@pytest.mark.parametrize("name", ["dev", "production"])
def test_the_shipped_environments_are_read(name: str) -> None:
    assert Environment.read(name).full_name == f"wafer-{name}"


def test_an_environment_can_sleep(tmp_path: Path) -> None:
    assert not Environment.read("test", write(tmp_path, FILE + "awake = false\n")).awake


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("environment", "# environment"), "says nothing for `environment`"),
        (('"test"', '"other"'), "its name and `environment` must agree"),
        (('"111122223333"', '"1111"'), 'says "1111" for `account`'),
        (("eu-central-1", "Frankfurt"), "Frankfurt"),
        (('account     = "111122223333"', 'account = "111122223333"\naccount = "444455556666"'), "write it once"),
    ],
)
def test_a_file_that_does_not_is_refused(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InfraError, match=said):
        Environment.read("test", write(tmp_path, FILE.replace(*change)))


def test_an_environment_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(InfraError, match=r"no environment 'prod'.*dev, production"):
        Environment.read("prod")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_no_name_leads_out_of_the_folder_or_breaks_anything(name: str) -> None:
    try:
        found = Environment.read(name)
    except (InfraError, ValueError, OSError):  # a name that the file system cannot hold
        return
    assert found.file.resolve().parent == ENVIRONMENTS


@NO_TOOLS
@pytest.mark.infra
def test_credentials_of_another_account_are_refused(
    tmp_path: Path, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = Environment.read("test", write(tmp_path, FILE))
    assert sign_in(environment).region_name == aws.region_name
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "999999999999")
    with pytest.raises(InfraError, match=r"account 999999999999, and test is in 111122223333"):
        sign_in(environment)


def test_who_has_no_credentials_is_told_to_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InfraError, match=r"Sign in"):
        sign_in(Environment.read("test", write(tmp_path, FILE)))

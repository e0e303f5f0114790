"""A cluster that does not let go stops the teardown, with what it said; a kind that it does not know holds nothing."""

from pathlib import Path

import pytest

from deploy.infra.cluster import DRAIN, drain, reached
from deploy.infra.environment import Environment, InfraError


def program(folder: Path, script: str) -> list[str]:
    file = folder / "kubectl"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return [str(file)]


def test_it_is_asked_for_everything_that_aws_made_for_it(tmp_path: Path) -> None:
    drain(program(tmp_path, f'echo "$*" >> {tmp_path}/asked'))
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == len(DRAIN)
    assert all(line.endswith("--wait --timeout=15m --ignore-not-found") for line in asked)
    first, second = (next(index for index, line in enumerate(asked) if word in line) for word in ("argocd", "ingress"))
    assert first < second


def test_one_that_keeps_something_stops_it(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="timed out waiting for the condition"):
        drain(program(tmp_path, 'echo "error: timed out waiting for the condition" >&2; exit 1'))


def test_a_kind_that_it_does_not_know_holds_nothing(tmp_path: Path) -> None:
    said = 'error: the server doesn\'t have a resource type "applicationsets"'
    drain(program(tmp_path, f'case "$*" in *argoproj*) echo "{said}" >&2; exit 1;; esac'))


def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InfraError, match="`aws` is not installed"), reached(Environment.read("dev")):
        pass

"""Whether what was delivered runs, by what Argo CD and the cluster say."""

import copy
from typing import Any

import click
import pytest

from deploy.ci.smoke import missing, wait

DIGEST, COMMIT = "sha256:" + "1" * 64, "c" * 40
APPLICATION: dict[str, Any] = {
    "status": {
        "sync": {"status": "Synced", "revisions": ["1.13.27", "a" * 40, COMMIT]},
        "health": {"status": "Healthy"},
    }
}


def deployment(name: str, image: str = f"registry/wafer-fault-platform@{DIGEST}", **status: int) -> dict[str, Any]:
    ready = {"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1}
    return {
        "metadata": {"name": name, "generation": 2},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"image": image}]}}},
        "status": ready | status,
    }


def changed(**status: Any) -> dict[str, Any]:
    application = copy.deepcopy(APPLICATION)
    application["status"].update(status)
    return application


DEPLOYMENTS = [deployment("mlflow"), deployment("auth-proxy", "example.org/oauth2-proxy@sha256:2")]


def test_nothing_is_missing_where_all_of_it_runs() -> None:
    assert missing(APPLICATION, DEPLOYMENTS, COMMIT, DIGEST) == []


@pytest.mark.parametrize(
    ("application", "deployments", "words"),
    [
        (changed(sync={"status": "Synced", "revisions": ["b" * 40]}), DEPLOYMENTS, "has not seen commit cccccccccccc"),
        (
            changed(sync={"status": "OutOfSync", "revisions": [COMMIT]}, operationState={"message": "no such chart"}),
            DEPLOYMENTS,
            "OutOfSync where it should say Synced: no such chart",
        ),
        (changed(health={"status": "Degraded"}), DEPLOYMENTS, "Degraded where it should say Healthy"),
        ({}, DEPLOYMENTS, "Argo CD says nothing"),
        (APPLICATION, [], "no Deployment has our image"),
        (
            APPLICATION,
            [deployment("mlflow", "r/wafer-fault-platform@sha256:0")],
            "mlflow has r/wafer-fault-platform@sha256:0",
        ),
        (
            APPLICATION,
            [deployment("mlflow", "r/wafer-fault-platform:latest")],
            "mlflow has r/wafer-fault-platform:latest",
        ),
        (APPLICATION, [deployment("mlflow", availableReplicas=0)], "mlflow has 0 of 1 pods ready"),
        (APPLICATION, [deployment("mlflow", updatedReplicas=0)], "mlflow has 0 of 1 pods ready"),
        (APPLICATION, [deployment("mlflow", observedGeneration=1)], "mlflow was not looked at yet"),
    ],
)
def test_what_is_missing_is_said(application: dict[str, Any], deployments: list[dict[str, Any]], words: str) -> None:
    assert any(words in reason for reason in missing(application, deployments, COMMIT, DIGEST))


def test_the_scoring_server_may_wait_for_its_first_champion_but_not_have_another_image() -> None:
    waits = [*DEPLOYMENTS, deployment("wafer-scoring", availableReplicas=0)]
    assert missing(APPLICATION, waits, COMMIT, DIGEST, ["wafer-scoring"]) == []
    other = [*DEPLOYMENTS, deployment("wafer-scoring", "r/wafer-fault-platform:old", availableReplicas=0)]
    assert len(missing(APPLICATION, other, COMMIT, DIGEST, ["wafer-scoring"])) == 1


def test_waiting_ends_when_nothing_is_missing_and_not_before() -> None:
    looks = iter([["not yet"], ["not yet"], []])
    wait(lambda: next(looks), seconds=10, pause=0)
    assert list(looks) == []


def test_waiting_ends_with_what_is_still_missing() -> None:
    with pytest.raises(click.ClickException, match=r"Not running after 0 s:\n- a\n- b"):
        wait(lambda: ["a", "b"], seconds=0, pause=0)

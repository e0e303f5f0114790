"""The Jenkinsfile, played through for what the script decides of real commits, and its controller."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.ci.changes import decide
from deploy.image import ROOT
from tests.deploy.ci.sample import Repository

KIT = Path(os.environ.get("JENKINS_KIT") or ROOT.parent / "shared" / "jenkins")
JENKINSFILE = ROOT / "Jenkinsfile"
CONTROLLER = ROOT / "deploy" / "ci" / "jenkins.yaml"
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
CODE = {"wafer_assets/keys.py": "KEY = 2"}
# Half the time of starting it: nothing here runs long enough to be worth compiling well.
JAVA = {"JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
REQUEST = {"branch": "PR-7", "change": {"id": 7, "target": "main"}}

needs_the_kit = pytest.mark.skipif(
    not (KIT / "run").exists() or not shutil.which("groovy"),
    reason="JENKINS_KIT names no stand-in for Jenkins, or Groovy is not installed",
)


def controller() -> dict[str, Any]:
    return dict(yaml.safe_load(CONTROLLER.read_text()))


def credentials() -> dict[str, str]:
    """Return the kind of every credential of the controller, as the pipeline binds it, by its id."""
    kinds = {"basicSSHUserPrivateKey": "sshUserPrivateKey"}
    (domain,) = controller()["credentials"]["system"]["domainCredentials"]
    return {
        value["id"]: kinds.get(kind, kind)
        for one in domain["credentials"]
        for kind, value in one.items()
        if value["scope"] == "GLOBAL"
    }


def play(sources: Repository, files: dict[str, str | None], **scenario: Any) -> list[str]:
    """Play the pipeline for a commit that changes some files; return what happens, line by line."""
    plan = decide(sources.commit(**files), sources.first, None, sources.folder)
    scenario |= {
        "files": {"build/plan.json": json.dumps(asdict(plan))},
        "credentials": credentials(),
        "root": str(ROOT),
    }
    (sources.folder.parent / "scenario.json").write_text(json.dumps(scenario))
    command = [str(KIT / "run"), str(JENKINSFILE), str(sources.folder.parent / "scenario.json")]
    played = subprocess.run(command, env=os.environ | JAVA, capture_output=True, text=True, check=False)
    assert played.returncode in {0, 1}, played.stdout + played.stderr
    return played.stdout.splitlines()


def stages(lines: list[str]) -> list[str]:
    return [line.removeprefix("stage: ") for line in lines if line.startswith("stage: ")]


ALWAYS = ["Build", "Changes", "Checks", "Code", "Secrets", "Vulnerabilities"]


@needs_the_kit
@pytest.mark.parametrize(
    ("files", "scenario", "then"),
    [
        pytest.param({"docs/guide.md": "new"}, {}, ["Documentation"], id="docs"),
        pytest.param(CODE, {}, ["Tests", "Image", "Development"], id="code"),
        pytest.param(CODE, REQUEST, ["Tests", "Image"], id="a change request for code"),
        pytest.param({"schemas/etch/line.yaml": "name: etching"}, REQUEST, ["Contracts of lines", "Image"], id="line"),
        pytest.param({"deploy/terraform/main.tf": "#"}, REQUEST, ["Infrastructure"], id="terraform"),
        pytest.param({"deploy/manifests/mlflow.yaml": "#"}, {}, ["Tests", "Image", "Development"], id="manifests"),
        pytest.param(CODE, {"branch": "v1.2.0", "tag": "v1.2.0"}, ["Tests", "Image", "Production"], id="tag"),
        pytest.param({}, {"causes": ["TimerTrigger"]}, ["Infrastructure"], id="night"),
    ],
)  # fmt: skip
def test_a_build_does_what_its_commit_asks_for(
    files: dict[str, str | None], scenario: dict[str, Any], then: list[str], sources: Repository
) -> None:
    lines = play(sources, files, **scenario)
    assert stages(lines) == ALWAYS + then
    assert lines[-1] == "result: SUCCESS"
    delivered = [line.rpartition(" ")[2] for line in lines if "$WAFER_CI deliver " in line]
    assert delivered == ["dev"] * ("Development" in then) + ["production"] * ("Production" in then)
    assert lines.count("sh: $WAFER_CI smoke") == len(delivered)


@needs_the_kit
def test_nothing_is_built_or_delivered_after_a_test_that_failed(sources: Repository) -> None:
    lines = play(sources, CODE, sh={"make unit": 1})
    assert stages(lines) == [*ALWAYS, "Tests"]
    assert "junit: [testResults:build/tests.xml, allowEmptyResults:true]" in lines
    assert lines[-1] == "result: FAILURE"


@needs_the_kit
def test_production_waits_for_a_person_before_anything_else(sources: Repository) -> None:
    lines = play(sources, CODE, tag="v1.2.0", branch="v1.2.0")
    production = lines[lines.index("stage: Production") :]
    assert production[1].startswith("input: Let production run this?")
    assert production.index("unstash: image") < next(
        n for n, line in enumerate(production) if "deliver production" in line
    )


def test_the_pipeline_names_credentials_that_the_controller_has_and_needs_all_of_them() -> None:
    text = JENKINSFILE.read_text()
    named = set(re.findall(r"credentialsId: '([\w-]+)'", text))
    named |= {f"kubeconfig-{name}" for name in re.findall(r"deliver\('(\w+)'\)", text)}
    others = {"forge", "webhook-secret"}  # the controller's own: it looks for changes, and checks who tells of them
    assert named == credentials().keys() - others


def test_no_value_of_a_secret_is_written_down() -> None:
    def secrets(value: Any, name: str = "") -> list[str]:
        if isinstance(value, dict):
            return [found for key, inner in value.items() for found in secrets(inner, key)]
        if isinstance(value, list):
            return [found for inner in value for found in secrets(inner, name)]
        return [value] if re.search(r"(?i)secret$|password|privateKey|secretBytes|token", name) else []

    found = secrets(controller())
    assert found
    assert [value for value in found if not re.fullmatch(r"\$\{[\w:/-]+\}", value)] == []


def test_a_webhook_is_believed_only_with_a_signature() -> None:
    (hook,) = controller()["unclassified"]["gitHubPluginConfig"]["hookSecretConfigs"]
    assert hook == {"credentialsId": "webhook-secret", "signatureAlgorithm": "SHA256"}
    assert "webhook-secret" in credentials()


def test_who_approves_is_a_group_that_the_controller_knows() -> None:
    (submitter,) = re.findall(r"submitter '([\w-]+)'", JENKINSFILE.read_text())
    entries = controller()["jenkins"]["authorizationStrategy"]["globalMatrix"]["entries"]
    assert submitter in {entry["group"]["name"] for entry in entries}


def test_nothing_is_built_on_the_controller_or_for_strangers() -> None:
    assert controller()["jenkins"]["numExecutors"] == 0
    (job,) = controller()["jobs"]
    assert "ForkDiscovery" not in job["script"]


@needs_the_kit
def test_the_job_is_groovy(tmp_path: Path) -> None:
    (job,) = controller()["jobs"]
    (tmp_path / "job.groovy").write_text(re.sub(r"\$\{(\w+)\}", r"\1", job["script"]))
    home = Path(str(shutil.which("java"))).resolve().parents[1]
    command = ["groovyc", "-d", str(tmp_path), str(tmp_path / "job.groovy")]
    environment = os.environ | JAVA | {"JAVA_HOME": str(home)}
    compiled = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr


def scripts() -> dict[str, str]:
    """Return every shell script of the repository, and the commands of the pipeline as one."""
    files = [path for folder in (".ci", "deploy") for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    texts = {str(path.relative_to(ROOT)): path.read_bytes() for path in files}
    found = {name: text.decode() for name, text in texts.items() if re.match(rb"#!.*\bsh\n|#!.*bash\n", text)}
    commands = re.findall(r"sh '([^']+)'", JENKINSFILE.read_text())
    return found | {"Jenkinsfile": "#!/bin/sh\n" + "".join(f"{command}\n" for command in commands)}


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_has_nothing_to_say_of_a_script(name: str) -> None:
    # Of the pipeline: a variable that splits into words is meant to, and the controller sets the others.
    options = ["--exclude=SC2086,SC2154"] if name == "Jenkinsfile" else []
    checked = subprocess.run([SHELLCHECK, *options, "-"], input=scripts()[name], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

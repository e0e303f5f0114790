"""Secrets that were committed: found in every commit, and never shown."""

import json

import pytest
from click.testing import CliRunner

from deploy.ci import leaks
from deploy.ci.leaks import command
from deploy.ci.tools import FOLDER
from tests.deploy.ci.sample import Repository

TOKEN = "".join(("ghp_", "k3Jd8sLq0Zx7Vb2Nm5Wc", "9Rt4Yf6Hg1PaQeUi"))  # in two halves, or this file would be found


@pytest.mark.skipif(not (FOLDER / "gitleaks").exists(), reason="run `make delivery-tools` for Gitleaks")
def test_a_token_is_found_after_it_was_taken_out_again_and_is_not_shown(
    sources: Repository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leaks, "SOURCES", sources.folder)
    monkeypatch.setattr(leaks, "BUILD", sources.folder.parent)
    assert CliRunner().invoke(command).exit_code == 0
    sources.commit(**{"settings.py": f'token = "{TOKEN}"'})
    after = sources.commit(**{"settings.py": None})
    result = CliRunner().invoke(command)
    assert (result.exit_code, "secrets.json" in result.output) == (1, True)
    report = (sources.folder.parent / "secrets.json").read_text()
    assert json.loads(report)[0]["File"] == "settings.py"
    assert TOKEN not in report + result.output + "".join(capfd.readouterr())
    assert CliRunner().invoke(command, ["--since", after]).exit_code == 0


def test_a_tool_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, sources: Repository) -> None:
    monkeypatch.setattr("deploy.ci.tools.FOLDER", sources.folder)
    result = CliRunner().invoke(command)
    assert (result.exit_code, "run `make delivery-tools` first" in result.output) == (1, True)

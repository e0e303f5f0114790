"""What a commit changes, and what has to be done for it."""

import json
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.ci.changes import Plan, base_of, decide, subject_of
from deploy.ci.changes import tests_for as chosen_tests
from deploy.ci.registry import Registry
from tests.deploy.ci.sample import Repository


def plan(sources: Repository, registry: Registry | None = None, base: str | None = None, **files: str | None) -> Plan:
    head = sources.commit(**files)
    return decide(head, base or sources.first, registry, sources.folder)


@pytest.mark.parametrize("file", ["README.md", "docs/guide.md", "deploy/README.md", "docs/new.png"])
def test_documentation_makes_no_image_and_runs_what_holds_pages_against_the_code(
    sources: Repository, file: str
) -> None:
    made = plan(sources, **{file: "new"})
    assert (made.subjects, made.tests) == (["documentation"], "documentation")
    assert (made.image, made.release, made.infrastructure) == (False, False, False)


def test_code_runs_all_tests_and_makes_an_image(sources: Repository) -> None:
    made = plan(sources, **{"wafer_assets/keys.py": "KEY = 2"})
    assert (made.subjects, made.tests, made.image, made.release) == (["code"], "all", True, True)


def test_tests_are_code_that_is_in_no_image(sources: Repository) -> None:
    made = plan(sources, **{"tests/test_keys.py": "pass"})
    assert (made.tests, made.image, made.release) == ("all", False, False)


def test_a_lines_folder_is_checked_by_its_contracts_and_is_part_of_the_image(sources: Repository) -> None:
    made = plan(sources, **{"schemas/etch/line.yaml": "name: etch2", "README.md": "and a word about it"})
    assert (made.subjects, made.tests, made.image) == (["documentation", "lines"], "lines", True)


def test_the_code_beside_the_lines_is_code(sources: Repository) -> None:
    assert plan(sources, **{"schemas/loader.py": "x = 1"}).tests == "all"


def test_terraform_is_planned_and_nothing_else(sources: Repository) -> None:
    made = plan(sources, **{"deploy/terraform/main.tf": "locals {}"})
    assert (made.subjects, made.infrastructure) == (["infrastructure"], True)
    assert (made.tests, made.image, made.release) == ("none", False, False)


def test_manifests_are_released_with_the_image_that_is_there(sources: Repository) -> None:
    made = plan(sources, **{"deploy/manifests/mlflow.yaml": "kind: StatefulSet"})
    assert (made.tests, made.image, made.release) == ("all", False, True)


def test_a_file_that_was_deleted_or_may_be_executed_now_has_changed(sources: Repository) -> None:
    assert plan(sources, **{"wafer_assets/keys.py": None}).paths == ["wafer_assets/keys.py"]
    (sources.folder / "tests/test_keys.py").chmod(0o755)
    assert plan(sources, base=sources.git("rev-parse", "HEAD")).paths == ["tests/test_keys.py"]


def test_what_was_changed_and_changed_back_has_not_changed(sources: Repository) -> None:
    sources.commit(**{"wafer_assets/keys.py": "KEY = 2"})
    made = plan(sources, **{"wafer_assets/keys.py": "KEY = 1"})
    assert (made.paths, made.tests, made.image, made.release) == ([], "none", False, False)


def test_an_image_of_this_content_is_not_built_again(sources: Repository, tmp_path: Path) -> None:
    wanted = plan(sources, **{"wafer_assets/keys.py": "KEY = 2"})
    index = {"manifests": [{"digest": "sha256:1", "annotations": {"org.opencontainers.image.ref.name": wanted.tag}}]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    again = plan(sources, Registry(f"oci:{tmp_path}"))
    assert (again.tag, again.image, again.release) == (wanted.tag, False, True)


def test_without_a_commit_to_compare_with_everything_is_new(sources: Repository) -> None:
    made = decide("HEAD", None, None, sources.folder)
    assert (made.tests, made.image, made.infrastructure, made.release) == ("all", True, True, True)


def test_a_change_request_is_compared_with_where_it_left_its_target(sources: Repository) -> None:
    sources.git("checkout", "--quiet", "-b", "change")
    sources.commit(**{"README.md": "new"})
    sources.git("checkout", "--quiet", "main")
    sources.commit(**{"wafer_assets/keys.py": "KEY = 3"})
    sources.git("checkout", "--quiet", "change")
    assert base_of("main", None, sources.folder) == sources.first


def test_a_build_that_failed_is_made_up_for_by_the_next(sources: Repository) -> None:
    sources.commit(**{"wafer_assets/keys.py": "KEY = 2"})
    sources.commit(**{"README.md": "new"})
    assert base_of(None, sources.first, sources.folder) == sources.first
    assert decide("HEAD", sources.first, None, sources.folder).tests == "all"


def test_after_history_was_rewritten_everything_is_new(sources: Repository) -> None:
    assert base_of(None, "f" * 40, sources.folder) is None


def test_a_target_that_is_not_there_is_an_error(sources: Repository) -> None:
    with pytest.raises(click.ClickException, match="merge-base"):
        base_of("origin/nowhere", None, sources.folder)


@given(st.text(min_size=1), st.booleans())
def test_what_is_not_known_is_code(path: str, in_image: bool) -> None:
    known = path.startswith(("docs/", "helm_values/", "deploy/", "schemas/")) or path.endswith(".md")
    assert known or subject_of(path, in_image) == "code"


@given(st.sets(st.sampled_from(["documentation", "lines", "infrastructure", "hosts", "delivery"])))
def test_code_among_other_changes_runs_all_tests(others: set[str]) -> None:
    assert chosen_tests({*others, "code"}) == "all"  # type: ignore[arg-type]


def test_what_is_in_the_image_is_never_documentation() -> None:
    assert subject_of("wafer_assets/domain/notes.md", in_image=True) == "code"

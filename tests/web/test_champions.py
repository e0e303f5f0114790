"""Which model answers: the one of the shared number, in every process at once."""

import os
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.web.wafers import SCHEMA, small_bundle
from wafer_assets.domain.persistence import dump
from wafer_assets.domain.scoring import Bundle
from wafer_assets.web.champions import Champions, SharedFolder, await_workers, shared_folder


@pytest.fixture(scope="module")
def content(bundle: Bundle) -> bytes:
    return dump(bundle)


def test_a_worker_answers_with_what_was_switched_to_and_not_with_what_was_offered(
    content: bytes, tmp_path: Path
) -> None:
    leader = SharedFolder(tmp_path)
    leader.offer(3, content)
    leader.switch()
    worker = Champions(SharedFolder(tmp_path), SCHEMA)
    assert worker.current().version == 3
    assert leader.have_loaded(3) == 1

    leader.offer(4, dump(small_bundle(seed=1)))
    assert await_workers(leader, 4, 1, lambda: True)
    assert worker.current().version == 3
    leader.switch()
    assert (worker.current().version, worker.current().bundle.model.config.seed) == (4, 1)
    assert [file.name for file in tmp_path.glob("*.skops")] == ["4.skops"]


def test_a_worker_that_starts_late_answers_with_the_current_one(content: bytes, tmp_path: Path) -> None:
    leader = SharedFolder(tmp_path)
    leader.offer(1, content)
    leader.switch()
    (tmp_path / f"loaded-{2**22 + 1}").write_text("1")  # of a process that is gone
    assert leader.have_loaded(1) == 0
    late = Champions(leader, SCHEMA)
    leader.offer(2, content)
    leader.switch()  # before it has loaded it
    assert late.current().version == 2
    wait_until(lambda: (tmp_path / f"loaded-{os.getpid()}").read_text() == "2", 10)


def test_nobody_waits_for_workers_of_a_server_that_has_ended(tmp_path: Path) -> None:
    assert not await_workers(SharedFolder(tmp_path), 1, 1, lambda: False)
    assert not await_workers(SharedFolder(tmp_path), 1, 1, lambda: True, seconds=0.1)


def test_the_folder_is_readable_by_one_user_and_goes_with_the_server() -> None:
    with shared_folder() as folder:
        assert folder.path.stat().st_mode & 0o077 == 0
        assert (folder.current, folder.wanted) == (0, 0)
    assert not folder.path.exists()

"""The laptop's instance, and jobs that a command runs on it; tests/faults tells of runs that are killed."""

from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import dagster as dg
import pytest

from resources.run_launcher import HOST_TAG, PROCESS_TAG, RunProcess
from tests.landing import land
from wafer_assets.cli.instance import NoInstanceError, RunsArePodsError, dagster_home, open_instance, run_job
from wafer_assets.settings import Settings


def test_the_instance_of_a_laptop_is_configured_once(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    config = dagster_home(settings) / "dagster.yaml"
    config.write_text("# mine\n")
    assert dagster_home(settings) == config.parent
    assert config.read_text() == "# mine\n"


def test_an_instance_that_is_named_is_used_instead_of_the_laptops(tmp_path: Path) -> None:
    home = tmp_path / "named"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    settings = Settings(state_dir=tmp_path / "state", dagster_home=home)
    with open_instance(settings) as instance:
        assert instance.root_directory == str(home)
    assert not settings.state_dir.exists()


def test_a_run_of_a_command_is_one_that_the_ui_lists_and_no_daemon_repeats(settings: Settings) -> None:
    with open_instance(settings) as instance:
        tags = land(settings, instance, {"notes.csv": b"not a batch"})
        result = run_job(settings, instance, "secom__ingest_training", tags=tags)
        run = instance.get_run_by_id(result.run_id)
    assert result.success
    assert run is not None
    assert run.remote_job_origin is not None
    assert tags.items() <= run.tags.items()
    assert run.tags["dagster/max_retries"] == "0"
    assert RunProcess.of(run) == RunProcess.current()


def test_a_run_makes_the_assets_that_are_wanted_with_the_config_it_is_given(settings: Settings) -> None:
    ledger = dg.AssetKey(["secom", "training", "batch_ledger"])
    with open_instance(settings) as instance:
        result = run_job(settings, instance, "secom__ingest_training", assets=[ledger])
        assert result.success
        made = [event.asset_key for event in result.all_events if event.is_step_materialization]
        failed = run_job(settings, instance, "secom__train", resources={"secom__model": {"config": {"seed": 7}}})
        run = instance.get_run_by_id(failed.run_id)
    assert made == [ledger]
    assert run is not None
    assert run.run_config["resources"] == {"secom__model": {"config": {"seed": 7}}}
    assert (failed.success, run.status) == (False, dg.DagsterRunStatus.FAILURE)


def test_where_runs_are_pods_none_is_recorded(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", executor="kubernetes")
    with open_instance(settings) as instance:
        with pytest.raises(RunsArePodsError, match="Start secom__train in the Dagster UI") as error:
            run_job(settings, instance, "secom__train")
        assert instance.get_runs_count() == 0
    assert error.value.code == "runs_are_pods"


def test_a_killed_run_is_not_ended_before_its_mlflow_run_can_be(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")  # the services are down, as after a power cut
    tags = {HOST_TAG: RunProcess.current().host, PROCESS_TAG: "1 another-boot 1"}
    lost = dg.DagsterRun("secom__train", run_id=str(uuid4()), status=dg.DagsterRunStatus.STARTED, tags=tags)
    with open_instance(settings) as instance:
        instance.add_run(lost)
    with open_instance(settings) as instance:
        assert instance.get_run_by_id(lost.run_id) == lost


class InterruptedOnceMade:
    """An instance on which Ctrl-C comes when a run is made and has no step yet."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def __getattr__(self, name: str) -> Any:
        return getattr(self.instance, name)

    def create_run_for_job(self, *args: Any, **more: Any) -> dg.DagsterRun:
        self.instance.create_run_for_job(*args, **more)
        raise KeyboardInterrupt


def test_a_run_that_is_interrupted_before_its_first_step_is_canceled(settings: Settings) -> None:
    with open_instance(settings) as instance:
        tags = land(settings, instance, {"notes.csv": b"not a batch"})
        interrupted = cast("dg.DagsterInstance", InterruptedOnceMade(instance))
        with pytest.raises(KeyboardInterrupt):
            run_job(settings, interrupted, "secom__ingest_training", tags=tags)
        (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED


def test_an_instance_whose_folder_is_not_there_is_refused(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", dagster_home=tmp_path / "gone")
    with (
        pytest.raises(NoInstanceError, match=r"gone, which is no folder: create it, or unset"),
        open_instance(settings),
    ):
        pass

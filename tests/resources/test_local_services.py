"""Local services: they work, they keep to themselves, and nothing of them stays behind."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from resources.local_services import LocalServices, ServiceError, ServiceName, free_port
from resources.local_services.restarts import WINDOW_SECONDS, Restarts
from resources.s3 import S3Store, s3_client
from wafer_assets.cli import main
from wafer_assets.settings import Settings, load_settings

pytestmark = pytest.mark.services

IMPORTS = """
from resources.local_services import LocalServices
from wafer_assets.settings import load_settings
"""
# As `make demo` does: start, tell, and work until something ends the process.
PARENT = """
import sys, time

with LocalServices(load_settings(), sys.argv[1:]):
    print("up", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder; what a failing test leaves running in it is stopped."""
    state_dir = tmp_path / "state"
    monkeypatch.setenv("WAFER_STATE_DIR", str(state_dir))
    yield state_dir
    LocalServices(load_settings()).down()


def processes_of(state_dir: Path) -> list[psutil.Process]:
    """Find processes by all they were started with, whatever the services themselves believe."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(state_dir) in word for word in words):
            found.append(process)
    return found


def wait_until(reached: Callable[[], object], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(reached())


def start_parent(*names: ServiceName) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + PARENT, *names], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def elsewhere(statement: str) -> None:
    """Run a statement in a process that ends right after it."""
    subprocess.run([sys.executable, "-c", IMPORTS + statement], check=True, timeout=120)


def require_up(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"


def services(*names: ServiceName) -> LocalServices:
    return LocalServices(load_settings(), names or ("s3",))


def test_all_services_run_on_loopback_only_each_below_a_gigabyte(shared_platform: Settings) -> None:
    for status in LocalServices(shared_platform).status():
        assert status.running
        for pid in status.pids:
            process = psutil.Process(pid)
            assert process.memory_info().rss < 1e9
            for connection in process.net_connections(kind="inet"):
                assert connection.laddr.ip == "127.0.0.1"


@pytest.mark.usefixtures("state_dir")
def test_the_status_tells_a_server_that_hangs_from_one_that_works() -> None:
    local = LocalServices(load_settings(), ("s3", "mongo"))
    local.up()
    shell = CliRunner()
    assert {status.name: status.running and local.answers(status.name) for status in local.status()} == {
        "s3": True,
        "mongo": True,
        "mlflow": False,
    }
    for name in ("mongo", "s3"):
        (server,) = [status for status in local.status() if status.name == name]
        stopped = [psutil.Process(pid) for pid in server.pids]
        for process in stopped:
            process.suspend()
        try:
            shown = shell.invoke(main, ["services", "status"])
        finally:
            for process in stopped:
                process.resume()
        assert shown.exit_code == 1
        assert re.search(rf"{name}\s.*not answering", shown.output)
        assert "running" in shown.output
        assert local.answers(server.name)


def test_s3_knows_two_buckets_and_asks_for_credentials(settings: Settings) -> None:
    store = S3Store(settings)
    assert store.list_objects(store.landing) == store.list_objects(store.lake) == []

    platform = s3_client(settings.s3, attempts=1)
    with pytest.raises(ClientError, match="AccessDenied"):
        platform.create_bucket(Bucket="another")
    with pytest.raises(ClientError, match="AccessDenied"):
        platform.delete_bucket(Bucket=store.lake)
    stranger = settings.s3.model_copy(update={"secret_access_key": SecretStr("guessed")})
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_client(stranger, attempts=1).list_objects_v2(Bucket=store.landing)


def test_mongodb_asks_for_credentials(settings: Settings) -> None:
    assert settings.mongo.uri is not None
    with (
        MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value().replace("wafer:", "wafer:x")) as client,
        pytest.raises(OperationFailure, match="uthentication failed"),
    ):
        client["wafer"]["training_wafers"].find_one()


def test_background_services_outlive_their_starter_and_stop_from_another_process(state_dir: Path) -> None:
    elsewhere("LocalServices(load_settings(), ['s3']).up(background=True)")

    assert services().status()[0].running
    connected = load_settings()
    S3Store(connected).put("lake", "kept", b"content")

    again = services()
    with again:
        assert not again.started
    assert services().status()[0].running, "services of somebody else are left running"

    elsewhere("assert LocalServices(load_settings()).down()")
    assert wait_until(lambda: not processes_of(state_dir))
    assert not services().down(), "stopping twice is fine"
    assert not services().status()[0].running
    assert load_settings().s3.endpoint_url is None

    with services() as settings:
        assert S3Store(settings).get("lake", "kept") == b"content"
        assert settings.s3 == connected.s3, "address and credentials are kept"


@pytest.mark.parametrize(("how", "names"), [(signal.SIGINT, ("s3",)), (signal.SIGKILL, ("s3", "mongo", "mlflow"))])
def test_services_stop_with_the_process_that_started_them(
    state_dir: Path, how: signal.Signals, names: tuple[ServiceName, ...]
) -> None:
    with start_parent(*names) as parent:
        require_up(parent)
        assert len(processes_of(state_dir)) > len(names), "the supervisor and the servers"
        parent.send_signal(how)
        parent.wait(timeout=30)
        assert wait_until(lambda: not processes_of(state_dir))


def test_interrupting_the_start_leaves_nothing(state_dir: Path) -> None:
    with start_parent("s3", "mongo", "mlflow") as parent:
        assert wait_until(lambda: len(processes_of(state_dir)) > 3)
        parent.send_signal(signal.SIGINT)
        parent.wait(timeout=30)
        assert wait_until(lambda: not processes_of(state_dir))
    assert load_settings().s3.endpoint_url is None


# A server that starts is a fork, after which Python runs hooks whose exceptions it drops.
ENDED_AFTER_A_FORK = """
import os, signal, sys

if "resources.local_services" in sys.orig_argv:
    os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
"""


def test_a_start_can_be_ended_at_any_moment(state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(ENDED_AFTER_A_FORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ServiceError, match="ended early"):
        services().up()
    assert not processes_of(state_dir)
    assert load_settings().s3.endpoint_url is None


def test_a_killed_supervisor_takes_its_servers_along_and_the_next_start_recovers(state_dir: Path) -> None:
    settings = services().up()
    supervisor = next(p for p in processes_of(state_dir) if "resources.local_services" in p.cmdline())
    supervisor.kill()
    assert wait_until(lambda: not processes_of(state_dir))
    assert load_settings().s3.endpoint_url is None
    with services() as recovered:
        assert recovered.s3 == settings.s3


def test_what_a_crash_left_behind_is_ended_before_a_start(state_dir: Path) -> None:
    state_dir.mkdir()
    leftover = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"],
        env={**os.environ, "WAFER_SERVICE_STATE": str(state_dir), "WAFER_SERVICE_NAME": "s3"},
    )
    with leftover, services():
        assert leftover.wait(timeout=5) == -signal.SIGTERM


def test_a_server_that_dies_is_started_again_on_its_port_and_is_named_while_it_is_away(state_dir: Path) -> None:
    local = services("s3", "mongo")
    settings = local.up()
    before = {status.name: status for status in local.status()}
    for pid in before["mongo"].pids:
        psutil.Process(pid).kill()
    assert wait_until(lambda: "mongo" in local.away(), 5)
    away = local.away()["mongo"]
    assert away.reason == "ended by itself with exit code -9"
    assert away.log == state_dir / "logs" / "mongo.log"
    shown = CliRunner().invoke(main, ["services", "status"])
    assert shown.exit_code == 1
    assert re.search(r"mongo\s.*starting again", shown.output)
    assert re.search(r"mongo ended by itself with exit code -9 at [\d:]{8} and is being started again", shown.output)

    assert wait_until(lambda: not local.away(), 10)
    after = {status.name: status for status in local.status()}
    assert after["s3"].pids == before["s3"].pids
    assert after["mongo"].pids != before["mongo"].pids
    assert local.up() == settings
    assert local.answers("mongo")


def test_pauses_get_longer_until_there_is_no_further_start_and_old_deaths_are_forgotten() -> None:
    restarts = Restarts()
    assert [restarts.pause(now) for now in range(6)] == [0.5, 1, 2, 4, 8, None]
    assert restarts.pause(5 + WINDOW_SECONDS) == 1, "after the last of them"


@pytest.mark.slow
def test_a_server_that_hangs_counts_as_dead(state_dir: Path) -> None:
    local = services("s3", "mongo")
    local.up()
    (pid,) = local.status()[1].pids
    psutil.Process(pid).suspend()
    assert wait_until(lambda: "mongo" in local.away(), 40)
    assert local.away()["mongo"].reason == "did not answer for 20 s"
    assert wait_until(lambda: not local.away(), 20)
    assert not psutil.pid_exists(pid)
    assert local.answers("mongo")
    assert state_dir.exists()


@pytest.mark.slow
def test_a_server_that_dies_again_and_again_ends_the_others_and_says_why(state_dir: Path) -> None:
    local = services("s3", "mongo")
    local.up()
    data = state_dir / "mongo" / "data"
    data.rename(data.with_name("moved"))
    data.write_text("a file where the server wants a folder")
    psutil.Process(local.status()[1].pids[0]).kill()
    assert wait_until(lambda: local.ended() is not None, 60)
    assert wait_until(lambda: not processes_of(state_dir))
    ended = local.ended() or ""
    assert "mongo ended by itself with exit code" in ended
    assert "for the 6th time in 10 minutes, and is not started again" in ended
    assert "mongo/data" in ended, "the log's own words"
    assert ended in CliRunner().invoke(main, ["services", "status"]).output


def test_two_processes_that_start_at_once_share_one_set_of_services(state_dir: Path) -> None:
    with start_parent("s3") as one, start_parent("s3") as other:
        require_up(one)
        require_up(other)
        assert len([p for p in processes_of(state_dir) if "resources.local_services" in p.cmdline()]) == 1
        for parent in (one, other):
            parent.kill()
        assert wait_until(lambda: not processes_of(state_dir))


@pytest.mark.usefixtures("state_dir")
def test_two_state_folders_run_side_by_side(s3: S3Store) -> None:
    with services() as others:
        S3Store(others).put("lake", "key", b"content")
        assert not s3.exists("lake", "key")


def test_other_services_than_the_running_ones_are_refused(shared_stores: Settings) -> None:
    with pytest.raises(ServiceError, match="but without mlflow") as error:
        LocalServices(shared_stores).up()
    assert error.value.code == "other_services_running"


def test_production_runs_no_local_services(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAFER_ENVIRONMENT", "production")
    with pytest.raises(ServiceError) as error:
        services().up()
    assert error.value.code == "not_local"
    assert not state_dir.exists()


def test_a_state_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WAFER_STATE_DIR", str(tmp_path / "file" / "state"))
    with pytest.raises(ServiceError, match="Not a directory") as error:
        services().up()
    assert error.value.code == "state_not_writable"


@pytest.mark.parametrize(
    ("content", "cause"), [("", "empty"), ('{"ports": ', "no JSON of ours"), ("[1]", "no JSON of ours")]
)
def test_damaged_credentials_are_named_with_the_remedy(state_dir: Path, content: str, cause: str) -> None:
    state_dir.mkdir()
    damaged = state_dir / "services.json"
    damaged.write_text(content)
    refused = CliRunner().invoke(main, ["services", "up"])
    assert refused.exit_code == 1
    assert f"Error: {damaged} is damaged: it is {cause}. Remove it: " in refused.output
    damaged.unlink()  # as it says


@pytest.mark.slow
def test_removing_the_credentials_loses_nothing_that_is_stored(state_dir: Path) -> None:
    with services("mongo") as settings:
        assert settings.mongo.uri is not None
        with MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value()) as client:
            client["wafer"]["kept"].insert_one({"_id": 1})
    (state_dir / "services.json").unlink()
    with services("mongo") as settings:
        assert settings.mongo.uri is not None
        with MongoClient[dict[str, object]](settings.mongo.uri.get_secret_value()) as client:
            assert client["wafer"]["kept"].count_documents({}) == 1


def test_a_failed_start_names_the_service_shows_its_log_and_leaves_nothing(state_dir: Path) -> None:
    (state_dir / "mongo").mkdir(parents=True)
    (state_dir / "mongo" / "data").write_text("a file where the server wants a folder")
    with pytest.raises(ServiceError, match="mongo ended by itself") as error:
        services("s3", "mongo").up()
    assert error.value.code == "start_failed"
    assert f"The end of {state_dir / 'logs' / 'mongo.log'}:" in str(error.value)
    assert "mongo/data" in str(error.value), "the log's own words"
    assert not processes_of(state_dir)


def test_secrets_are_readable_by_the_user_only(shared_stores: Settings) -> None:
    private = [path for path in shared_stores.state_dir.iterdir() if path.suffix in (".json", ".env")]
    assert len(private) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(shared_stores.state_dir.stat().st_mode) == 0o700


def test_a_taken_port_is_refused_before_anything_starts(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("WAFER_PORTS__S3", str(port))
        with pytest.raises(ServiceError, match=f"Port {port} for s3 is taken") as error:
            services().up()
    assert error.value.code == "port_taken"
    assert not processes_of(state_dir)


@pytest.mark.usefixtures("state_dir")
def test_a_wanted_port_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("WAFER_PORTS__S3", str(port))
    with services() as settings:
        assert settings.s3.endpoint_url == f"http://127.0.0.1:{port}"

"""Rounds of kills on a running platform, and the books afterwards: ``python -m tests.faults.chaos --help``.

`wafer dev` runs on a state folder of its own; files drop in and a training goes on while one process after the other is
killed. Each round waits until what was killed is back. The seed decides who is killed and what the files hold; when
exactly, the machine decides.
"""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import psutil

from resources.local_services import LocalServices, free_port
from resources.local_services.state import StateFolder
from resources.mlflow import CHAMPION, LineTracking
from resources.mongo import WaferStore
from resources.s3 import S3Store
from tests.faults.test_outages import bad_files, good_files, require_invariants
from tests.feeds import TRAINING
from tests.shell import WAFER, processes_of, wafer
from tests.stored import etags_of
from tests.waiting import wait_until
from wafer_assets.keys import landing_key
from wafer_assets.settings import Settings

VICTIMS = ("daemon", "webserver", "code server", "run", "s3", "mongo", "mlflow", "supervisor")
_WORDS = {
    "daemon": {"dagster._daemon"},
    "webserver": {"--live-data-poll-rate"},
    "code server": {"api", "grpc"},
    "run": {"train"},
    "supervisor": {"resources.local_services"},
}
_SERVERS = ("s3", "mongo", "mlflow")
_BACK_SECONDS = 180
_WAFERS = 20


class Chaos:
    """A platform that is harmed, with the files that were dropped into it."""

    def __init__(self, state: Path, rounds: int, seed: int) -> None:
        self.state = state
        self.port = free_port()
        self.dropped: dict[str, bytes] = {}
        files = good_files(2 * rounds + 8, _WAFERS, seed) | bad_files(4)
        self._random = random.Random(seed)
        self._left = list(files.items())
        self._random.shuffle(self._left)
        self._deck: list[str] = []
        self._training: subprocess.Popen[bytes] | None = None

    def settings(self) -> Settings:
        """Return where the services are; they keep their addresses."""
        return StateFolder(self.state).identity().connect(Settings(state_dir=self.state), _SERVERS)

    def next_victim(self) -> str:
        """Return who is killed now: everybody once, then everybody again."""
        if not self._deck:
            self._deck = self._random.sample(VICTIMS, len(VICTIMS))
        return self._deck.pop()

    def processes(self, victim: str) -> Sequence[psutil.Process]:
        """Find the processes of a victim."""
        if victim in _SERVERS:
            return [each.process for each in StateFolder(self.state).servers() if each.name == victim]
        found = []
        for process in processes_of(self.state):
            with suppress(psutil.Error):
                if _WORDS[victim] <= set(process.cmdline()):
                    found.append(process)
        return found

    def drop(self, count: int) -> None:
        """Let some of the files land, as a partner does: again, where S3 does not take them."""
        s3 = S3Store(self.settings())
        for _ in range(min(count, len(self._left))):
            name, content = self._left.pop()
            deadline = time.monotonic() + _BACK_SECONDS
            while True:
                try:
                    s3.put(s3.landing, landing_key(TRAINING, name), content)
                    break
                except Exception:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(1)
            self.dropped[name] = content

    def keep_training(self) -> None:
        """Have a training at work, unless one is."""
        if self._training is None or self._training.poll() is not None:
            with (self.state.parent / "training.log").open("ab") as log:
                self._training = subprocess.Popen([WAFER, "train"], stdout=log, stderr=log, env=self._environment())

    def await_training(self) -> None:
        """Wait for the end of the training that is at work; it may have failed with what was killed."""
        if self._training is not None:
            self._training.wait(600)

    def end_training(self) -> None:
        """Leave no training behind."""
        if self._training is not None:
            self._training.kill()
            self._training.wait(10)

    def works(self) -> bool:
        """Return whether the UI is there, every service answers, and the code is loaded."""
        local = LocalServices(Settings(state_dir=self.state))
        return (
            all(self.processes(each) for each in ("daemon", "webserver", "code server"))
            and local.ended() is None
            and not local.away()
            and all(local.answers(name) for name in _SERVERS)
        )

    def told(self) -> bool:
        """Return whether every file that landed has its outcome, in its present version."""
        settings = self.settings()
        s3 = S3Store(settings)
        prefix = landing_key(TRAINING, "")
        landed = {item.key.removeprefix(prefix): item.etag for item in s3.list_objects(s3.landing, prefix)}
        return set(landed) == set(self.dropped) and etags_of(WaferStore(settings), TRAINING) == landed

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "WAFER_STATE_DIR": str(self.state)}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Run `wafer dev`, with automation that looks often and reports soon again what was lost."""
        variables = {
            "WAFER_AUTOMATION__LANDING_SECONDS": "5",
            "WAFER_AUTOMATION__EVALUATION_SECONDS": "5",
            "WAFER_AUTOMATION__RETRY_MINUTES": "1",
            "WAFER_RETRAINING__ENABLED": "false",
        }
        command = [WAFER, "dev", "--port", str(self.port)]
        with (
            (self.state.parent / "dev.log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, env={**self._environment(), **variables}) as dev,
        ):
            try:
                wait_until(self._is_open, _BACK_SECONDS, look_every=1)
                yield
                assert dev.poll() is None, "`wafer dev` goes on"
            finally:
                self.end_training()
                dev.send_signal(signal.SIGINT)
                dev.wait(120)

    def _is_open(self) -> bool:
        return "Ctrl-C stops everything" in (self.state.parent / "dev.log").read_text(errors="replace")


def play(chaos: Chaos, rounds: int) -> None:
    """Kill one process a round, and require that it comes back."""
    for number in range(1, rounds + 1):
        chaos.keep_training()
        chaos.drop(2)
        victim = chaos.next_victim()
        if victim == "run":
            wait_until(lambda: chaos.processes("run"), 60)
        found = chaos.processes(victim)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        begun = time.monotonic()
        time.sleep(1)
        wait_until(chaos.works, _BACK_SECONDS, look_every=0.5)
        click.echo(
            f"round {number:3}: killed {victim} ({len(found)} processes), all back after "
            f"{time.monotonic() - begun:.1f} s, {len(chaos.dropped)} files"
        )


def audit(chaos: Chaos) -> None:
    """Require of the books what follows from the files, and of the model that one predicts."""
    chaos.await_training()
    wait_until(chaos.told, 600, look_every=2)
    settings = chaos.settings()
    require_invariants(settings, chaos.dropped)
    trained = wafer(chaos.state, "train")
    assert trained.returncode == 0, trained.stderr
    champion = LineTracking(settings, TRAINING.line).aliases().get(CHAMPION)
    assert champion is not None, "a model predicts"
    status = {manifest.status for manifest in WaferStore(settings).batches(TRAINING)}
    click.echo(f"books: {len(chaos.dropped)} received, {sorted(status)}; champion: version {champion}")


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Kills.")
@click.option("--seed", type=int, help="Decides who is killed and what files hold; without it, by chance.")
def main(rounds: int, seed: int | None) -> None:
    """Kill processes of a running platform, one a round, and check the books afterwards."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="wafer-chaos-") as folder:
        chaos = Chaos(Path(folder, "state"), rounds, seed)
        try:
            with chaos.opened():
                chaos.drop(8)
                play(chaos, rounds)
                audit(chaos)
            wait_until(lambda: not processes_of(chaos.state), 60)
        except BaseException:
            click.echo(f"seed {seed}; the end of what `wafer dev` said:", err=True)
            click.echo("\n".join(Path(folder, "dev.log").read_text(errors="replace").splitlines()[-40:]), err=True)
            raise
    click.echo(f"seed {seed}: nothing was lost and no process is left")


if __name__ == "__main__":
    main()

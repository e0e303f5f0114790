"""A Debian machine of its own: made by debootstrap, booted with systemd-nspawn in a network of its own, used over SSH.

It needs root, and Debian's debootstrap, systemd-container and nftables. What it opens on this machine, an interface, a
rule that lets the other reach the package mirrors, and forwarding, is taken away again.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.ci.tools import FOLDER as TOOLS
from deploy.image import ROOT, secrets_here

NEEDED = ("debootstrap", "systemd-nspawn", "nft", "ip", "ssh", "ssh-keygen")
PLAYBOOKS = ROOT / "deploy" / "ansible"
OURS, ADDRESS = "10.98.0.1", "10.98.0.2"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wafer-machines"
_PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,sudo,ca-certificates,iproute2"
_NAME = "wafer-machine"
_BOOT_SECONDS = 60


@dataclass
class Machine:
    """A machine that runs.

    Attributes
    ----------
    root
        Its files, as seen from here.
    folder
        Where its key and inventory are.
    """

    root: Path
    folder: Path

    def play(self, variables: dict[str, Any], *arguments: str) -> dict[str, Any]:
        """Run the playbook over SSH for a machine that is all hosts at once; return the figures of its end.

        Raises
        ------
        AssertionError
            A task failed: with what the playbook printed.
        """
        played = self.tried(variables, *arguments)
        assert played.returncode == 0, played.stdout[-6_000:] + played.stderr[-2_000:]
        (line,) = (line for line in played.stdout.splitlines() if line.startswith("machine ") and "changed=" in line)
        figures: dict[str, Any] = {key: int(value) for key, value in (part.split("=") for part in line.split()[2:])}
        return figures | {"output": played.stdout}

    def tried(self, variables: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the playbook, whatever comes of it."""
        groups = ("jenkins_agents", "jenkins_controllers", "fab_nodes")
        host = {"ansible_host": ADDRESS, "ansible_user": "admin", "ansible_ssh_private_key_file": str(self._key)}
        host |= {"ansible_ssh_common_args": f"-o UserKnownHostsFile={self.folder}/known_hosts"}
        inventory = {"all": {"hosts": {"machine": host}, "vars": variables, "children": {}}}
        inventory["all"]["children"] = {group: {"hosts": {"machine": {}}} for group in groups}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
        command = [str(TOOLS / "ansible-playbook"), "--inventory", str(self.folder / "hosts.yml"), "site.yml"]
        environment = os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(self.folder / "local")}
        environment["PATH"] = f"{TOOLS}:{environment['PATH']}"
        return subprocess.run(
            [*command, *arguments], cwd=PLAYBOOKS, env=environment, capture_output=True, text=True, check=False
        )

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command on the machine as root, and return what it prints."""
        options = ["-i", str(self._key), "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "BatchMode=yes"]
        words = ["ssh", *options, f"admin@{ADDRESS}", "sudo", "--", *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def _key(self) -> Path:
        return self.folder / "key"


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Boot a fresh machine, and take it away afterwards."""
    root = folder / "root"
    with ExitStack() as stack:
        _run("cp", "--archive", str(_base()), str(root))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        it = Machine(root, folder)
        _let_in(it)
        stack.enter_context(_network())
        stack.enter_context(_booted(root, folder / "console.log"))
        _wait_for_ssh(it)
        yield it


def _base() -> Path:
    """Return the root of a machine that was never booted, made once."""
    name = hashlib.sha256(_PACKAGES.encode()).hexdigest()[:12]
    base = _CACHE / f"bookworm-{name}"
    if not base.exists():
        part = base.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(part))
        sources = part / "etc/apt/sources.list"
        _, mirror, suite, component = sources.read_text().splitlines()[0].split()
        with sources.open("a") as file:
            file.write(f"deb {mirror}-security {suite}-security {component}\n")
        shutil.rmtree(part / "var/cache/apt", ignore_errors=True)
        part.rename(base)
    return base


def _let_in(it: Machine) -> None:
    """Give the machine a user with a key, and this machine's way to its package index."""
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(it.folder / "key"))
    _run("chroot", str(it.root), "useradd", "--create-home", "--shell", "/bin/bash", "admin")
    _run("chroot", str(it.root), "install", "-d", "-o", "admin", "-g", "admin", "-m", "700", "/home/admin/.ssh")
    keys = it.root / "home/admin/.ssh/authorized_keys"
    shutil.copyfile(it.folder / "key.pub", keys)
    _run("chroot", str(it.root), "chown", "admin:admin", "/home/admin/.ssh/authorized_keys")
    (it.root / "etc/sudoers.d/admin").write_text("admin ALL=(ALL) NOPASSWD: ALL\n")
    public = next((it.root / "etc/ssh").glob("ssh_host_ed25519_key.pub")).read_text()
    (it.folder / "known_hosts").write_text(f"{ADDRESS} {public}")
    for name, path in secrets_here(it.folder).items():
        target = it.root / {"ca.crt": "etc/ssl/certs/ca-certificates.crt", "pip.conf": "etc/pip.conf"}.get(
            name, f"etc/uv/{name}"
        )
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)


@contextmanager
def _network() -> Iterator[None]:
    """A network namespace with one way out, which is translated: nobody comes in but this machine."""
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    before = forward.read_text()
    _forget_network()
    inside = ("ip", "-n", _NAME)
    try:
        _run("ip", "netns", "add", _NAME)
        _run("ip", "link", "add", "wafer0", "type", "veth", "peer", "name", "host0", "netns", _NAME)
        _run("ip", "address", "add", f"{OURS}/30", "dev", "wafer0")
        _run("ip", "link", "set", "wafer0", "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "address", "add", f"{ADDRESS}/30", "dev", "host0")
        _run(*inside, "link", "set", "host0", "up")
        _run(*inside, "route", "add", "default", "via", OURS)
        _run("nft", "add", "table", "ip", _NAME)
        _run("nft", "add", "chain", "ip", _NAME, "out", "{ type nat hook postrouting priority 100; }")
        _run("nft", "add", "rule", "ip", _NAME, "out", "ip", "saddr", ADDRESS, "masquerade")
        forward.write_text("1")
        yield
    finally:
        forward.write_text(before)
        _forget_network()


def _forget_network() -> None:
    for command in (
        ["ip", "link", "del", "wafer0"],
        ["ip", "netns", "del", _NAME],
        ["nft", "delete", "table", "ip", _NAME],
    ):
        subprocess.run(command, capture_output=True, check=False)


@contextmanager
def _booted(root: Path, console: Path) -> Iterator[None]:
    options = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--boot",
        f"--machine={_NAME}",
        f"--directory={root}",
    ]
    options += [f"--network-namespace-path=/run/netns/{_NAME}", "--console=pipe", "--capability=CAP_NET_ADMIN"]
    with console.open("wb") as log, subprocess.Popen(
        options, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(40)
            process.kill()


def _wait_for_ssh(it: Machine) -> None:
    end = time.monotonic() + _BOOT_SECONDS
    while it.run("systemctl", "is-system-running", "--wait", check=False) not in {"running", "degraded"}:
        assert time.monotonic() < end, (
            f"The machine does not answer: {(it.folder / 'console.log').read_text()[-2_000:]}"
        )
        time.sleep(0.5)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

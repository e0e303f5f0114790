"""Run a command on a cluster: the one that KUBECONFIG names, or a one-node cluster for as long as it takes.

``python -m tests.kubernetes.kit COMMAND ...``. With KUBECONFIG set, the variables of `tests/kubernetes/conftest.py`
say which image the cluster knows and how its pods reach this machine. Without, the image is built, and the kit in the
folder that K8S_KIT names starts a cluster in a network namespace without a way out, runs this once more in there, and
stops it, whatever happens.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.kubernetes.phases import phase

ROOT = Path(__file__).parents[2]
KIT = Path(os.environ.get("K8S_KIT") or ROOT.parent / "shared" / "k8s")
ADDRESS = "10.96.0.1"
"""Of the kit's namespace, for pods and for what runs beside them."""
ARCHIVE = ROOT / ".wafer" / "image.tar"
INSIDE = "WAFER_TEST_INSIDE"
NEEDED = ("WAFER_TEST_IMAGE", "WAFER_TEST_NEXT_IMAGE", "WAFER_TEST_ADDRESS")


def on_a_cluster(command: list[str]) -> int:
    """Run the command where a cluster is, and return its exit code."""
    if os.environ.get(INSIDE):
        return subprocess.run(command, cwd=ROOT, env=os.environ | on_the_kit(), check=False).returncode
    if os.environ.get("KUBECONFIG"):
        if missing := [name for name in NEEDED if not os.environ.get(name)]:
            sys.exit(f"Set {', '.join(missing)} for your cluster, as tests/kubernetes/conftest.py explains.")
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    if not (KIT / "run").exists():
        sys.exit(f"There is no cluster: set KUBECONFIG, or K8S_KIT to the folder of a one-node kit (not {KIT}).")
    ARCHIVE.parent.mkdir(exist_ok=True)
    try:
        with phase("the image is built, or was there", aloud=True):
            build = [sys.executable, "-m", "deploy.image", "build", "--archive", str(ARCHIVE)]
            name = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        with phase("the cluster, from start to stop", aloud=True):
            again = [str(KIT / "run"), sys.executable, "-m", "tests.kubernetes.kit", *command]
            environment = os.environ | {INSIDE: "1", "WAFER_TEST_IMAGE": name}
            return subprocess.run(again, cwd=ROOT, env=environment, check=False).returncode
    finally:
        ARCHIVE.unlink(missing_ok=True)


def on_the_kit() -> dict[str, str]:
    """Give the cluster the image under two names, and say how its pods reach this machine."""
    state = os.environ.get("K8S_KIT_STATE", "/run/one-node-k8s")
    images = ["ctr", "--address", f"{state}/run/containerd.sock", "-n", "k8s.io", "images"]
    name = f"docker.io/library/{os.environ['WAFER_TEST_IMAGE']}"
    with phase("the image is imported", aloud=True):
        subprocess.run([*images, "import", str(ARCHIVE)], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*images, "tag", name, f"{name}-next"], check=True, stdout=subprocess.DEVNULL)
    return {
        "WAFER_TEST_IMAGE": name,
        "WAFER_TEST_NEXT_IMAGE": f"{name}-next",
        "WAFER_TEST_ADDRESS": ADDRESS,
        "WAFER_TEST_KUBE_PROXY": "0",
    }


if __name__ == "__main__":
    sys.exit(on_a_cluster(sys.argv[1:]))

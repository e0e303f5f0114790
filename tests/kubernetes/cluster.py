"""What the tests do with a cluster: objects made, pods watched, a Service where there is no kube-proxy."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

import kubernetes
from kubernetes.client import V1Pod
from kubernetes.stream import stream

RUNS = "wafer-runs"
"""The namespace of the runs, as values and manifests name it."""
STEP = "step_worker"
"""What Dagster labels the pod of a step with."""


def wait_for(what: str, found: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what `found` returns once it is true; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"gave up waiting for {what} after {seconds:g} s"
        time.sleep(0.5)
    return value


class Cluster:
    """Two namespaces of the cluster that KUBECONFIG names; everything in them goes at the end.

    Attributes
    ----------
    namespace, runs
        That of the platform, and that of its runs.
    seen
        Every pod of a run as it was last seen, by name; those that are gone stay.
    """

    def __init__(self, namespace: str) -> None:
        kubernetes.config.load_kube_config()
        self.namespace, self.runs = namespace, f"{namespace}-runs"
        self.api = kubernetes.client.ApiClient()
        self.core, self.apps = kubernetes.client.CoreV1Api(), kubernetes.client.AppsV1Api()
        self.batch = kubernetes.client.BatchV1Api()
        self.seen: dict[str, V1Pod] = {}
        self._watching = threading.Event()

    def __enter__(self) -> Self:
        for name in (self.namespace, self.runs):
            self.core.create_namespace({"metadata": {"name": name}})
        self._watching.set()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.clear()
        for name in (self.namespace, self.runs):
            self.core.delete_namespace(name, propagation_policy="Foreground")

    def create(self, *objects: Mapping[str, Any]) -> None:
        """Create objects: in the platform's namespace, unless they are of that of the runs."""
        for item in objects:
            runs = item["metadata"].get("namespace") == RUNS
            metadata = {**item["metadata"], "namespace": self.runs if runs else self.namespace}
            kubernetes.utils.create_from_dict(self.api, {**item, "metadata": metadata})

    def pods(self, deployment: str) -> list[V1Pod]:
        """Return the pods of a deployment that are there."""
        wanted = self.apps.read_namespaced_deployment(deployment, self.namespace).spec.selector.match_labels
        selector = ",".join(f"{name}={value}" for name, value in wanted.items())
        return list(self.core.list_namespaced_pod(self.namespace, label_selector=selector).items)

    def pods_of(self, run_id: str, component: str | None = None) -> list[V1Pod]:
        """Return every pod that a run ever had."""
        return [
            pod
            for pod in list(self.seen.values())
            if pod.metadata.labels.get("dagster/run-id") == run_id
            and component in (None, pod.metadata.labels["app.kubernetes.io/component"])
        ]

    def left_of(self, run_id: str) -> list[V1Pod]:
        """Return the pods of a run that are there, ended or not."""
        return list(self.core.list_namespaced_pod(self.runs, label_selector=f"dagster/run-id={run_id}").items)

    def alive(self, run_id: str) -> list[V1Pod]:
        """Return the pods of a run that have not ended."""
        return [pod for pod in self.left_of(run_id) if pod.status.phase in ("Pending", "Running")]

    def ready(self, deployment: str, image: str | None = None, seconds: float = 120) -> V1Pod:
        """Wait until a deployment has rolled out, and return its one pod."""

        def rolled_out() -> V1Pod | None:
            found = self.apps.read_namespaced_deployment(deployment, self.namespace)
            status = found.status
            if status.observed_generation != found.metadata.generation:
                return None
            pods = self.pods(deployment)
            if status.ready_replicas == status.updated_replicas == status.replicas == len(pods) == 1:
                return pods[0] if image in (None, pods[0].spec.containers[0].image) else None
            return None

        try:
            pod: V1Pod = wait_for(f"{deployment} to be ready", rolled_out, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe(deployment)}") from None
        return pod

    def describe(self, deployment: str) -> str:
        """Return what is known of the pods of a deployment that does not work."""
        found = []
        for pod in self.pods(deployment):
            found.append(str(pod.status.container_statuses or pod.status.conditions))
            with suppress(kubernetes.client.ApiException):
                found.append(self.core.read_namespaced_pod_log(pod.metadata.name, self.namespace, tail_lines=30))
        return "\n".join(found)

    def run_in(self, pod: V1Pod, *command: str) -> str:
        """Run a command in a pod and return what it prints."""
        # A client of its own, because `stream` turns every other call of it into a web socket for a while.
        core = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient())
        return str(
            stream(
                core.connect_get_namespaced_pod_exec,
                pod.metadata.name,
                self.namespace,
                command=list(command),
                stdout=True,
                stderr=True,
                stdin=False,
                tty=False,
            )
        )

    @contextmanager
    def forwarded(self, pod: V1Pod, port: int) -> Iterator[int]:
        """Yield a port of this machine's loopback that leads to a pod's."""
        command = ["kubectl", "port-forward", "-n", self.namespace, f"pod/{pod.metadata.name}", f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            threading.Thread(target=process.stdout.read, daemon=True).start()
            try:
                yield int(line.split(" -> ")[0].rpartition(":")[2])
            finally:
                process.terminate()

    def _watch(self) -> None:
        while self._watching.is_set():
            with suppress(Exception):
                watcher = kubernetes.watch.Watch()
                for event in watcher.stream(self.core.list_namespaced_pod, self.runs, timeout_seconds=5):
                    self.seen[event["object"].metadata.name] = event["object"]


class ServiceStandIn:
    """Passes connections on to a ready pod of a Service, for clusters that have no kube-proxy."""

    def __init__(self, cluster: Cluster, service: str, host: str) -> None:
        self._cluster, self._service = cluster, service
        self._server = socket.create_server((host, 0))
        self.host, self.port = host, int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._server.accept()
            try:
                ends = self._cluster.core.read_namespaced_endpoints(self._service, self._cluster.namespace)
                subset = (ends.subsets or [])[0]
                pod = socket.create_connection((subset.addresses[0].ip, subset.ports[0].port), 5)
            except (OSError, IndexError, TypeError, kubernetes.client.ApiException):
                client.close()
                continue
            pod.settimeout(None)
            for source, target in ((client, pod), (pod, client)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def label(pod: V1Pod, name: str) -> str:
    """Return a label of a pod."""
    return str(pod.metadata.labels.get(name, ""))

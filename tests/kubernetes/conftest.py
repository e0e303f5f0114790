"""The platform on the cluster that KUBECONFIG names, as the chart would deploy it, and the servers that it uses.

PostgreSQL and the local S3, MongoDB and MLflow run on this machine, on an address that the cluster's pods reach;
webserver, daemon, code location, runs and steps are pods. What they are made of comes from ``helm_values`` and
``deploy/manifests``; the chart itself is not needed.

- ``WAFER_TEST_IMAGE``: the platform's image, by a name that the cluster knows.
- ``WAFER_TEST_NEXT_IMAGE``: the same or a newer one by another name, which the code location is rolled to.
- ``WAFER_TEST_ADDRESS``: this machine's address as pods see it.
- ``WAFER_TEST_KUBE_PROXY=0``: the cluster has none, so that Services do not work.
- ``WAFER_TEST_BATCHES``: a folder of training batches; simulated ones are used where it is not set.
"""

from collections.abc import Iterator

import pytest

from tests.kubernetes.phases import PHASES, phase
from tests.kubernetes.platform import Platform, given_batches, running_platform


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with phase(item.name):
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, seconds in PHASES:
        terminalreporter.write_line(f"{seconds:7.1f} s  {name}")


@pytest.fixture(scope="session")
def batches() -> dict[str, bytes]:
    """Training batches by file name."""
    return given_batches()


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with running_platform() as platform:
        yield platform

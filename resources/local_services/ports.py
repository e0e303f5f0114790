"""Ports of this machine that are free."""

import random
import socket
from ipaddress import IPv4Address

from pydantic import IPvAnyAddress

# Below the range from which the kernel takes the ports of outgoing connections.
_FREE_PORTS = range(20_000, 32_000)
_LOOPBACK = IPv4Address("127.0.0.1")


def free_port(wanted: int | None = None) -> int:
    """Return the wanted port of this machine, or where that is taken a free one.

    Until it is used, no outgoing connection takes it, only a program that asks for this very port.
    """
    port = wanted or any_port()
    while not is_free(_LOOPBACK, port):
        port = any_port()
    return port


def any_port() -> int:
    """Return a port that may be free."""
    return random.SystemRandom().choice(_FREE_PORTS)


def is_free(host: IPvAnyAddress, port: int) -> bool:
    """Return whether a program may listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(host), port))
        except OSError:
            return False
        return True

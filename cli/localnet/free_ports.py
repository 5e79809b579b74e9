"""A range of ports for a network that does not care which: found free, and held against others that look at once."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from cli.localnet.initialise import Plan
from cli.localnet.layout import PORTS_PER_CHAIN
from cli.localnet.markets import PILOTS
from common.core.errors import Unavailable

FIRST_BASE_PORT = 18000
BASE_PORT_STEP = 1000
BASE_PORTS = 30


@contextlib.contextmanager
def reserved_base_port(validators: int) -> Iterator[int]:
    """The first base port whose whole range is free on loopback, for a network of all pilots.

    The range's last port stays bound until the block ends: whoever looks meanwhile, before the nodes have bound theirs,
    takes another range. Raises Unavailable if there is none.
    """
    for number in range(BASE_PORTS):
        base_port = FIRST_BASE_PORT + number * BASE_PORT_STEP
        plan = Plan(directory=Path(), regions=PILOTS, validators=validators, base_port=base_port)
        mark = base_port + (len(PILOTS) + 1) * PORTS_PER_CHAIN - 1
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as reservation:
            try:
                reservation.bind(("127.0.0.1", mark))
            except OSError:
                continue
            if all(_is_free(port) for port in plan.ports()):
                yield base_port
                return
    raise Unavailable("no_free_ports", f"no free range of ports from {FIRST_BASE_PORT}; choose one: --base-port")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

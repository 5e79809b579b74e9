"""A local network in a test, driven through the `tongjian` command; what the tests assert goes through the public API
only."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import Api
from cli.localnet.free_ports import reserved_base_port
from cli.localnet.layout import CUSTODY, LocalNetwork, load_network
from cli.localnet.readiness import node_status
from common.core.errors import Rejected

COMMAND = (sys.executable, "-m", "cli.main")
NEXT_RELEASE = (sys.executable, "-m", "tests.support.next_release")
"""The same command of a release with one protocol version more."""


def tongjian(
    *arguments: str, check: bool = True, timeout_s: float = 180.0, release: Sequence[str] = COMMAND
) -> subprocess.CompletedProcess[str]:
    """Run the command line; its output is text."""
    result = subprocess.run(
        [*release, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
    )
    if check and result.returncode != 0:
        raise AssertionError(f"tongjian {' '.join(arguments)} ended with {result.returncode}: {result.stderr[-2000:]}")
    return result


def eventually(condition: Callable[[], Any], what: str, *, patience_s: float = 60.0) -> Any:
    """The first truthy value of `condition`; fails with `what` when the patience is over."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s:.0f} s: {what}")
        time.sleep(0.1)


@dataclass
class Network:
    """One local network by its directory."""

    directory: Path

    @classmethod
    @contextlib.contextmanager
    def found(cls, directory: Path, *, regions: Sequence[str], relays: int = 1) -> Iterator[Network]:
        """Found a network on ports that are reserved for it until the block ends; its processes end with the block."""
        with reserved_base_port(4) as port:
            options = ["--regions", ",".join(regions), "--base-port", str(port), "--relays", str(relays)]
            tongjian("localnet", "init", str(directory), *options)
            network = cls(directory)
            try:
                yield network
            finally:
                network.down()

    @property
    def local(self) -> LocalNetwork:
        """The network as `network.json` describes it now."""
        return load_network(self.directory)

    def up(self) -> None:
        """Start everything; returns once every chain commits."""
        tongjian("localnet", "up", str(self.directory), "--detach")

    def down(self) -> None:
        """Stop everything."""
        tongjian("localnet", "down", str(self.directory))

    def kill(self, name: str) -> None:
        """SIGKILL one process."""
        tongjian("localnet", "kill", str(self.directory), name)

    def start(self, name: str, release: Sequence[str] = COMMAND) -> None:
        """Start one process again."""
        tongjian("localnet", "start", str(self.directory), name, release=release)

    def height(self, name: str) -> int:
        """A node's height; -1 while it does not answer."""
        local = self.local
        for chain in local.chains:
            for node in chain.nodes:
                if node.name == name:
                    status = node_status(local, chain, node)
                    return int(status["height"]) if status else -1
        raise AssertionError(f"no node {name}")

    def supervisor(self) -> Api:
        """The custody chain with the supervisor's token."""
        local = self.local
        return Api([node.api for node in local.chain(CUSTODY).nodes], local.token("supervisor"), local.ca_file)

    def region(self, region: str) -> dict[str, Any]:
        """What the custody chain says of a region."""
        with self.supervisor() as api:
            return dict(api.get(f"/v1/regions/{region}")["data"])

    def wait_until_anchored(self, region: str, height: int, *, patience_s: float = 60.0) -> None:
        """Return once the custody chain has anchored a region's height."""

        def anchored() -> bool:
            try:
                return bool(self.region(region)["anchored_height"] >= height)
            except Rejected:
                return False

        eventually(anchored, f"{region} anchored at {height}", patience_s=patience_s)

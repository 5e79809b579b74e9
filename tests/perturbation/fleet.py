"""The processes of a local network under the harness's hands: started as an operator's service manager would start
them, ended, stopped and continued by signal, each known by its pid and start time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import tomli_w

from cli.localnet.free_ports import reserved_base_port
from cli.localnet.layout import Chain, LocalNetwork, load_network
from cli.localnet.processes import is_running, record_started, signal_process, start_ticks
from tests.perturbation.proxy import Forwarder
from tests.support.running import tongjian

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "cli.main"]


class Fleet:
    """One network and its processes. `only_chain` leaves the custody chain and the relay out."""

    def __init__(self, directory: Path, forwarder: Forwarder | None, only_chain: str | None = None) -> None:
        self.directory, self.forwarder, self._only = directory, forwarder, only_chain
        self.network: LocalNetwork = load_network(directory)
        self._children: list[subprocess.Popen[bytes]] = []
        if forwarder is not None:
            for chain in self.chains:
                self._lead_peers_through(forwarder, chain)

    @classmethod
    @contextlib.contextmanager
    def found(
        cls, directory: Path, regions: tuple[str, ...], *, forwarder: Forwarder | None, only_chain: str | None = None
    ) -> Iterator[Fleet]:
        """Found and start a network; every process is gone when the block ends."""
        with reserved_base_port(4) as port:
            options = ["--regions", ",".join(regions), "--base-port", str(port)]
            tongjian("localnet", "init", str(directory), *options)
            fleet = cls(directory, forwarder, only_chain)
            try:
                fleet.up()
                yield fleet
            finally:
                fleet.down()

    @property
    def chains(self) -> list[Chain]:
        """The chains that run."""
        return [chain for chain in self.network.chains if self._only in (None, chain.network_id)]

    def names(self, chain: str) -> list[str]:
        """The nodes of a chain."""
        return [node.name for node in self.network.chain(chain).nodes]

    def chain_of(self, name: str) -> str:
        """The chain to which a node belongs; empty for a relay."""
        return next((chain.network_id for chain in self.chains if name in self.names(chain.network_id)), "")

    def up(self) -> None:
        """Start everything; a whole network through `localnet up`, which returns once every chain commits."""
        if self._only is None:
            tongjian("localnet", "up", str(self.directory), "--detach")
            self.network = load_network(self.directory)
        else:
            for name in self.names(self._only):
                self.start(name)

    def down(self) -> None:
        """End everything."""
        for process in self.network.processes():
            signal_process(process, signal.SIGCONT)
        record_started(self.network, [])
        tongjian("localnet", "down", str(self.directory))
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)

    def start(self, name: str, *, version: str = "") -> None:
        """Run one process; returns at once. With `version`, the build that runs says that it is that version and finds
        another environment."""
        process = self.network.process(name)
        kind = "relay" if process.data_dir is None else "node"
        arguments = [kind, "run", "--config", str(process.config)]
        command, environment = [*COMMAND, *arguments], dict(os.environ)
        if version:
            start = f"import common.version as v; v.VERSION = {version!r}; from cli.main import main; main()"
            command = [sys.executable, "-c", start, *arguments]
            environment |= {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
        with process.log.open("ab") as log:
            child = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )
        self._children.append(child)
        self.network = self.network.with_process(replace(process, pid=child.pid, started_ticks=start_ticks(child.pid)))

    def running(self, name: str) -> bool:
        """Whether a process lives."""
        self._reap()
        return is_running(self.network.process(name))

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the process that was started."""
        signal_process(self.network.process(name), number)

    def kill(self, name: str) -> None:
        """SIGKILL; returns once it is gone."""
        self.signal(name, signal.SIGKILL)
        while self.running(name):
            pass

    def wipe(self, name: str) -> None:
        """Delete a dead node's data: database and vote log."""
        folder = self.network.process(name).data_dir
        assert folder is not None
        assert not self.running(name)
        shutil.rmtree(folder)

    def _reap(self) -> None:
        for child in self._children:
            child.poll()

    def _lead_peers_through(self, forwarder: Forwarder, chain: Chain) -> None:
        for node in chain.nodes:
            settings = tomllib.loads(node.config.read_text())
            for peer in settings["peers"]:
                peer["port"] = forwarder.link(node.name, peer["name"], peer["port"])
            node.config.write_text(tomli_w.dumps(settings))

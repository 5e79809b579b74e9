"""One business chain of four validators, each run as its operator would: `tongjian node run --config`, nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from cli.localnet.free_ports import reserved_base_port
from cli.localnet.initialise import Plan, initialise
from cli.localnet.layout import LocalNetwork, Process
from cli.localnet.readiness import node_api
from tests.support.market import Market
from tests.support.running import COMMAND, eventually

NETWORK = "beijing"


class RegionNode:
    """One node: its files, and its process while it runs."""

    def __init__(self, network: LocalNetwork, described: Process) -> None:
        self.described = described
        self.name = described.name
        self.directory = described.config.parent
        self.data = self.directory / "data"
        self._network = network
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "run.log"

    def start(self, **environment: str) -> None:
        """Run the process; its log goes on in the same file."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "node", "run", "--config", str(self.described.config)],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self, number: int = signal.SIGKILL) -> int:
        """End it; its exit code."""
        if self._process is None:
            return 0
        if self.running:
            self._process.send_signal(number)
        return self._process.wait(20)

    def wait(self, timeout_s: float = 30.0) -> int:
        """The exit code, once it ends."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`tongjian node ARGUMENT… --config` of this node."""
        line = [*COMMAND, "node", *arguments, "--config", str(self.described.config)]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)

    def log(self, since: int = 0) -> list[str]:
        """Lines of the log from a byte on."""
        return self._log.read_bytes()[since:].decode("utf-8", "replace").splitlines() if self._log.exists() else []

    def log_size(self) -> int:
        """Where the log ends now."""
        return self._log.stat().st_size if self._log.exists() else 0

    def end(self, since: int) -> tuple[str, str]:
        """(code, sentence) that a process which could not run has left in its log or on standard error."""
        for line in reversed(self.log(since)):
            if line.startswith("error: "):
                _, code, detail = line.split(": ", 2)
                return code, detail
            if line.startswith("{"):
                record = json.loads(line)
                if record["level"] == "critical":
                    return str(record.get("code")), str(record.get("detail") or record.get("error"))
        return "", "\n".join(self.log(since)[-5:])

    def get(self, path: str) -> Any:
        """One answer of this node as JSON; a refusal as its code; None while it does not answer."""
        headers = {"Authorization": f"Bearer {self._network.token(f'{NETWORK}-operator')}"}
        context = ssl.create_default_context(cafile=str(self._network.ca_file))
        try:
            with httpx.Client(verify=context, headers=headers, timeout=10, trust_env=False) as http:
                answer = http.get(f"{self.described.api}{path}")
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else answer.json()["code"]

    def status(self) -> dict[str, Any] | None:
        """The node's place in its chain, or None while it does not answer."""
        answer = self.get(f"/v1/networks/{NETWORK}/status")
        return answer if isinstance(answer, dict) else None

    def metric(self, name: str) -> float:
        """One number of /metrics."""
        with node_api(self._network, self._network.chain(NETWORK), [self.described]) as api:
            for line in api.text("/metrics").splitlines():
                if line.startswith(f"tongjian_{name} "):
                    return float(line.split()[1])
        raise AssertionError(f"no metric {name}")


class Region:
    """The chain; `market` is its operator."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self.nodes = [RegionNode(network, node) for node in network.chain(NETWORK).nodes]

    @classmethod
    @contextlib.contextmanager
    def found(cls, directory: Path) -> Iterator[Region]:
        """A chain on ports of its own, every node committing; its processes end with the block."""
        with reserved_base_port(4) as port:
            plan = Plan(directory=directory, regions=[NETWORK], base_port=port, validators=4)
            region = cls(initialise(plan, now_ms=time.time_ns() // 1_000_000, progress=lambda text: None))
            try:
                for node in region.nodes:
                    node.start()
                for node in region.nodes:
                    eventually(
                        lambda node=node: (node.status() or {"height": 0})["height"] >= 1, f"{node.name} commits"
                    )
                yield region
            finally:
                for node in region.nodes:
                    node.stop()

    def market(self) -> Market:
        """The region's operator."""
        return Market(self.network, NETWORK)

    def height(self) -> int:
        """The highest tip of a running node."""
        return max(int(status["height"]) for node in self.nodes if (status := node.status()) is not None)

    def votes_again(self, node: RegionNode, patience_s: float = 40.0) -> None:
        """Wait until a node is level and votes; fails if anybody has contradicted himself."""
        eventually(
            lambda: (status := node.status()) is not None and status["voting"] and status["height"] >= self.height(),
            f"{node.name} votes again",
            patience_s=patience_s,
        )
        assert {other.metric("accusations_total") for other in self.nodes if other.running} == {0.0}

"""A chain of real processes on loopback with the toy application: what runs is everything but a tier's rules."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import tomli_w

from common.core.genesis import Genesis, build_genesis
from common.core.parameters import ChainParameters
from common.node.access import issue_token
from common.node.keys import encode_key, write_private_file
from common.node.peer.certificates import create_authority, issue_certificate
from tests.unit.node.toy import SUITE, key_of, seed_of, validator_set

ROOT = Path(__file__).resolve().parents[2]
PORTS = range(10_000, 18_000)
"""Below what the system gives to outgoing connections and below local networks: nothing but a listener takes one."""
_candidates = itertools.islice(itertools.cycle(PORTS), os.getpid() * 97 % len(PORTS), None)
"""Begun at another port in each process, which gets none twice before it had all the others."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now and that nothing but a listener takes later."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_candidates)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


def until(condition: Callable[[], Any], what: str, patience_s: float = 20.0) -> Any:
    """The first truthy value of `condition`."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.05)
    return value


class ToyNode:
    """One validator's directory and, while it runs, its process."""

    def __init__(self, directory: Path, name: str, api_port: int) -> None:
        self.directory = directory
        self.name = name
        self.api = f"https://127.0.0.1:{api_port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        """Variables that every start sets (`toy_node`)."""

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """What the node has logged, in all its lives. Fails on a line that is no JSON object: a crash."""
        text = (self.directory / "node.log").read_text()
        assert "\nTraceback" not in "\n" + text, text[-3_000:]
        return [json.loads(line) for line in text.splitlines()]

    def start(self, **environment: str) -> None:
        """Run the process, with more variables in its environment."""
        with (self.directory / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.toy_node", str(self.directory / "node.toml")],
                cwd=ROOT,
                env=os.environ | self.environment | environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """The running process."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 10.0) -> int:
        """The exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None


class ToyNetwork:
    """Validators `v1`…`vN` of one chain, and observers `o1`…, each a process."""

    def __init__(
        self,
        directory: Path,
        count: int = 4,
        *,
        observers: int = 0,
        limits: dict[str, int] | None = None,
        storage: dict[str, int] | None = None,
        **parameters: int,
    ) -> None:
        self.directory = directory
        now_ms = time.time_ns() // 1_000_000
        names = [f"v{number}" for number in range(1, count + 1)]
        chosen = {"heartbeat_ms": 2_000, "view_timeout_ms": 1_000, "max_view_timeout_ms": 8_000} | parameters
        self.genesis: Genesis = build_genesis(
            network="toytown",
            tier="business",
            suite=SUITE,
            time_ms=now_ms - chosen["heartbeat_ms"],
            validators=validator_set(names),
            application={"bank": 1_000_000, "forbidden_key": SUITE.format_key(key_of("stranger"))},
            parameters=ChainParameters.of(chosen, 1),
        )
        (directory / "genesis.json").write_bytes(self.genesis.document)
        self.ca_file = directory / "ca.crt"
        self._authority = create_authority(
            self.ca_file, directory / "ca.key", name="toy", organisation="toy", now_ms=now_ms
        )
        self._limits = limits or {}
        self._storage = storage or {}
        self.token = issue_token(
            directory / "tokens.json", subject="tester", organisation="tests", role="operator"
        ).secret
        names += [f"o{number}" for number in range(1, observers + 1)]
        ports = free_ports(2 * len(names))
        self._ports = dict(zip(names, zip(ports[::2], ports[1::2], strict=True), strict=True))
        self.nodes = [self._found(name, now_ms) for name in names]
        self._context = ssl.create_default_context(cafile=str(self.ca_file))

    def _found(self, name: str, now_ms: int) -> ToyNode:
        folder = self.directory / name
        folder.mkdir()
        api_port, peer_port = self._ports[name]
        write_private_file(folder / "node.key", encode_key(seed_of(name)))
        issue_certificate(
            self._authority,
            folder / "tls.crt",
            folder / "tls.key",
            name=name,
            organisation="toy",
            hosts=["127.0.0.1"],
            now_ms=now_ms,
        )
        files = {"certificate_file": "tls.crt", "private_key_file": "tls.key"}
        settings = {
            "name": name,
            "genesis_file": "../genesis.json",
            "key_file": "node.key",
            "data_dir": "data",
            "api": {"port": api_port, "tokens_file": "../tokens.json", **files},
            "peer": {"port": peer_port, "ca_file": "../ca.crt", **files},
            "peers": [
                {"name": other, "host": "127.0.0.1", "port": ports[1]}
                for other, ports in self._ports.items()
                if other != name and not other.startswith("o")
            ],
            "limits": self._limits,
            "storage": self._storage,
        }
        (folder / "node.toml").write_text(tomli_w.dumps(settings))
        return ToyNode(folder, name, api_port)

    def peer_port(self, node: ToyNode) -> int:
        """Where a node listens for its peers."""
        return self._ports[node.name][1]

    def client(self, node: ToyNode) -> httpx.Client:
        """An HTTPS client of one node."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=node.api, verify=self._context, headers=headers, timeout=40, trust_env=False)

    def get(self, node: ToyNode, path: str) -> Any:
        """One answer, or None while the node does not answer."""
        try:
            with self.client(node) as http:
                response = http.get(path)
                return response.json() if response.status_code == 200 else None
        except httpx.HTTPError:
            return None

    def height(self, node: ToyNode) -> int:
        """The node's height; -1 while it does not answer."""
        status = self.get(node, "/v1/networks/toytown/status")
        return -1 if status is None else int(status["height"])

    def start(self) -> None:
        """Run every node and wait until each has committed a block."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            until(lambda node=node: self.height(node) >= 1 or not node.running, f"{node.name} commits", 120)
            assert node.running, (node.directory / "node.log").read_text()[-2_000:]

    def submit(self, node: ToyNode, envelope: bytes, wait_s: int = 20) -> httpx.Response:
        """Submit and wait for the receipt."""
        with self.client(node) as http:
            return http.post("/v1/transactions", content=envelope, headers={"Prefer": f"wait={wait_s}"})

    def stop(self) -> None:
        """End what still runs."""
        for node in self.nodes:
            if node.running:
                node.signal(signal.SIGCONT)
                node.signal(signal.SIGTERM)
        for node in self.nodes:
            if node.process is not None:
                try:
                    node.wait(8)
                except subprocess.TimeoutExpired:
                    node.kill()

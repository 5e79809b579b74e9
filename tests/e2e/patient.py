"""A network that a doctor's test makes sick, and how: cut off, badly certified, signing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import ssl
import time
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import httpx
import tomli_w

from cli.doctor.network_observation import observe
from cli.localnet import processes
from cli.localnet.layout import Chain, Process
from common.consensus.messages import Stage, Vote, vote_payload
from common.core.genesis import Genesis, parse_genesis
from common.node.diagnosis.comparison import diagnose
from common.node.keys import load_key_file
from common.node.logic.node_effects import Channel
from common.node.logic.wire.peer_messages import Consensus, Hello
from common.node.peer.certificates import issue_certificate, load_authority
from common.node.peer.hello import ChannelIdentity
from common.node.peer.tls import PeerTls
from common.node.peer.transport import PeerTransport
from common.node.settings import load_settings
from tests.e2e.toy_network import free_ports
from tests.support.running import Network, eventually

DAY_MS = 86_400_000


class Patient(Network):
    """The network under examination."""

    examined: ClassVar[set[str]] = set()
    """Codes that the doctor was waited for to find, by every test so far."""

    def findings(self) -> set[tuple[str, str]]:
        """(code, about) of everything that the doctor finds."""
        return {(item["code"], item["about"]) for item in self.report()}

    def report(self) -> list[dict[str, Any]]:
        """The doctor's findings, asked in this process: the command line has a test of its own."""
        return [asdict(item) for item in diagnose(observe(self.local))]

    def kill(self, name: str) -> None:
        """SIGKILL, as `localnet kill` does."""
        process = self.local.process(name)
        processes.signal_process(process, signal.SIGKILL)
        eventually(lambda: not processes.is_running(process), f"{name} is gone")

    def without_relay(self) -> None:
        """The relay does not run, whichever test came before."""
        if processes.is_running(self.local.process("relay")):
            self.kill("relay")

    def detail(self, code: str) -> str:
        """What the doctor says under a code."""
        return next((str(item["detail"]) for item in self.report() if item["code"] == code), "")

    def until_found(self, *expected: tuple[str, str], patience_s: float = 30.0) -> set[tuple[str, str]]:
        """The findings, once all of these are among them."""
        seen: set[tuple[str, str]] = set()

        def found() -> bool:
            seen.clear()
            seen.update(self.findings())
            return set(expected) <= seen

        try:
            eventually(found, f"{expected}", patience_s=patience_s)
        except AssertionError as error:
            raise AssertionError(f"{expected} not among {sorted(seen)}") from error
        self.examined.update(code for code, _ in expected)
        return set(seen)

    def until_well(self, patience_s: float = 40.0) -> None:
        """Wait until nothing is found any more, but for what heals with the next blocks or lasts for some tests."""
        healing = {"view_churn", "disk_slow", "region_lagging", "region_silent", "relay_down", "relay_error"}
        eventually(
            lambda: not [item for item in self.report() if item["code"] not in healing],
            "everything is well",
            patience_s=patience_s,
        )

    def chain(self, name: str) -> Chain:
        """The chain of a node."""
        return next(chain for chain in self.local.chains if name.startswith(chain.network_id))

    def node(self, name: str) -> Process:
        """A node by its name."""
        return next(node for node in self.chain(name).nodes if node.name == name)

    def ready(self, name: str) -> httpx.Response:
        """`/readyz` of a node."""
        with self._http() as http:
            return http.get(f"{self.node(name).api}/readyz")

    def get(self, name: str, path: str) -> Any:
        """An answer of the node interface."""
        network_id = self.chain(name).network_id
        token = self.local.token(f"{network_id}-reader")
        headers = {"Authorization": f"Bearer {token}"}
        with self._http() as http:
            answer = http.get(f"{self.node(name).api}/v1/networks/{network_id}{path}", headers=headers)
            return answer.raise_for_status().json()

    def _http(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.local.ca_file))
        return httpx.Client(verify=context, trust_env=False, timeout=5)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a node."""
        pid = self.node(name).pid
        assert pid is not None
        os.kill(pid, number)

    def restart(self, name: str, **environment: str) -> None:
        """A node runs again, with other variables of the environment."""
        self.kill(name)
        os.environ.update(environment)
        try:
            self.start(name)
        finally:
            for variable in environment:
                del os.environ[variable]

    def folder(self, name: str) -> Path:
        """Where a node's files are."""
        return self.node(name).config.parent


def isolate(patient: Patient, name: str) -> None:
    """Restart a node where no peer finds it, and with addresses at which it finds no peer."""
    file = patient.folder(name) / "node.toml"
    settings = tomllib.loads(file.read_text())
    nowhere, own = free_ports(2)
    settings["peers"] = [peer | {"port": nowhere} for peer in settings["peers"]]
    settings["peer"]["port"] = own
    patient.kill(name)
    file.write_text(tomli_w.dumps(settings))
    patient.start(name)


def certify(patient: Patient, name: str, *, days_left: int) -> None:
    """Give a node a certificate that ends in so many days."""
    folder = patient.folder(name)
    authority = load_authority(patient.local.ca_file, patient.local.ca_file.with_suffix(".key"))
    issue_certificate(
        authority,
        folder / "tls.crt",
        folder / "tls.key",
        name=name,
        organisation="tests",
        hosts=["127.0.0.1", "localhost"],
        now_ms=time.time_ns() // 1_000_000 - 10 * DAY_MS,
        days=10 + days_left,
    )


class DoubleVoter:
    """Stands in for a validator: says hello with its key, then signs whatever it likes."""

    def __init__(self, genesis: Genesis, seed: bytes) -> None:
        self.genesis, self._seed = genesis, seed
        self.tips: dict[bytes, int] = {}
        members = genesis.validators.members
        self._names = {member.name: member.public_key for member in members}
        self._index = genesis.validators.index_of(genesis.suite.public_key(seed)) or 0

    def peer_keys(self) -> frozenset[bytes]:
        return frozenset(self._names.values())

    def key_named(self, name: str) -> bytes | None:
        return self._names.get(name)

    def greeting_for(self, peer: bytes) -> bytes:
        return Hello(0, self.genesis.id, b"").encode()

    def peer_connected(self, peer: bytes, greeting: bytes) -> None:
        self.tips[peer] = Hello.decode(greeting).tip_height

    def peer_disconnected(self, peer: bytes) -> None:
        self.tips.pop(peer, None)

    def peer_message(self, peer: bytes, payload: bytes, member: bool) -> None:
        pass

    def vote(self, height: int, block_id: bytes) -> bytes:
        suite = self.genesis.suite
        payload = vote_payload(suite, self.genesis.id, self.genesis.network, Stage.COMMIT, height, 0, block_id)
        signature = suite.sign(self._seed, payload)
        return Consensus(Vote(Stage.COMMIT, height, 0, block_id, self._index, signature).encode()).encode()


async def vote_twice(patient: Patient, name: str) -> int:
    """Run as this validator for a moment and vote twice at the open height; that height."""
    settings = load_settings(patient.node(name).config)
    genesis = parse_genesis(settings.genesis_file.read_bytes())
    key = load_key_file(settings.key_file, None)
    voter = DoubleVoter(genesis, key.seed)
    peer = settings.peer
    transport = PeerTransport(
        ChannelIdentity(genesis.suite, genesis.id, genesis.network, key.seed, key.public_key),
        peer.model_copy(update={"port": 0}),
        settings.peers,
        settings.limits,
        PeerTls(peer.certificate_file, peer.private_key_file, peer.ca_file),
        voter,
        lambda: time.time_ns() // 1_000_000,
        random.Random(1),
    )
    transport.start()
    try:
        for _ in range(200):
            if len(voter.tips) == len(settings.peers):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"only {len(voter.tips)} peers connected")
        open_height = max(voter.tips.values()) + 1
        for block_id in (b"a" * 32, b"b" * 32):
            for height in (open_height, open_height + 1):
                transport.broadcast(Channel.CONSENSUS, voter.vote(height, block_id))
        await asyncio.to_thread(eventually, lambda: patient.get("beijing-1", "/evidence")["evidence"], "evidence")
        return open_height
    finally:
        await transport.close()

"""Real processes, sockets and disks: what the runtime promises under crashes, pauses, floods and disk faults."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w

from tests.e2e.toy_network import ToyNetwork, ToyNode, free_ports, until
from tests.unit.node.toy import transfer

Start = Callable[..., ToyNetwork]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Founds and starts toy networks; ends their processes."""
    networks: list[ToyNetwork] = []

    def begin(count: int = 4, **options: Any) -> ToyNetwork:
        networks.append(ToyNetwork(tmp_path, count, **options))
        networks[-1].start()
        return networks[-1]

    yield begin
    for network in networks:
        network.stop()


class Load:
    """Submits transfers one after the other, to any node that answers; keeps the ids with a final receipt."""

    def __init__(self, network: ToyNetwork, name: str = "load") -> None:
        self.final: list[str] = []
        self._network, self._name = network, name
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)

    def goes_on(self, what: str) -> None:
        """Wait for a few more receipts."""
        seen = len(self.final)
        until(lambda: len(self.final) > seen + 3, what)

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            envelope = transfer(self._network.genesis, f"{self._name}-{number}")
            while not self._stopping.is_set() and not self._submitted(envelope):
                time.sleep(0.05)

    def _submitted(self, envelope: bytes) -> bool:
        node = random.choice(self._network.nodes)
        if not node.running:
            return False
        try:
            response = self._network.submit(node, envelope, wait_s=3)
        except httpx.HTTPError:
            return False
        if response.status_code != 200:
            return False
        self.final.append(response.json()["tx_id"])
        return True


def check_history(network: ToyNetwork, acknowledged: list[str]) -> None:
    """Every node holds every acknowledged transaction at the same place, and the same blocks."""
    nodes = [node for node in network.nodes if node.running]
    height = max(network.height(node) for node in nodes)
    for node in nodes:
        until(lambda node=node: network.height(node) >= height, f"{node.name} reaches {height}", 30)
    for tx_id in acknowledged:
        answers = {(answer["height"], answer["status"]) for answer in everywhere(network, f"/v1/transactions/{tx_id}")}
        assert len(answers) == 1
        assert answers.pop()[1] == "applied"
    blocks = {block["id"] for block in everywhere(network, f"/v1/networks/toytown/blocks/{height}")}
    assert len(blocks) == 1


def everywhere(network: ToyNetwork, path: str) -> list[dict[str, Any]]:
    """The answer of every running node."""
    answers = [network.get(node, path) for node in network.nodes if node.running]
    assert all(answer is not None for answer in answers), path
    return answers


def ready(network: ToyNetwork, node: ToyNode) -> bool:
    """Whether /readyz answers 200."""
    with network.client(node) as http:
        return http.get("/readyz").status_code == 200


def test_four_processes_commit_and_stop_in_time(start: Start) -> None:
    network = start()
    response = network.submit(network.nodes[2], transfer(network.genesis, "n1"))
    assert response.status_code == 200
    assert response.json()["status"] == "applied"
    again = network.submit(network.nodes[0], transfer(network.genesis, "n1"))
    assert again.json()["height"] == response.json()["height"]
    assert all(ready(network, node) for node in network.nodes)
    began = time.monotonic()
    for node in network.nodes:
        node.signal(signal.SIGTERM)
    assert [node.wait(5) for node in network.nodes] == [0, 0, 0, 0]
    assert time.monotonic() - began < 5
    last = [node.log_lines[-1] for node in network.nodes]
    assert {line["message"] for line in last} == {"node stopped"}


def test_without_a_quorum_an_idle_validator_is_not_ready_for_long(start: Start) -> None:
    """Long before a missed heartbeat could tell."""
    network = start(heartbeat_ms=60_000)
    first, second, third, fourth = network.nodes
    until(lambda: ready(network, first) and ready(network, second), "the network is ready")
    third.kill()
    time.sleep(6)
    assert ready(network, first), "three of four are a quorum"
    fourth.kill()
    assert ready(network, first), "a moment without a quorum is no loss"
    until(lambda: not ready(network, first) and not ready(network, second), "both see that the quorum is lost", 8)
    fourth.start()
    until(lambda: ready(network, first) and ready(network, second), "the quorum is back")


def voting(network: ToyNetwork, node: ToyNode) -> bool:
    """Whether a node votes at its open height."""
    return "tongjian_voting 1.0" in metrics(network, node)


def metrics(network: ToyNetwork, node: ToyNode) -> str:
    """A node's numbers."""
    with network.client(node) as http:
        return http.get("/metrics").text


def test_c8_a_second_process_with_the_same_key_neither_forks_nor_stalls(start: Start, tmp_path: Path) -> None:
    network = start()
    first = network.nodes[0]
    first.kill()
    twin_folder = tmp_path / "twin"
    shutil.copytree(first.directory, twin_folder)
    settings = tomllib.loads((twin_folder / "node.toml").read_text())
    settings["api"]["port"], settings["peer"]["port"] = ports = free_ports(2)
    (twin_folder / "node.toml").write_text(tomli_w.dumps(settings))
    twin = ToyNode(twin_folder, "v1", ports[0])
    first.start()
    twin.start()
    try:
        with Load(network) as load:
            for _ in range(4):
                load.goes_on("in spite of the twin")
                time.sleep(1)
        assert twin.running
    finally:
        twin.kill()
    check_history(network, load.final)


def test_c9_an_observer_follows_every_block_without_a_vote(start: Start) -> None:
    network = start(observers=1)
    observer = network.nodes[-1]
    for number in range(3):
        response = network.submit(network.nodes[0], transfer(network.genesis, f"n{number}"))
        height = response.json()["height"]
        until(lambda height=height: network.height(observer) >= height, "the observer follows", 3)
    voters = network.get(observer, f"/v1/networks/toytown/blocks/{height}/consensus-state")["voters"]
    assert len(voters) >= 3
    assert "o1" not in str(voters)
    assert ready(network, observer)

"""Real processes, sockets and disks: what the runtime promises under crashes, pauses, floods and disk faults."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import socket
import ssl
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


def test_s1_killed_nodes_lose_nothing_that_was_acknowledged(start: Start) -> None:
    """Each node in turn is killed under load and started again."""
    network = start()
    with Load(network) as load:
        for node in network.nodes:
            load.goes_on("the load goes on")
            node.kill()
            load.goes_on("three of four go on")
            node.start()
            until(lambda node=node: network.height(node) >= 1, f"{node.name} is back")
    check_history(network, load.final)
    assert network.get(network.nodes[0], "/readyz") is not None


def test_s1_a_power_cut_of_all_nodes_loses_nothing_that_was_acknowledged(start: Start) -> None:
    network = start()
    acknowledged: list[str] = []
    for cut in range(2):
        with Load(network, f"cut{cut}") as load:
            until(lambda: len(load.final) > 10, "the load runs")
            for node in network.nodes:
                node.signal(signal.SIGKILL)
        for node in network.nodes:
            node.wait()
        acknowledged += load.final
        for node in network.nodes:
            node.start()
        for node in network.nodes:
            until(lambda node=node: network.height(node) >= 1, f"{node.name} is back", 30)
    assert network.submit(network.nodes[1], transfer(network.genesis, "after")).status_code == 200
    check_history(network, acknowledged)
    for node in network.nodes:
        assert not [line for line in node.log_lines if line["message"] == "this node does not vote"]


def test_s3_a_stopped_process_comes_back_without_a_fork(start: Start) -> None:
    network = start(limits={"keepalive_ms": 500, "idle_timeout_ms": 2_000})
    with Load(network) as load:
        for node in network.nodes[:2]:
            node.signal(signal.SIGSTOP)
            time.sleep(4)
            node.signal(signal.SIGCONT)
            load.goes_on("the load goes on")
    check_history(network, load.final)


def test_readiness_follows_the_quorum(start: Start) -> None:
    network = start(heartbeat_ms=1_000, view_timeout_ms=500)
    for node in network.nodes[2:]:
        node.kill()
    first = network.nodes[0]
    until(lambda: not ready(network, first), "a node without a quorum is not ready", 20)
    assert network.get(first, "/healthz") is not None
    for node in network.nodes[2:]:
        node.start()
    until(lambda: ready(network, first), "the quorum is back", 30)


def test_c16_a_node_without_its_vote_log_serves_but_does_not_vote(start: Start) -> None:
    network = start()
    first = network.nodes[0]
    assert network.submit(first, transfer(network.genesis, "n1")).status_code == 200
    first.kill()
    (first.directory / "data" / "votes" / "votes.log").unlink()
    first.start()
    until(lambda: network.height(first) >= 1, "it serves")
    assert network.submit(network.nodes[1], transfer(network.genesis, "n2")).status_code == 200
    until(lambda: network.height(first) == network.height(network.nodes[1]), "it follows")
    assert [line for line in first.log_lines if line["message"] == "this node does not vote"]
    height = network.height(first)
    state = network.get(first, f"/v1/networks/toytown/blocks/{height}/consensus-state")
    assert "v1" not in str(state["voters"])


def voting(network: ToyNetwork, node: ToyNode) -> bool:
    """Whether a node votes at its open height."""
    return "tongjian_voting 1.0" in metrics(network, node)


def metrics(network: ToyNetwork, node: ToyNode) -> str:
    """A node's numbers."""
    with network.client(node) as http:
        return http.get("/metrics").text


@pytest.mark.parametrize("restored", ["chain", "whole"])
def test_c16_a_restored_image_catches_up_before_it_votes_again(start: Start, tmp_path: Path, restored: str) -> None:
    """An old copy of the database alone (the vote log tells), or of everything (the peers' hellos tell)."""
    network = start()
    first = network.nodes[0]
    first.kill()
    data, copy = first.directory / "data", tmp_path / "copy"
    shutil.copytree(data, copy)
    first.start()
    with Load(network) as load:
        until(lambda: voting(network, first) if network.height(first) > 0 else None, "it votes")
        load.goes_on("with all four")
        first.kill()
        part = Path("chain") if restored == "chain" else Path()
        shutil.rmtree(data / part)
        shutil.copytree(copy / part, data / part)
        first.start()
        until(lambda: network.height(first) > 0 and voting(network, first), "it votes again", 30)
        load.goes_on("with all four again")
    check_history(network, load.final)
    refused = [line for line in first.log_lines if line["message"] == "this node does not vote"]
    assert len(refused) == (1 if restored == "chain" else 0)
    for node in network.nodes:
        assert "tongjian_accusations_total 0.0" in metrics(network, node)


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


def test_s2_s5_a_full_disk_stops_a_node_and_a_restart_with_space_resumes(start: Start) -> None:
    """Files may not grow beyond a bound: the node ends with a reason, the others go on, nothing is lost."""
    network = start()
    victim = network.nodes[3]
    with Load(network) as load:
        until(lambda: len(load.final) > 5, "the load runs")
        bound = (victim.directory / "node.log").stat().st_size + 32 * 1024
        resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))
        assert victim.wait(40) == 1
        critical = [line for line in victim.log_lines if line["level"] == "critical"]
        assert len(critical) == 1
        assert "cannot be written" in str(critical[0]) or "durable" in str(critical[0])
        load.goes_on("three of four go on")
        victim.start()
        until(lambda: network.height(victim) >= 1, "it is back")
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


def test_n2_n5_floods_of_slow_and_half_open_connections_stop_neither_clients_nor_consensus(start: Start) -> None:
    network = start()
    target = network.nodes[0]
    host, api_port = "127.0.0.1", int(target.api.rsplit(":", 1)[1])
    context = ssl.create_default_context(cafile=str(network.ca_file))
    peer_port = network.peer_port(target)
    connections: list[socket.socket] = []
    try:
        for number in range(500):
            connections.append(socket.create_connection((host, api_port if number % 2 else peer_port)))
        for _ in range(50):
            slow = context.wrap_socket(socket.create_connection((host, api_port)), server_hostname=host)
            slow.sendall(b"POST /v1/transactions HTTP/1.1\r\nhost: x\r\nx-slow: ")
            connections.append(slow)
        for number in range(5):
            assert network.submit(target, transfer(network.genesis, f"n{number}")).status_code == 200
        assert target.running
        status = network.get(target, "/v1/networks/toytown/status")
        assert status is not None
    finally:
        for connection in connections:
            connection.close()


def test_a_node_that_cannot_start_says_why(start: Start) -> None:
    network = start(1)
    (only,) = network.nodes
    twin = ToyNode(only.directory, only.name, 1)
    twin.start()
    assert twin.wait(20) == 1
    assert only.log_lines[-1]["code"] == "database_in_use"
    only.signal(signal.SIGTERM)
    assert only.wait() == 0
    with socket.create_server(("127.0.0.1", int(only.api.rsplit(":", 1)[1]))):
        only.start()
        assert only.wait(20) == 1
    assert only.log_lines[-1]["code"] == "port_in_use"
    assert "cannot listen on 127.0.0.1" in only.log_lines[-1]["detail"]
    (only.directory / "node.key").chmod(0o644)
    only.start()
    assert only.wait(20) == 1
    assert only.log_lines[-1]["code"] == "key_file_permissions"
    assert "chmod 600" in only.log_lines[-1]["detail"]

"""A chain that has pruned its past takes in a new reader and a validator that lost its disk, while it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from common.node.startup import DATABASE_DIRECTORY
from common.node.store import fault_points
from common.node.store.chain_prune import prune
from common.node.store.chain_store import ChainStore
from common.node.store.storage import LevelDBStore
from tests.e2e.test_processes import Load, check_history
from tests.e2e.toy_network import ROOT, ToyNetwork, ToyNode, until
from tests.unit.node.toy import transfer


def join(node: ToyNode, *, fault: str | None = None) -> str:
    """Run a join; with a fault, it dies there. Returns the output."""
    command = [sys.executable, "-m", "tests.e2e.toy_join", str(node.directory / "node.toml"), "40"]
    environment = dict(os.environ) if fault is None else {**os.environ, fault_points.VARIABLE: fault}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == (0 if fault is None else -signal.SIGKILL), done.stdout + done.stderr
    return done.stdout


def prune_below(network: ToyNetwork, node: ToyNode, height: int) -> None:
    """Stop a node, prune it, start it again."""
    node.signal(signal.SIGTERM)
    node.wait()
    store = LevelDBStore(node.directory / "data" / DATABASE_DIRECTORY)
    prune(ChainStore(store, network.genesis), height)
    store.close()
    node.start()
    until(lambda: network.height(node) >= height, f"{node.name} is back", 40)


def test_c16_c17_pruned_chain_takes_in_a_reader_and_a_validator_that_lost_its_disk(tmp_path: Path) -> None:
    network = ToyNetwork(tmp_path, 4, observers=1, storage={"checkpoint_blocks": 10})
    *validators, reader = network.nodes
    try:
        for node in validators:
            node.start()
        until(lambda: all(network.height(node) >= 1 for node in validators), "the chain commits", 60)
        for number in range(25):
            assert network.submit(validators[0], transfer(network.genesis, f"n-{number}")).status_code == 200
        until(
            lambda: all((node.directory / "data/checkpoints" / f"{20:020d}").is_dir() for node in validators), "20", 40
        )
        for node in validators[:3]:
            prune_below(network, node, 15)
        lost = validators[3]
        with Load(network) as load:
            load.goes_on("the pruned chain commits")
            lost.kill()
            shutil.rmtree(lost.directory / "data")
            for fault in ("database.write:after:3:kill", "staging.rename:before:1:kill"):
                assert "joined at" not in join(lost, fault=fault)
                assert not (lost.directory / "data" / DATABASE_DIRECTORY).exists()
            assert "joined at" in join(lost)
            lost.start()
            assert "joined at" in join(reader)
            reader.start()
            until(lambda: network.height(reader) >= network.height(validators[0]) >= 30, "the reader is level", 60)
            status = "/v1/networks/toytown/status"
            until(lambda: (network.get(lost, status) or {}).get("voting"), "the validator votes again", 60)
            load.goes_on("everybody goes on")
        with network.client(reader) as http:
            answer = http.get("/v1/networks/toytown/blocks/5")
            assert answer.status_code == 410
            assert answer.json()["code"] == "block_pruned"
            assert http.get("/v1/networks/toytown/blocks?from=1&limit=5").json()["blocks"][0]["height"] == 1
        check_history(network, load.final[-3:])
        for node in network.nodes:
            assert not [line for line in node.log_lines if line["level"] == "critical"]
    finally:
        network.stop()


def test_a_join_without_a_checkpoint_ends_and_says_so_although_the_chain_grows(tmp_path: Path) -> None:
    network = ToyNetwork(tmp_path, 4, observers=1)
    *validators, reader = network.nodes
    try:
        for node in validators:
            node.start()
        until(lambda: all(network.height(node) >= 1 for node in validators), "the chain commits", 60)
        command = [sys.executable, "-m", "tests.e2e.toy_join", str(reader.directory / "node.toml"), "4"]
        with Load(network) as load:
            load.goes_on("the chain grows")
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "join_no_progress" in done.stderr
        assert "checkpoint offers that agree" in done.stdout
    finally:
        network.stop()

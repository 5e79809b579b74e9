"""Growth over years: a node that catches up with 10,000 blocks, and one that joins by a checkpoint of 1,000,000 state
entries. Chains are made offline with the validators' keys; what is measured is real processes of a local network."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from business_chain.main import application_for
from cli.localnet import processes
from cli.localnet.free_ports import reserved_base_port
from cli.localnet.initialise import Plan, initialise
from cli.localnet.launch import launch
from cli.localnet.layout import LocalNetwork, Process, load_network
from cli.localnet.readiness import node_status
from common.chain.application import OverlayView
from common.core import merkle
from common.core.block import Block
from common.core.certificate import Certificate, commit_payload
from common.core.changes import change_root
from common.core.codec import canonical_json
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.receipt import Receipt, receipt_root
from common.core.snapshot import snapshot_root
from common.core.suite import ED25519_SHA256 as SUITE
from common.core.transaction import SignedTransaction, parse_envelope
from common.node.genesis_file import read_genesis
from common.node.keys import load_key_file
from common.node.logic.execution.executor import Executor
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.execution.used_nonces import NonceBuckets, nonce_key
from common.node.startup import DATABASE_DIRECTORY
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState
from common.node.store.storage import LevelDBStore
from common.node.upkeep.checkpoint_store import CHECKPOINTS_DIRECTORY, CheckpointFiles
from tests.bench.network import processor_seconds
from tests.bench.registrations import foundations, transfers
from tests.support.committing import commit_execution
from tests.support.market import Market

REGION = "beijing"
BLOCK_MS = 30
AGE_MS = 1_800_000
"""The chain was founded so long ago: its newest block must not be in the future."""
Figures = dict[str, Any]


@dataclass
class OfflineChain:
    """A region's chain that grows without a network: this process holds every validator's key."""

    network: LocalNetwork
    store: LevelDBStore

    def __post_init__(self) -> None:
        nodes = self.network.chain(REGION).nodes
        self.genesis: Genesis = read_genesis(self.network.chain(REGION).genesis_file)
        self.application = application_for(self.genesis)
        self.chain = ChainStore(self.store, self.genesis)
        initialise_chain(self.chain, self.genesis, self.application)
        self.executor = Executor(self.genesis, self.application, self.chain)
        self.seeds = [load_key_file(node.config.parent / "node.key", None, self.genesis.suite).seed for node in nodes]

    def extend(self, envelopes: Sequence[bytes]) -> None:
        """Execute and commit one block."""
        suite = self.genesis.suite
        transactions = [parse_envelope(envelope, suite) for envelope in envelopes]
        execution = self.executor.execute(self.chain.tip().time_ms + BLOCK_MS, transactions)
        if any(receipt.status != "applied" for receipt in execution.receipts):
            raise RuntimeError(f"a transaction was refused: {execution.receipts}")
        header = self.executor.header(execution, (self.chain.tip().height + 1) % len(self.seeds))
        commit_execution(self.chain, execution, Block(header, tuple(envelopes)), self.certificate(header))
        self.executor.forget()

    def put(self, envelopes: Sequence[bytes], state: dict[bytes, bytes], index: dict[bytes, bytes]) -> None:
        """Commit one block whose transactions do nothing, but whose state and index changes are these."""
        suite, tip, chain = self.genesis.suite, self.chain.tip(), self.chain
        transactions = [parse_envelope(envelope, suite) for envelope in envelopes]
        view = OverlayView(CommittedState(chain))
        for key, value in state.items():
            view.put(key, value)
        self._chain_nonces(transactions, view)
        receipts = [Receipt(tx.id, "rejected", "balance_too_low", 0, {}) for tx in transactions]
        changes = {key: value for key, value in view.state_changes.items() if chain.state_get(key) != value}
        update = chain.tree.apply(changes)
        signing = chain.validators(tip.height + 1).hash(suite)
        header = Header(
            protocol_version=self.genesis.protocol_version,
            network=self.genesis.network,
            genesis_id=self.genesis.id,
            height=tip.height + 1,
            time_ms=tip.time_ms + BLOCK_MS,
            parent_id=tip.block_id,
            proposer=0,
            tx_root=merkle.root(suite.hash, [tx.envelope_hash for tx in transactions]),
            tx_count=len(transactions),
            receipt_root=receipt_root(suite, receipts),
            receipt_count=len(receipts),
            snapshot_root=snapshot_root(suite, []),
            snapshot_count=0,
            change_root=change_root(suite, update.value_hashes),
            change_count=len(changes),
            state_root=update.root,
            validators_hash=signing,
            next_validators_hash=signing,
        )
        certificate = self.certificate(header)
        block = Block(header, tuple(envelopes))
        chain.commit(block, certificate, transactions, receipts, [], changes, dict(index), update)

    def _chain_nonces(self, transactions: Sequence[SignedTransaction], view: OverlayView) -> None:
        buckets = NonceBuckets(self.genesis.suite, CommittedState(self.chain))
        for tx in transactions:
            buckets.add(nonce_key(self.genesis.suite, tx.signers[0], tx.nonce), tx.id)
        buckets.write(view)

    def certificate(self, header: Header) -> Certificate:
        """Commit signatures of a quorum."""
        suite, block_id = self.genesis.suite, header.id(self.genesis.suite)
        payload = commit_payload(suite, self.genesis.id, self.genesis.network, header.height, 0, block_id)
        quorum = self.chain.validators(header.height).quorum
        signatures = tuple((at, suite.sign(seed, payload)) for at, seed in enumerate(self.seeds[:quorum]))
        return Certificate(header.height, 0, block_id, signatures)

    def market(self) -> Market:
        """Signs like the region's operator, without asking anybody for a height."""
        return Market(self.network, REGION, expires_at_height=90_000)


@contextlib.contextmanager
def founded() -> Iterator[LocalNetwork]:
    """A network whose processes do not run yet; what was started below it ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="tongjian-bench-"))
    with reserved_base_port(4) as base_port:
        try:
            plan = Plan(directory=folder / "network", regions=(REGION,), base_port=base_port, validators=4)
            founded_ms = time.time_ns() // 1_000_000 - AGE_MS
            yield initialise(plan, now_ms=founded_ms, progress=lambda text: None)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(network: LocalNetwork, nodes: Sequence[Process]) -> Iterator[list[Process]]:
    """These nodes run and answer."""
    started = launch(network, nodes, tied_to_parent=True)
    try:
        for node in nodes:
            _wait_for_height(network, node, 0, 60)
        yield started
    finally:
        processes.stop(started)


def _wait_for_height(network: LocalNetwork, node: Process, height: int, patience_s: float) -> float:
    """Seconds until a node has this height."""
    began = time.monotonic()
    while True:
        status = node_status(network, network.chain(REGION), node)
        if status is not None and int(status["height"]) >= height:
            return time.monotonic() - began
        if time.monotonic() - began > patience_s:
            raise RuntimeError(f"{node.name} has not reached {height} within {patience_s} s: {status}")
        time.sleep(0.1)


def _data(node: Process) -> Path:
    if node.data_dir is None:
        raise RuntimeError(f"{node.name} has no data directory")
    return node.data_dir


def _apart(build: Callable[..., Figures], network: LocalNetwork, *arguments: int) -> Figures:
    """Build in a process of its own: LevelDB's threads do not survive a fork, and nodes are forked from this one."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(build, network.directory, *arguments).result()


@contextlib.contextmanager
def _offline(directory: Path) -> Iterator[OfflineChain]:
    """The first validator's database, to be filled."""
    network = load_network(directory)
    path = _data(network.chain(REGION).nodes[0]) / DATABASE_DIRECTORY
    path.parent.mkdir(parents=True, exist_ok=True)
    store = LevelDBStore(path)
    try:
        yield OfflineChain(network, store)
    finally:
        store.close()


def build_blocks(directory: Path, blocks: int, operations: int) -> Figures:
    """A chain of so many blocks, each of one transaction."""
    with _offline(directory) as offline:
        market = offline.market()
        for batch in foundations(REGION, 100):
            offline.extend([market.sign(batch)])
        envelopes = transfers(market, 100, operations=operations, prefix="growth")
        while offline.chain.tip().height < blocks:
            offline.extend([next(envelopes)])
    return {}


def catch_up(blocks: int = 10_000, operations: int = 5) -> Figures:
    """Three validators hold a chain of `blocks` blocks of `operations` transfers each; the fourth starts empty."""
    with founded() as network:
        nodes = network.chain(REGION).nodes
        _apart(build_blocks, network, blocks, operations)
        for other in nodes[1:3]:
            shutil.copytree(_data(nodes[0]), _data(other))
        with running(network, nodes[:3]):
            began = time.monotonic()
            with running(network, nodes[3:]) as late:
                _wait_for_height(network, nodes[3], blocks, 1_200)
                took_s = time.monotonic() - began
                cpu_s = processor_seconds(late[0])
        return {
            "blocks": blocks,
            "operations_per_block": operations,
            "seconds": round(took_s, 1),
            "blocks_per_s": round(blocks / took_s),
            "processor_s": round(cpu_s, 1),
            "bar_s": 60,
            "met": took_s <= 60,
        }


def build_state(directory: Path, entries: int, transactions: int, blocks: int) -> Figures:
    """A chain whose state and index have so many entries, with its checkpoint."""
    with _offline(directory) as offline:
        envelopes = transfers(offline.market(), 100, operations=1, prefix="growth")
        for block in range(blocks):
            numbers = range(block * entries // blocks, (block + 1) * entries // blocks)
            state = {
                f"holding/BJ{number % 9973:06d}.ESVUFR2601/A{number}".encode(): canonical_json(
                    {"available": number, "frozen": 0, "pledged": 0, "quantity": number}
                )
                for number in numbers
            }
            index = {f"holdings/A{number}/BJ{number % 9973:06d}.ESVUFR2601".encode(): b"1" for number in numbers}
            offline.put([next(envelopes) for _ in range(transactions // blocks)], state, index)
        began = time.monotonic()
        files = CheckpointFiles(_data(offline.network.chain(REGION).nodes[0]) / CHECKPOINTS_DIRECTORY, SUITE)
        manifest = files.make(offline.chain.moment(), lambda seconds: None, lambda: False)
        if manifest is None:
            raise RuntimeError("the checkpoint was not made")
        return {
            "state_entries": offline.chain.tree.entries,
            "used_nonces": transactions,
            "checkpoint_bytes": manifest.size_bytes,
            "chunks": len(manifest.chunks),
            "making_s": round(time.monotonic() - began, 1),
        }


def checkpoint_join(entries: int = 1_000_000, transactions: int = 100_000, blocks: int = 200) -> Figures:
    """Two validators offer a checkpoint of `entries` state entries, as many index entries, and `transactions` used
    nonces; `tongjian node join` takes it over, with everything that it proves."""
    with founded() as network:
        nodes = network.chain(REGION).nodes
        figures = _apart(build_state, network, entries, transactions, blocks)
        shutil.copytree(_data(nodes[0]), _data(nodes[1]))
        with running(network, nodes[:2]):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.monotonic()
            command = [sys.executable, "-m", "cli.main", "node", "join", "--no-run", "--config", str(nodes[2].config)]
            subprocess.run(command, check=True)
            took_s = time.monotonic() - began
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        return figures | {
            "seconds": round(took_s, 1),
            "processor_s": round(cpu_s, 1),
            "bar_s": 120,
            "met": took_s <= 120,
        }

"""A whole chain of the toy application against a naive model of it, built from the blocks' bytes alone.

The model replays every envelope with dicts, and knows from the documents what headers, receipts, nonces, expiry and
state roots must be. It shares with the product only the suite's hashes, the encodings, and the toy's snapshots.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.core.block import Block
from common.core.certificate import Certificate
from common.core.header import Header
from tests.sim.chain_node import ChainNode
from tests.sim.checkers import _tagged, certificate_holds
from tests.sim.plan import FaultPlan
from tests.sim.planted.violation import Caught
from tests.sim.toys import CHEAP, GENESIS_TIME_MS, NETWORK
from tests.support.naive_state_tree import naive_root

MAX_EXPIRY_BLOCKS = 100_000


def _blob(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return CHEAP.hash(b"")
    if len(leaves) == 1:
        return CHEAP.hash(b"\x00" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return CHEAP.hash(b"\x01" + _root(leaves[:split]) + _root(leaves[split:]))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class ChainModel:
    """Balances, nonces and supply after some height."""

    genesis_id: bytes
    heartbeat_ms: int
    size: int
    balances: dict[str, int]
    supply: int
    nonces: set[tuple[str, str]] = field(default_factory=set)
    entered: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Nonces of the block, by bucket."""
    buckets: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    parent: bytes = b""
    time_ms: int = GENESIS_TIME_MS
    height: int = 0

    def take(self, block: Block, certificate: Certificate, statuses: list[str]) -> None:
        """Go on by one block. Raises `Caught`."""
        header = block.header
        self.height += 1
        self._check_header(header, block, certificate)
        applied = []
        for envelope in block.envelopes:
            applied.append(self._apply(json.loads(envelope)))
        self._chain_nonces()
        self.time_ms, self.parent = header.time_ms, _tagged("tongjian/header/v1", header.encode())
        expected = ["applied" if done else "rejected" for done in applied]
        if statuses != expected:
            self._fail(f"receipts say {statuses}, the model {expected}")
        if header.snapshot_count != sum(applied):
            self._fail(f"{header.snapshot_count} snapshots of {sum(applied)} applied transfers")
        if header.state_root != naive_root(CHEAP, self.state()):
            self._fail("the state root is not that of the naive tree")

    def _fail(self, what: str) -> None:
        raise Caught("chain model", f"height {self.height}: {what}")

    def _check_header(self, header: Header, block: Block, certificate: Certificate) -> None:
        least = self.time_ms + (1 if block.envelopes else self.heartbeat_ms)
        leaders = {(header.height + view) % self.size for view in range(min(certificate.view, 50) + 1)}
        checks = {
            "height": header.height == self.height,
            "parent": header.parent_id == self.parent,
            "chain": (header.network, header.genesis_id) == (NETWORK, self.genesis_id),
            "version": header.protocol_version == 1,
            "time": header.time_ms >= least,
            "proposer": header.proposer in leaders,
            "tx_count": header.tx_count == len(block.envelopes),
            "set": header.validators_hash == header.next_validators_hash,
            "certificate": certificate_holds(certificate, tuple(range(self.size)), self.genesis_id),
            "tx_root": header.tx_root == _root([_tagged("tongjian/envelope/v1", item) for item in block.envelopes]),
        }
        for name, holds in checks.items():
            if not holds:
                self._fail(f"the header's {name} is wrong")

    def _apply(self, envelope: dict[str, Any]) -> bool:
        """One transaction; True if it is applied."""
        transaction = envelope["transaction"]
        signer, nonce = transaction["signers"][0], transaction["nonce"]
        identity = _tagged("tongjian/transaction/v1", _canonical(transaction))
        if not CHEAP.verify(CHEAP.parse_key(signer), identity, bytes.fromhex(envelope["signatures"][0])):
            self._fail("a transaction's signature does not hold")
        if (transaction["network"], transaction["genesis"]) != (NETWORK, self.genesis_id.hex()):
            self._fail("a transaction of another chain is in the block")
        if not self.height <= transaction["expires_at_height"] <= self.height + MAX_EXPIRY_BLOCKS:
            self._fail("an expired transaction is in the block")
        if (signer, nonce) in self.nonces:
            self._fail("a nonce is used twice")
        self._use_nonce(signer, nonce, identity)
        before = dict(self.balances)
        for operation in transaction["operations"]:
            amount, source, target = operation["amount"], operation["source"], operation["target"]
            if self.balances.get(source, 0) < amount:
                self.balances = before
                return False
            self.balances[source] -= amount
            self.balances[target] = self.balances.get(target, 0) + amount
        if sum(self.balances.values()) != self.supply:
            self._fail("the balances are not the supply")
        return True

    def _use_nonce(self, signer: str, nonce: str, identity: bytes) -> None:
        self.nonces.add((signer, nonce))
        key = _tagged("tongjian/nonce/v1", _blob(signer.encode()) + _blob(nonce.encode()))
        self.entered.setdefault(b"nonces/" + key.hex()[:1].encode(), []).append(key + identity)

    def _chain_nonces(self) -> None:
        for leaf, entries in self.entered.items():
            count, chain = self.buckets.get(leaf, (0, bytes(32)))
            step = _tagged("tongjian/nonce-chain/v1", chain + b"".join(entries))
            self.buckets[leaf] = (count + len(entries), step)
        self.entered = {}

    def state(self) -> dict[bytes, bytes]:
        """The authenticated state."""
        state = {f"balance/{account}".encode(): _canonical(held) for account, held in self.balances.items()}
        state[b"supply"] = _canonical(self.supply)
        for leaf, (count, chain) in self.buckets.items():
            state[leaf] = _canonical({"count": count, "hash": chain.hex()})
        return state


def check_chains(nodes: Sequence[ChainNode], plan: FaultPlan) -> None:
    """Replay the highest chain from its first block; the others must be its beginnings. Raises `Caught`."""
    highest = max(nodes, key=lambda node: node.height)
    model = _replayed(highest, plan)
    for node in nodes:
        if any(node.chain.block_id(at) != highest.chain.block_id(at) for at in range(1, node.height + 1)):
            raise Caught("chain model", f"node {node.name} holds another chain than node {highest.name}")
        if node.height != highest.height:
            continue
        for key, value in model.state().items():
            if node.chain.state_get(key) != value:
                raise Caught("chain model", f"node {node.name} stores another value for {key!r}")


def _replayed(node: ChainNode, plan: FaultPlan) -> ChainModel:
    genesis, chain = node.simulation.genesis, node.chain
    supply = genesis.application["bank"]
    model = ChainModel(
        genesis.id, genesis.parameters.heartbeat_ms, plan.size, {"bank": supply}, supply, parent=genesis.id
    )
    for height in range(1, chain.tip().height + 1):
        receipts = chain.receipts(height)
        block = chain.block(height)
        model.take(block, chain.certificate(height), [receipt.status for receipt in receipts])
        if block.header.receipt_root != _root([receipt.encode() for receipt in receipts]):
            raise Caught("chain model", f"height {height}: the receipt root is not that of the receipts")
        if block.header.snapshot_root != _root(chain.snapshots(height)):
            raise Caught("chain model", f"height {height}: the snapshot root is not that of the snapshots")
    return model

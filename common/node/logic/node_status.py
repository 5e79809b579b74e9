"""What a node tells the service and its operators about itself: plain values, no behaviour.

Left out: how they are shown (HTTP, metrics).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from common.core.receipt import Receipt

TransactionStatus = Literal["pending", "applied", "rejected", "expired", "unknown"]


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """Local bounds; never a reason to vote against a block (protocol rule 11)."""

    mempool_transactions: int = 20_000
    """Pending transactions; at 2 kB each 40 MB, about half a minute at full speed."""
    mempool_bytes: int = 64 * 1024 * 1024
    """Memory that pending transactions take, parsed."""
    mempool_signer_transactions: int = 2_000
    """Pending transactions of one first signer (attack N3)."""
    block_execution_ms: int = 50
    """The leader aims at blocks that take this long to execute (protocol rule 14)."""
    gossip_delay_ms: int = 5
    gossip_bytes: int = 64 * 1024
    fetch_timeout_ms: int = 500
    """After this long without an answer, missing bodies are asked of another peer."""
    sync_timeout_ms: int = 3_000
    sync_blocks: int = 64
    """Blocks asked for at once during catch-up."""
    misbehaviour_pause_ms: int = 60_000
    """How long a peer that lied is left alone."""
    checkpoint_blocks: int = 0
    """A checkpoint is due after every block whose height is a multiple of this; 0 for never."""


class TransactionState(msgspec.Struct, frozen=True):
    """Where a transaction is. `height`, `index` and `receipt` are set once it is final."""

    tx_id: bytes
    status: TransactionStatus
    height: int | None = None
    index: int | None = None
    receipt: Receipt | None = None

    @property
    def final(self) -> bool:
        """True if this answer will never change."""
        return self.status in ("applied", "rejected", "expired")


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The node's place in its network."""

    network: str
    height: int
    block_id: bytes
    time_ms: int
    view: int
    """The view of the height in progress."""
    own_index: int | None
    """This node's place in the set that signs the next height; None if it is not a member."""
    validators: tuple[str, ...]
    """Names of the set that signs the next height."""
    connected: tuple[str, ...]
    """Names of connected peers that are in it."""
    best_peer_height: int
    syncing: bool
    voting: bool
    """False while the node is no member, or refuses to vote after its records went backwards (attack C16)."""
    level_with_quorum: bool
    """True while peers that make up a quorum with this node show no higher tip: what readiness asks (besides
    progress).
    """
    mempool_transactions: int
    mempool_bytes: int
    own_key: bytes | None = None
    """The public key of the node's key file; also of an observer, whose key is in no set yet."""

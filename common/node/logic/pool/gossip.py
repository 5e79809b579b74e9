"""Spreads newly admitted transactions, coalesced: a batch leaves 5 ms after the one before, or at 64 KiB (protocol
rule 15).

The first transaction after a pause leaves at once, so that an idle chain does not wait.

Validators form a full mesh, so the node that a client talks to tells every peer and nobody passes anything on. A peer
that misses a transaction (no channel at that moment, a full queue) asks for its body when a proposal names it, and
becomes the leader only after it was told what is pending (protocol rule 4).

Left out: admission (`mempool`), bodies on demand (`body_fetch`).
"""

from __future__ import annotations

from collections.abc import Iterable

from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_status import NodeLimits
from common.node.logic.wire.peer_messages import MAX_ENVELOPES, Transactions


class Gossip:
    """One batch in the making, the same for all peers."""

    def __init__(self, outbox: NodeOutbox, limits: NodeLimits) -> None:
        self._outbox = outbox
        self._limits = limits
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def add(self, envelope: bytes) -> None:
        """Tell the peers about a transaction that a client brought: at once, unless a batch has just left."""
        self._waiting.append(envelope)
        self._waiting_bytes += len(envelope)
        if not self._outbox.runs(Timer.GOSSIP):
            self._outbox.set_timer(Timer.GOSSIP, self._limits.gossip_delay_ms)
            self.flush()
        elif self._waiting_bytes >= self._limits.gossip_bytes or len(self._waiting) >= MAX_ENVELOPES:
            self.flush()

    def timer_expired(self) -> None:
        """The delay after the last batch is over."""
        if self._waiting:
            self._outbox.set_timer(Timer.GOSSIP, self._limits.gossip_delay_ms)
            self.flush()

    def flush(self, channel: Channel = Channel.TRANSACTIONS) -> None:
        """Send the batch now.

        A leader flushes on the consensus channel before it proposes, so that the proposal does not overtake the bodies.
        """
        if self._waiting:
            self._outbox.broadcast(Transactions(tuple(self._waiting)), channel)
            self._waiting.clear()
            self._waiting_bytes = 0

    def tell(self, peer: PeerKey, envelopes: Iterable[bytes]) -> None:
        """Send pending transactions to one peer in batches, oldest first: the leader of a view that begins (protocol
        rule 4).
        """
        batch: list[bytes] = []
        size_bytes = 0
        for envelope in envelopes:
            batch.append(envelope)
            size_bytes += len(envelope)
            if size_bytes >= self._limits.gossip_bytes or len(batch) >= MAX_ENVELOPES:
                self._outbox.send(peer, Transactions(tuple(batch)), Channel.TRANSACTIONS)
                batch, size_bytes = [], 0
        if batch:
            self._outbox.send(peer, Transactions(tuple(batch)), Channel.TRANSACTIONS)

"""Fetches the transaction bodies that a compact proposal names and this node lacks.

Bodies are usually under way already: gossip and proposal leave different nodes at the same time. So the first
request waits `GRACE_MS`.

One want at a time, that of the proposal (or draft) of the view in progress; a new want replaces it. Peers are asked
in turn, those that sent the proposal first; each has `fetch_timeout_ms`. After `ROUNDS` times round all peers the
fetch rests: the view timer moves the network on, and a newly connected peer wakes it.

Invariants
  B1  Only wanted bodies are kept, and only after their signatures hold (protocol rule 15). What was not asked for is
      dropped.
  B2  The bytes of one want are bounded by what a block may hold. The number of requests for it is bounded by `ROUNDS`
      times the number of peers, plus one for each answer that helps.

Left out: what is done with the bodies (`block_assembly`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from common.core.errors import Rejected
from common.core.suite import Suite
from common.core.transaction import envelope_hash
from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_status import NodeLimits
from common.node.logic.pool.mempool import Mempool
from common.node.logic.wire.peer_messages import MAX_HASHES, AnswerTransactions, GetTransactions

ROUNDS = 3
GRACE_MS = 10
"""Twice the gossip delay; a body that is really missing costs this much latency once."""


class FetchProgress(Enum):
    """How far a want has come."""

    WAITING = 0
    COMPLETE = 1
    TOO_LARGE = 2
    """The bodies are more than a block may hold: the proposer names what nobody may accept."""


class BodyFetch:
    """The bodies that are missing now, and whom to ask."""

    def __init__(
        self,
        suite: Suite,
        mempool: Mempool,
        outbox: NodeOutbox,
        limits: NodeLimits,
        peers: Callable[[], Sequence[PeerKey]],
    ) -> None:
        self._suite = suite
        self._mempool = mempool
        self._outbox = outbox
        self._limits = limits
        self._peers = peers
        self._wanted: dict[bytes, None] = {}
        self._queue: list[PeerKey] = []
        self._asked: PeerKey | None = None
        self._request = 0
        self._room_bytes = 0

    @property
    def active(self) -> bool:
        """Whether bodies are missing."""
        return bool(self._wanted)

    def wants(self, key: bytes) -> bool:
        """Whether the body of this envelope hash is missing."""
        return key in self._wanted

    def want(self, missing: Iterable[bytes], senders: Sequence[PeerKey], room_bytes: int) -> None:
        """Fetch these bodies, instead of what was wanted before; ask `senders` first.

        They may take `room_bytes` together; beyond that the fetch ends as `TOO_LARGE`.
        """
        before = self._wanted
        self._wanted = dict.fromkeys(missing)
        self._room_bytes = room_bytes
        if not self._wanted:
            self.cancel()
            return
        others = [peer for peer in self._peers() if peer not in senders]
        connected = set(self._peers())
        first = [peer for peer in senders if peer in connected]
        self._queue = (first + others) * ROUNDS
        if self._asked is None or not self._wanted.keys() <= before.keys():
            self._asked = None
            self._outbox.set_timer(Timer.FETCH, GRACE_MS)

    def hurry(self) -> None:
        """The bodies are needed at once: the block is decided. Do not wait for gossip."""
        if self._wanted and self._asked is None:
            self._ask_next()

    def cancel(self) -> None:
        """Nothing is wanted any more."""
        self._wanted = {}
        self._queue = []
        self._asked = None
        self._outbox.cancel_timer(Timer.FETCH)

    def timed_out(self) -> None:
        """The peer that was asked did not answer in time."""
        self._ask_next()

    def peer_connected(self, peer: PeerKey) -> None:
        """Another peer may have what is missing."""
        if self._wanted:
            self._queue.append(peer)
            if not self._outbox.runs(Timer.FETCH):
                self._ask_next()

    def peer_disconnected(self, peer: PeerKey) -> None:
        """Do not wait for a peer that is gone."""
        self._queue = [other for other in self._queue if other != peer]
        if self._asked == peer:
            self._ask_next()

    def answered(self, peer: PeerKey, answer: AnswerTransactions) -> FetchProgress:
        """Take bodies in. Raises `Rejected` if the peer sent a body that does not verify."""
        if peer != self._asked or answer.request != self._request:
            return FetchProgress.WAITING
        before = len(self._wanted)
        for envelope in answer.envelopes:
            self._take(envelope)
            if self._room_bytes < 0:
                self.cancel()
                return FetchProgress.TOO_LARGE
        if not self._wanted:
            self.cancel()
            return FetchProgress.COMPLETE
        if len(self._wanted) < before:
            self._queue.insert(0, peer)
        self._ask_next()
        return FetchProgress.WAITING

    def arrived(self, hashes: Iterable[bytes]) -> bool:
        """Bodies came by gossip in the meantime. True once nothing is missing, if something was."""
        if not self._wanted:
            return False
        for item in hashes:
            self._wanted.pop(item, None)
        if self._wanted:
            return False
        self.cancel()
        return True

    def _take(self, envelope: bytes) -> None:
        key = envelope_hash(self._suite, envelope)
        if key not in self._wanted:
            return
        try:
            tx = self._mempool.add_body(envelope)
        except Rejected:
            self._ask_next()
            raise
        if tx.envelope_hash == key:
            del self._wanted[key]
            self._room_bytes -= len(envelope)

    def _ask_next(self) -> None:
        if not self._queue:
            self._asked = None
            self._outbox.cancel_timer(Timer.FETCH)
            return
        self._asked = self._queue.pop(0)
        self._request = (self._request + 1) & 0xFFFFFFFF
        hashes = tuple(self._wanted)[:MAX_HASHES]
        self._outbox.send(self._asked, GetTransactions(self._request, hashes), Channel.CONSENSUS)
        self._outbox.set_timer(Timer.FETCH, self._limits.fetch_timeout_ms)

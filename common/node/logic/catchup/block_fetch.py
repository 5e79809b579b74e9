"""Fetches one whole block by its id: a decided one that was never validated here, or a prepared one that a new leader
must repeat.

Peers are asked in turn, those first that should have it; what comes is kept only if its header has the wanted id and
its envelopes are those of the header (attack E7), so a liar costs one round trip. After `ROUNDS` times round all
peers the fetch rests: a decided block also comes by catch-up, a new view replaces a leader that lacks one.

Left out: verification beyond the id, and what is done with the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.core.block import Block
from common.core.errors import Malformed, Rejected
from common.core.suite import Suite
from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_status import NodeLimits
from common.node.logic.wire.peer_messages import AnswerBody, GetBody

ROUNDS = 3


class BlockFetch:
    """At most one block at a time; a new want replaces the old one."""

    def __init__(
        self, suite: Suite, outbox: NodeOutbox, limits: NodeLimits, peers: Callable[[], Sequence[PeerKey]]
    ) -> None:
        self._suite = suite
        self._outbox = outbox
        self._limits = limits
        self._peers = peers
        self._wanted: tuple[int, bytes] | None = None
        self._queue: list[PeerKey] = []
        self._asked: PeerKey | None = None
        self._request = 0

    @property
    def wanted(self) -> tuple[int, bytes] | None:
        """(height, block id) of what is being fetched."""
        return self._wanted

    def want(self, height: int, block_id: bytes, senders: Sequence[PeerKey], delay_ms: int = 0) -> None:
        """Fetch this block; ask `senders` first, after `delay_ms` in which it may come about otherwise."""
        self._wanted = (height, block_id)
        connected = self._peers()
        first = [peer for peer in senders if peer in connected]
        self._queue = (first + [peer for peer in connected if peer not in senders]) * ROUNDS
        if delay_ms:
            self._asked = None
            self._outbox.set_timer(Timer.BODY, delay_ms)
        else:
            self._ask_next()

    def cancel(self) -> None:
        """Nothing is wanted any more."""
        self._wanted = None
        self._queue = []
        self._asked = None
        self._outbox.cancel_timer(Timer.BODY)

    def timed_out(self) -> None:
        """The peer that was asked did not answer in time."""
        self._ask_next()

    def peer_connected(self, peer: PeerKey) -> None:
        """Another peer may have it."""
        if self._wanted is not None:
            self._queue.append(peer)
            if not self._outbox.runs(Timer.BODY):
                self._ask_next()

    def peer_disconnected(self, peer: PeerKey) -> None:
        """Do not wait for a peer that is gone."""
        self._queue = [other for other in self._queue if other != peer]
        if self._asked == peer:
            self._ask_next()

    def answered(self, peer: PeerKey, answer: AnswerBody) -> Block | None:
        """The wanted block, if this is it. Raises `Rejected` if the peer sent something else as the block."""
        if self._wanted is None or peer != self._asked or answer.request != self._request:
            return None
        if not answer.block:
            self._ask_next()
            return None
        try:
            block = self._check(answer.block, self._wanted[1])
        except Rejected:
            self._ask_next()
            raise
        self.cancel()
        return block

    def _check(self, data: bytes, block_id: bytes) -> Block:
        block = Block.decode(data)
        if block.header.id(self._suite) != block_id:
            raise Malformed("body_wrong_block", "The peer sent another block than the one asked for.")
        block.check_body(self._suite)
        return block

    def _ask_next(self) -> None:
        if self._wanted is None or not self._queue:
            self._asked = None
            self._outbox.cancel_timer(Timer.BODY)
            return
        self._asked = self._queue.pop(0)
        self._request = (self._request + 1) & 0xFFFFFFFF
        self._outbox.send(self._asked, GetBody(self._request, *self._wanted), Channel.CONSENSUS)
        self._outbox.set_timer(Timer.BODY, self._limits.fetch_timeout_ms)

"""Catch-up: fetches decided blocks from peers, verifies each, and hands it on for execution and commit.

A node lags behind if it was down, is new, or missed the end of a height. It asks a peer that claims a higher tip for a
batch of blocks with their certificates. It takes one block at a time, each after the one before is durable. Other
events are handled in between, so live consensus never starves.

Trust: the node trusts a peer in nothing. It accepts a block because a quorum signed it (`verify_certificate`). The
quorum is of the set that the block's parent commits to.

What a peer can do wrong, and what the node does then (attack C17):
  * The peer sends bytes that are no block, a block of another height, a bad certificate, or a body of another header.
    The node disconnects the peer, leaves it alone for a while, and asks another peer.
  * The peer claims a higher tip, but its answer holds no block. The node lowers the peer's claim to its own tip and
    asks another peer.
  * The peer does not answer. The node lowers the claim in the same way and asks another peer.
  * The peer says that it has pruned the block. The node asks it no more for that block and asks another peer.

If every peer that is ahead has pruned the next block, catch-up cannot go on. The warning `sync_needs_checkpoint` tells
the operator to join anew by a checkpoint (`tongjian node join`).

A block with a valid certificate may execute to other roots than its header's. No peer has lied then, for a quorum
signed it. This node or that quorum is broken, and the node stops (`committer`).

Left out: serving blocks to others (`serving`), execution and commit (`committer`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.core.block import Block
from common.core.certificate import Certificate, verify_certificate
from common.core.errors import Malformed, Rejected
from common.core.genesis import Genesis
from common.node.logic.catchup.peer_table import PeerTable
from common.node.logic.node_effects import Channel, Disconnect, Warned
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_status import NodeLimits
from common.node.logic.wire.checkpoint_messages import Pruned
from common.node.logic.wire.peer_messages import MAX_BLOCKS, AnswerBlocks, GetBlocks
from common.node.store.chain_store import ChainStore

GRACE_MS = 150
"""A peer that is one block ahead has usually just decided what this node is deciding. The node waits so long before it
asks."""
UNSOLICITED = 0
"""Request number of an answer that nobody asked for."""


@dataclass(frozen=True, slots=True)
class _Received:
    """A block as a peer sent it."""

    peer: PeerKey
    height: int
    block: bytes
    certificate: bytes


class CommitBlocks(Protocol):
    """`committer.Committer.commit`."""

    def __call__(self, block: Block, certificate: Certificate, *, more_follow: bool = False) -> None: ...


class CatchUp:
    """Holds at most one open request, and the blocks of answers that wait to be taken in."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        chain: ChainStore,
        peers: PeerTable,
        outbox: NodeOutbox,
        limits: NodeLimits,
        commit: CommitBlocks,
        busy: Callable[[], bool],
    ) -> None:
        self._genesis = genesis
        self._chain = chain
        self._peers = peers
        self._outbox = outbox
        self._limits = limits
        self._commit = commit
        self._busy = busy
        self._asked: PeerKey | None = None
        self._asked_from = 0
        self._request = 0
        self._queue: deque[_Received] = deque()
        self._turn = 0

    @property
    def syncing(self) -> bool:
        """Whether this node is so far behind that it should not propose for the open height.

        f+1 members must say so: one liar must not silence a validator (attack C17).
        """
        height = self._chain.tip().height
        if self._peers.best_claim <= height + 1:
            return False
        return self._peers.believed_height(self._chain.validators(height + 1)) > height + 1

    def consider(self) -> None:
        """Ask if a peer claims to be ahead. If it claims one block only, wait for `GRACE_MS` first."""
        if self._asked is not None or self._queue or self._busy():
            return
        ahead = self._peers.best_claim - self._chain.tip().height
        if ahead <= 0:
            self._outbox.cancel_timer(Timer.SYNC)
        elif ahead > 1:
            self._ask()
        elif not self._outbox.runs(Timer.SYNC):
            self._outbox.set_timer(Timer.SYNC, GRACE_MS)

    def shown_ahead(self, peer: PeerKey, open_height: int) -> None:
        """Note that a peer sends consensus messages for `open_height`, far above ours: it has decided the one below."""
        self._peers.raise_claim(peer, open_height - 1)
        self.consider()

    def timed_out(self) -> None:
        """Ask a peer: the grace is over, or the one that was asked did not answer."""
        if self._asked is not None:
            self._peers.disappointed(self._asked, self._chain.tip().height)
            self._asked = None
        if not self._queue and not self._busy() and self._peers.best_claim > self._chain.tip().height:
            self._ask()

    def peer_disconnected(self, peer: PeerKey) -> None:
        """Stop waiting for a peer that is gone. What it has sent stays in the queue and is verified as ever."""
        if self._asked == peer:
            self._asked = None
            self._outbox.cancel_timer(Timer.SYNC)
            self.consider()

    def answered(self, peer: PeerKey, answer: AnswerBlocks) -> None:
        """Take the blocks of an answer. A block that nobody asked for is looked at only if it is the next one."""
        if answer.request == UNSOLICITED:
            self._peers.raise_claim(peer, answer.tip_height)
            if len(answer.blocks) == 1 and not self._queue:
                self._take_unasked(peer, *answer.blocks[0])
            return
        if peer != self._asked or answer.request != self._request:
            return
        self._asked = None
        self._outbox.cancel_timer(Timer.SYNC)
        self._peers.set_claim(peer, answer.tip_height)
        if not answer.blocks:
            self._outbox.add(Warned("sync_nothing", "a peer that claimed a higher tip has no blocks for us"))
            self._peers.disappointed(peer, self._chain.tip().height)
            self.consider()
            return
        self._enqueue(peer, self._asked_from, answer)
        self._take_next()

    def _take_unasked(self, peer: PeerKey, block: bytes, certificate: bytes) -> None:
        """Take a block that nobody asked for, if it is the next one.

        Several peers may answer the same vote. All but the first bring what this node has by then, which is no lie.
        """
        try:
            height = Block.decode(block).header.height
        except Rejected as refusal:
            self._liar(peer, refusal)
            return
        if height == self._chain.tip().height + 1:
            self._queue.append(_Received(peer, height, block, certificate))
            self._take_next()

    def pruned(self, peer: PeerKey, answer: Pruned) -> None:
        """Note that the peer asked has pruned the blocks, and ask another."""
        if peer != self._asked or answer.request != self._request:
            return
        self._asked = None
        self._outbox.cancel_timer(Timer.SYNC)
        self._peers.set_claim(peer, answer.tip_height)
        self._peers.has_pruned(peer, answer.lowest)
        height = self._chain.tip().height
        if self._peers.best_claim > height and not self._peers.ahead_of(height):
            self._outbox.add(
                Warned("sync_needs_checkpoint", f"every peer has pruned block {height + 1}: use `tongjian node join`")
            )
        self.consider()

    def committed(self) -> None:
        """Go on with the next block: the last one is durable."""
        self._take_next()
        self.consider()

    def _ask(self) -> None:
        """Ask a peer that claims to be ahead; these peers take turns."""
        height = self._chain.tip().height
        ahead = self._peers.ahead_of(height)
        if not ahead:
            return
        self._turn += 1
        self._asked = ahead[self._turn % len(ahead)]
        self._asked_from = height + 1
        self._request = self._request % 0xFFFFFFFF + 1
        limit = min(self._limits.sync_blocks, MAX_BLOCKS)
        self._outbox.send(self._asked, GetBlocks(self._request, height + 1, limit), Channel.SYNC)
        self._outbox.set_timer(Timer.SYNC, self._limits.sync_timeout_ms)

    def _enqueue(self, peer: PeerKey, first_height: int, answer: AnswerBlocks) -> None:
        for offset, (block, certificate) in enumerate(answer.blocks):
            self._queue.append(_Received(peer, first_height + offset, block, certificate))

    def _take_next(self) -> None:
        """Verify the next queued block and hand it on. During a commit do nothing: `committed` calls again."""
        if self._busy():
            return
        while self._queue:
            received = self._queue.popleft()
            if received.height <= self._chain.tip().height:
                continue
            try:
                block, certificate = self._verify(received)
            except Rejected as refusal:
                self._liar(received.peer, refusal)
                return
            self._commit(block, certificate, more_follow=bool(self._queue))
            return

    def _verify(self, received: _Received) -> tuple[Block, Certificate]:
        """Check one block against the set that our tip commits to. Raises `Rejected`, whose code names the lie."""
        tip, suite = self._chain.tip(), self._genesis.suite
        block = Block.decode(received.block)
        certificate = Certificate.decode(received.certificate)
        header = block.header
        if (header.network, header.genesis_id) != (self._genesis.network, self._genesis.id):
            raise Malformed("sync_wrong_chain", "The block belongs to another chain.")
        if header.height != tip.height + 1:
            raise Malformed("sync_wrong_height", "The block is not of the height asked for.", height=header.height)
        verify_certificate(suite, self._chain.validators(header.height), header, certificate)
        block.check_body(suite)
        return block, certificate

    def _liar(self, peer: PeerKey, refusal: Rejected) -> None:
        """Drop the peer and everything that it sent, and ask another (attack C17)."""
        self._queue = deque([received for received in self._queue if received.peer != peer])
        self._peers.disappointed(peer, self._chain.tip().height)
        self._outbox.add(Warned("sync_peer_lied", refusal.code, peer))
        if peer in self._peers.keys:
            self._outbox.add(Disconnect(peer, refusal.code, self._limits.misbehaviour_pause_ms))
            self._peers.disconnect(peer)
        self.consider()

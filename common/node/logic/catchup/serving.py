"""Answers what peers ask for: transaction bodies, blocks and headers with certificates, single blocks, checkpoints.

Every answer is bounded (`ANSWER_BYTES`, `MAX_BLOCKS`) and rationed (`ration`), goes only to the peer that asked, on a
channel whose queue the transport bounds, and reads nothing but committed blocks, the mempool and the candidates of
the open height.

Left out: verification, which is the asker's business.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from common.core.block import Block
from common.core.errors import Gone, NotFound
from common.node.logic.catchup.checkpoint_format import CheckpointSource
from common.node.logic.catchup.ration import OBSERVERS, Rations
from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.pool.mempool import Mempool
from common.node.logic.wire.checkpoint_messages import (
    MAX_HEADERS,
    AnswerCheckpoints,
    AnswerHeaders,
    AnswerPart,
    GetCheckpoints,
    GetHeaders,
    GetPart,
    Pruned,
)
from common.node.logic.wire.peer_messages import (
    ANSWER_BYTES,
    AnswerBlocks,
    AnswerBody,
    AnswerTransactions,
    GetBlocks,
    GetBody,
    GetTransactions,
)
from common.node.store.chain_store import ChainStore


class Serving:
    """Read-only answers."""

    def __init__(
        self,
        chain: ChainStore,
        mempool: Mempool,
        outbox: NodeOutbox,
        candidate: Callable[[bytes], Block | None],
        checkpoints: CheckpointSource,
    ) -> None:
        self._chain = chain
        self._mempool = mempool
        self._outbox = outbox
        self._candidate = candidate
        self._checkpoints = checkpoints
        self._rations = Rations()

    def _purse(self, peer: PeerKey) -> PeerKey:
        """Whose ration pays for the peer."""
        members = self._chain.validators(self._chain.tip().height + 1)
        return OBSERVERS if members.index_of(peer) is None else peer

    def _may_ask(self, peer: PeerKey, now_ms: int) -> bool:
        return self._rations.allows(self._purse(peer), now_ms)

    def transactions(self, peer: PeerKey, asked: GetTransactions, now_ms: int) -> None:
        """Those that this node has, in the order asked, until the answer is full; it asks again for the rest."""
        if not self._may_ask(peer, now_ms):
            return
        envelopes: list[bytes] = []
        size_bytes = 0
        for envelope_hash in asked.envelope_hashes:
            tx = self._mempool.resolve(envelope_hash)
            if tx is None:
                continue
            envelopes.append(tx.envelope)
            size_bytes += len(tx.envelope)
            if size_bytes >= ANSWER_BYTES:
                break
        self._rations.take(self._purse(peer), size_bytes)
        self._outbox.send(peer, AnswerTransactions(asked.request, tuple(envelopes)), Channel.CONSENSUS)

    def blocks(self, peer: PeerKey, asked: GetBlocks, now_ms: int) -> None:
        """Consecutive decided blocks from the height asked for; none if they are not decided yet, `Pruned` if they are
        pruned here.
        """
        if not self._may_ask(peer, now_ms):
            return
        tip_height = self._chain.tip().height
        lowest = self._chain.pruning_floor()
        if max(asked.from_height, 1) < lowest:
            self._outbox.send(peer, Pruned(asked.request, tip_height, lowest), Channel.SYNC)
            return
        blocks: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        for height in range(max(asked.from_height, 1), min(tip_height, asked.from_height + asked.limit - 1) + 1):
            pair = self._decided(height)
            if pair is None:
                break
            size_bytes += len(pair[0]) + len(pair[1])
            if blocks and size_bytes > ANSWER_BYTES:
                break
            blocks.append(pair)
        self._rations.take(self._purse(peer), size_bytes)
        self._outbox.send(peer, AnswerBlocks(asked.request, tip_height, tuple(blocks)), Channel.SYNC)

    def headers(self, peer: PeerKey, asked: GetHeaders, now_ms: int) -> None:
        """Consecutive headers with certificates, and the sets that they change to; never pruned."""
        if not self._may_ask(peer, now_ms):
            return
        chain = self._chain
        tip_height = chain.tip().height
        entries: list[tuple[bytes, bytes, bytes]] = []
        size_bytes = 0
        for entry in islice(chain.wire_headers(max(asked.from_height, 1)), min(asked.limit, MAX_HEADERS)):
            entries.append(entry)
            size_bytes += sum(len(part) for part in entry)
            if size_bytes > ANSWER_BYTES:
                break
        self._rations.take(self._purse(peer), size_bytes)
        self._outbox.send(peer, AnswerHeaders(asked.request, tip_height, tuple(entries)), Channel.SYNC)

    def checkpoints(self, peer: PeerKey, asked: GetCheckpoints) -> None:
        """Which checkpoints this node has."""
        self._outbox.send(peer, AnswerCheckpoints(asked.request, self._checkpoints.offers()), Channel.SYNC)

    def part(self, peer: PeerKey, asked: GetPart, now_ms: int) -> None:
        """A manifest or a chunk; empty if it is not here (any more)."""
        if not self._may_ask(peer, now_ms):
            return
        part = self._checkpoints.part(asked.height, asked.number) or b""
        self._rations.take(self._purse(peer), len(part))
        self._outbox.send(peer, AnswerPart(asked.request, part), Channel.SYNC)

    def decided(self, peer: PeerKey, height: int, now_ms: int) -> None:
        """Unasked: the block of a height that the peer still votes on (protocol rule 3)."""
        pair = self._decided(height) if self._may_ask(peer, now_ms) else None
        if pair is not None:
            self._rations.take(self._purse(peer), len(pair[0]))
            self._outbox.send(peer, AnswerBlocks(0, self._chain.tip().height, (pair,)), Channel.SYNC)

    def body(self, peer: PeerKey, asked: GetBody, now_ms: int) -> None:
        """A candidate of the open height or a decided block, by height and id; an empty answer if there is none."""
        if not self._may_ask(peer, now_ms):
            return
        block = self._candidate(asked.block_id)
        data = b"" if block is None else block.encode()
        if block is None and 1 <= asked.height <= self._chain.tip().height:
            certificate = self._chain.certificate(asked.height)
            pair = self._decided(asked.height) if certificate.block_id == asked.block_id else None
            data = b"" if pair is None else pair[0]
        self._rations.take(self._purse(peer), len(data))
        self._outbox.send(peer, AnswerBody(asked.request, data), Channel.SYNC)

    def _decided(self, height: int) -> tuple[bytes, bytes] | None:
        try:
            return self._chain.block(height).encode(), self._chain.certificate(height).encode()
        except (NotFound, Gone):
            return None

"""What the replica asks of the rest of the node: build, validate, fetch, commit, help a peer
(`consensus_driver.BlockWork`).

Left out: how each of these is done; this only knows who does it.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.consensus.effects import BuildBlock, FetchBlock, ValidateBlock
from common.core.block import Block
from common.core.certificate import Certificate
from common.core.suite import Suite
from common.node.logic.agreement.block_assembly import BlockAssembly
from common.node.logic.agreement.committer import Committer
from common.node.logic.agreement.liveness import Clock
from common.node.logic.catchup.block_fetch import BlockFetch
from common.node.logic.catchup.serving import Serving
from common.node.logic.catchup.sync import CatchUp
from common.node.logic.node_events import PeerKey
from common.node.logic.node_status import NodeLimits
from common.node.logic.peers import PeerTable
from common.node.logic.pool.body_fetch import BodyFetch


class AgreementWork:
    """See `consensus_driver.BlockWork` for the methods that the replica's effects lead to."""

    def __init__(
        self,
        *,
        suite: Suite,
        clock: Clock,
        limits: NodeLimits,
        peers: PeerTable,
        assembly: BlockAssembly,
        bodies: BodyFetch,
        block_fetch: BlockFetch,
        committer: Committer,
        serving: Serving,
        sync: CatchUp,
    ) -> None:
        self._suite = suite
        self._clock = clock
        self._limits = limits
        self._peers = peers
        self._assembly = assembly
        self._bodies = bodies
        self._block_fetch = block_fetch
        self._committer = committer
        self._serving = serving
        self._sync = sync
        self._certified: Certificate | None = None

    def build(self, request: BuildBlock) -> None:
        """The replica leads."""
        self._assembly.build(request, self._clock.now_ms)

    def validate(self, request: ValidateBlock, senders: Sequence[PeerKey]) -> None:
        """The replica has a proposal."""
        self._assembly.validate(request, senders, self._clock.now_ms)

    def fetch(self, request: FetchBlock, senders: Sequence[PeerKey]) -> None:
        """The replica must repeat a block that it lacks."""
        self._assembly.fetch(request, senders)

    def decided(self, block: Block, certificate: Certificate) -> None:
        """The replica decided."""
        self._committer.commit(block, certificate)

    def decided_by_id(self, height: int, block_id: bytes, certificate: Certificate, senders: Sequence[PeerKey]) -> None:
        """The replica knows what was decided, but not the block itself."""
        known = self._assembly.candidate(block_id)
        if known is not None:
            self._committer.commit(known, certificate)
            return
        self._certified = certificate
        if self._assembly.awaits_bodies_of(block_id):
            # A few bodies are cheaper than the whole block; when they are here, the replica decides once more.
            self._bodies.hurry()
            self._block_fetch.want(height, block_id, senders, self._limits.fetch_timeout_ms)
        else:
            self._block_fetch.want(height, block_id, senders)

    def block_fetched(self, block: Block) -> None:
        """A whole block came: commit it if it is the decided one, else it is for a new view."""
        certificate = self._certified
        if certificate is not None and certificate.block_id == block.header.id(self._suite):
            self._committer.commit(block, certificate)
        else:
            self._assembly.block_fetched(block)

    def committed(self) -> None:
        """The height is over: nothing that was asked for it matters any more."""
        self._certified = None
        self._block_fetch.cancel()
        self._assembly.committed()

    def send_decided(self, peer: PeerKey, height: int) -> None:
        """A peer still votes on a height that is final."""
        self._serving.decided(peer, height, self._clock.now_ms)

    def peer_is_at(self, peer: PeerKey, height: int) -> None:
        """A peer sends messages for a height far above ours: it has decided the one below."""
        self._peers.raise_claim(peer, height - 1)
        self._sync.consider()

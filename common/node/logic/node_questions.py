"""Answers about a node: where it is, where a transaction is, who may connect, what to say in a hello. Reads only.

Left out: chain queries of routes, which read the chain store themselves.
"""

from __future__ import annotations

from common.core.genesis import Genesis
from common.core.validators import ValidatorSet
from common.node.logic.agreement.consensus_driver import ConsensusDriver
from common.node.logic.catchup.peer_table import PeerTable
from common.node.logic.catchup.sync import CatchUp
from common.node.logic.node_events import PeerKey
from common.node.logic.node_status import NodeStatus, TransactionState
from common.node.logic.pool.mempool import Mempool
from common.node.logic.wire.peer_messages import Hello
from common.node.store.chain_store import ChainStore


class NodeQuestions:
    """The reading half of `node.Node`, which makes the parts named here."""

    _genesis: Genesis
    _own_key: PeerKey | None
    _chain: ChainStore
    _peers: PeerTable
    _mempool: Mempool
    _driver: ConsensusDriver
    _sync: CatchUp
    _known_sets: tuple[ValidatorSet, ...] = ()
    _known_keys: frozenset[PeerKey] = frozenset()

    def hello_for(self, peer: PeerKey) -> bytes:
        """Our tip, and what we hold signed by this peer (protocol rule 7)."""
        tip = self._chain.tip()
        return Hello(tip.height, tip.block_id, self._driver.signed_by(peer)).encode()

    def peer_places(self) -> dict[PeerKey, tuple[int, int]]:
        """Claimed tip of each connected peer, and the view in which it signed last above it (0 if it has not)."""
        places = {}
        for peer in self._peers.keys:
            height, mark = self._peers.claim_of(peer) or 0, self._driver.furthest_mark(peer)
            places[peer] = height, mark.view if mark is not None and mark.height > height else 0
        return places

    def peer_keys(self) -> frozenset[PeerKey]:
        """The members of the sets that sign the last and the next height (protocol rule 7)."""
        height = self._chain.tip().height
        sets = (self._chain.validators(height), self._chain.validators(height + 1))
        if sets != self._known_sets:
            self._known_sets = sets
            self._known_keys = frozenset(member.public_key for members in sets for member in members.members)
        return self._known_keys

    def transaction_state(self, tx_id: bytes) -> TransactionState:
        """Where a transaction is. Raises Gone if its receipt was pruned."""
        location = self._chain.transaction(tx_id)
        if location is not None:
            receipt = self._chain.receipt(location.height, location.index)
            return TransactionState(tx_id, receipt.status, location.height, location.index, receipt)
        if self._mempool.is_pending(tx_id):
            return TransactionState(tx_id, "pending")
        return TransactionState(tx_id, "expired" if self._mempool.has_expired(tx_id) else "unknown")

    def status(self) -> NodeStatus:
        """The node's place in its network."""
        tip = self._chain.tip()
        validators = self._chain.validators(tip.height + 1)
        own_index = validators.index_of(self._own_key)
        level = self._peers.level(validators, tip.height + 1) + (own_index is not None)
        return NodeStatus(
            network=self._genesis.network,
            height=tip.height,
            block_id=tip.block_id,
            time_ms=tip.time_ms,
            view=self._driver.view,
            own_index=own_index,
            validators=tuple([member.name for member in validators.members]),
            connected=tuple([validators.members[at].name for at in self._peers.members(validators)]),
            best_peer_height=self._peers.best_claim,
            syncing=self._sync.syncing,
            voting=self._driver.can_vote,
            level_with_quorum=level >= validators.quorum,
            mempool_transactions=len(self._mempool),
            mempool_bytes=self._mempool.size_bytes,
            own_key=self._own_key,
        )

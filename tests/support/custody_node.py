"""A custody chain with real blocks in a chain store, whose clock the test holds: what the routes of a node read.

Blocks are executed by the node's executor and certified by all its validators; no consensus runs. The class is also the
`NodeService` that `create_app` wants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.core.errors import Unavailable
from common.core.genesis import Genesis
from common.core.receipt import Receipt
from common.core.suite import Suite
from common.core.transaction import SignedTransaction, parse_envelope, sign_envelope
from common.node.diagnosis.self_judgement import NodeFacts
from common.node.logic.execution.executor import Executor
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node_status import NodeStatus, TransactionState
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from crosslink.lightclient.delivery import BlockDelivery, Delivery
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE, root_document
from crosslink.lightclient.trust import TrustFile
from crosslink.lightclient.trust_root import TrustRoot
from custody_chain.application import CustodyApplication
from tests.support.chains import START_MS, BuiltBlock, ChainBuilder, seed_of, sign_header
from tests.support.committing import commit_execution
from tests.support.custody import GOVERNORS, SUITE, custody_genesis, entry_of, public_key
from tests.support.facts import healthy_facts


class CustodyNode:
    """See the module docstring. `time_ms` is the tip's time; `commit` moves it by one second unless told."""

    def __init__(self, chains: Sequence[ChainBuilder], **settings: Any) -> None:
        self._genesis = custody_genesis(chains, **settings)
        self._application = CustodyApplication(self._genesis)
        self._chain = ChainStore(MemoryStore(), self._genesis)
        initialise_chain(self._chain, self._genesis, self._application)
        self._executor = Executor(self._genesis, self._application, self._chain)
        self._nonce = 0
        self.chains = list(chains)
        self.time_ms = START_MS

    def reopen(self) -> None:
        """Go on as a process that has just started would."""
        self._application = CustodyApplication(self._genesis)
        self._chain = ChainStore(self._chain.store, self._genesis)
        self._executor = Executor(self._genesis, self._application, self._chain)

    @property
    def genesis(self) -> Genesis:
        return self._genesis

    @property
    def suite(self) -> Suite:
        return SUITE

    @property
    def chain(self) -> ChainStore:
        return self._chain

    @property
    def application(self) -> CustodyApplication:
        return self._application

    @property
    def executor(self) -> Executor:
        return self._executor

    def sign(self, operations: Sequence[dict[str, Any]], signers: Sequence[str]) -> SignedTransaction:
        """A signed transaction of test signers."""
        self._nonce += 1
        transaction = {
            "network": "custody",
            "genesis": self._genesis.id.hex(),
            "signers": [public_key(name) for name in signers],
            "nonce": str(self._nonce),
            "expires_at_height": self._chain.tip().height + 1000,
            "operations": list(operations),
        }
        return parse_envelope(sign_envelope(transaction, [seed_of(name) for name in signers], SUITE), SUITE)

    def commit(
        self, *operations: dict[str, Any], signers: Sequence[str] = ("relay",), time_ms: int | None = None
    ) -> Receipt | None:
        """One block, with one transaction if there are operations; its receipt."""
        self.time_ms = self.time_ms + 1000 if time_ms is None else time_ms
        transactions = [self.sign(operations, signers)] if operations else []
        execution = self._executor.execute(self.time_ms, transactions)
        header = self._executor.header(execution, 0)
        block, validators = self._executor.block(header, execution), self._chain.validators(header.height)
        commit_execution(self._chain, execution, block, sign_header(header, validators))
        self._executor.forget()
        return execution.receipts[0] if transactions else None

    def govern(self, operation: dict[str, Any]) -> None:
        """One operation of those that govern, in a block of its own; it must be applied."""
        receipt = self.commit(operation, signers=GOVERNORS)
        assert receipt is not None
        assert receipt.status == "applied", receipt

    def submit(self, network: str, *entries: BlockDelivery | BuiltBlock, time_ms: int | None = None) -> None:
        """One delivery in a block of its own; it must be applied."""
        blocks = tuple(entry if isinstance(entry, BlockDelivery) else entry_of(entry) for entry in entries)
        receipt = self.commit(Delivery(network, blocks).to_operation(), time_ms=time_ms)
        assert receipt is not None
        assert receipt.status == "applied", receipt

    def deliver(self, chain: ChainBuilder, *snapshots: bytes) -> BuiltBlock:
        """Append a block with these snapshots to a region's chain, at the custody chain's time, and deliver it."""
        block = chain.extend(snapshots, time_ms=self.time_ms + 500)
        self.submit(chain.network, block)
        return block

    def trust(self) -> TrustFile:
        """What a user would hold: roots of the custody chain and of all regions."""
        custody = TrustRoot(
            network="custody",
            client_type=PBFT_CLIENT_TYPE,
            genesis_id=self._genesis.id,
            trust=root_document(SUITE, self._genesis.validators),
            tier="custody",
        )
        return TrustFile((custody, *(chain.trust_root() for chain in self.chains)))

    async def submit_envelope(self, envelope: bytes) -> TransactionState:
        raise Unavailable("test_node", "This node takes no transactions over HTTP.")

    async def wait_receipt(self, tx_id: bytes, timeout_s: float) -> TransactionState:
        raise Unavailable("test_node", "This node takes no transactions over HTTP.")

    def transaction_state(self, tx_id: bytes) -> TransactionState:
        return TransactionState(tx_id, "unknown")

    def status(self) -> NodeStatus:
        tip, names = self._chain.tip(), tuple(member.name for member in self._genesis.validators.members)
        return NodeStatus(
            network="custody",
            height=tip.height,
            block_id=tip.block_id,
            time_ms=tip.time_ms,
            view=0,
            own_index=0,
            validators=names,
            connected=names[1:],
            best_peer_height=tip.height,
            syncing=False,
            voting=True,
            level_with_quorum=True,
            mempool_transactions=0,
            mempool_bytes=0,
        )

    def ready(self) -> bool:
        return True

    def damage_found(self, what: str) -> None:
        """Whatever was damaged."""
        self.damage = what

    def facts(self) -> NodeFacts:
        return healthy_facts()

    async def wait_height(self, height: int, timeout_s: float) -> bool:
        return self._chain.tip().height >= height

    def counters(self) -> Mapping[str, float]:
        return {}

"""A business chain in a chain store in memory, block by block: real envelopes, executor, state tree, certificates."""

from __future__ import annotations

from typing import Any

from business_chain.application import BusinessApplication
from common.core.certificate import Certificate, commit_payload
from common.core.receipt import Receipt
from common.core.suite import ED25519_SHA256
from common.core.transaction import parse_envelope, sign_envelope
from common.node.logic.execution.executor import Executor
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from tests.support.committing import commit_execution
from tests.unit.business.market import Operations, genesis, key, seed


class StoredMarket(Operations):
    """One validator's chain."""

    def __init__(self) -> None:
        super().__init__()
        self.genesis = genesis()
        self.application = BusinessApplication(self.genesis)
        self.chain = ChainStore(MemoryStore(), self.genesis)
        initialise_chain(self.chain, self.genesis, self.application)
        self.executor = Executor(self.genesis, self.application, self.chain)
        self._nonce = 0

    def reopen(self) -> None:
        """Go on as a process that has just started would."""
        self.application = BusinessApplication(self.genesis)
        self.chain = ChainStore(self.chain.store, self.genesis)
        self.executor = Executor(self.genesis, self.application, self.chain)

    def envelope(self, *operations: dict[str, Any], signer: str = "operator") -> bytes:
        """A signed transaction."""
        self._nonce += 1
        transaction = {
            "network": self.genesis.network,
            "genesis": self.genesis.id.hex(),
            "signers": [key(signer)],
            "nonce": str(self._nonce),
            "expires_at_height": 1000,
            "operations": list(operations),
        }
        return sign_envelope(transaction, [seed(signer)], ED25519_SHA256)

    def commit_envelopes(self, *envelopes: bytes) -> tuple[Receipt, ...]:
        """One block of these envelopes."""
        suite = ED25519_SHA256
        transactions = [parse_envelope(envelope, suite) for envelope in envelopes]
        execution = self.executor.execute(self.chain.tip().time_ms + 10_000, transactions)
        header = self.executor.header(execution, 0)
        block_id = header.id(suite)
        payload = commit_payload(suite, self.genesis.id, self.genesis.network, header.height, 0, block_id)
        certificate = Certificate(header.height, 0, block_id, ((0, suite.sign(seed("v1"), payload)),))
        commit_execution(self.chain, execution, self.executor.block(header, execution), certificate)
        self.executor.forget()
        return execution.receipts

    def commit(self, *operations: dict[str, Any]) -> Receipt:
        """One block of one transaction, which must be applied."""
        receipt = self.commit_envelopes(self.envelope(*operations))[0]
        assert receipt.status == "applied", receipt
        return receipt

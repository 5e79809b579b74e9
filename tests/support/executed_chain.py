"""A toy chain that was executed block by block, as a node that has followed it from genesis holds it.

Its state begins, changes and ends values, its index too, so every kind of database entry occurs.
"""

from __future__ import annotations

from typing import Any

from common.chain.application import BlockContext, Outcome, StateView
from common.core.certificate import Certificate, commit_payload
from common.core.codec import canonical_json
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.transaction import SignedTransaction, parse_envelope
from common.node.logic.execution.executor import Executor
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.store.chain_store import ChainStore
from common.node.store.storage import KeyValueStore
from tests.support.committing import commit_execution
from tests.unit.node.toy import SUITE, ToyApplication, make_envelope, make_genesis, seed_of

NAMES = ["v1", "v2", "v3", "v4"]


class FadingApplication(ToyApplication):
    """Toy rules with a value that lives for two blocks of every three."""

    def begin_block(self, context: BlockContext, state: StateView) -> Outcome:
        outcome = super().begin_block(context, state)
        if context.height % 3:
            state.put(b"fading", canonical_json(context.height))
        else:
            state.delete(b"fading")
        return outcome


class ExecutedChain:
    """A chain store and what fills it; the validators are `NAMES`."""

    def __init__(self, store: KeyValueStore, genesis: Genesis | None = None) -> None:
        self.genesis = genesis or make_genesis(NAMES)
        self.application = FadingApplication()
        self.store = store
        self.chain = ChainStore(store, self.genesis)
        initialise_chain(self.chain, self.genesis, self.application)
        self.executor = Executor(self.genesis, self.application, self.chain)

    def grow(self, blocks: int) -> None:
        """Commit more blocks: an account, two transfers and a rejected one in each."""
        for _ in range(blocks):
            self.commit(self._transactions(self.chain.tip().height + 1))

    def _transactions(self, height: int) -> list[SignedTransaction]:
        new = f"a{height}"
        operations: dict[str, dict[str, Any]] = {
            "open": {"type": "toy.open", "account": new},
            "pay": {"type": "toy.transfer", "source": "bank", "target": new, "amount": height},
            "back": {"type": "toy.transfer", "source": new, "target": "bank", "amount": 1},
            "too-much": {"type": "toy.transfer", "source": new, "target": "bank", "amount": 10**6},
        }
        envelopes = [make_envelope(self.genesis, f"{what}-{height}", [done]) for what, done in operations.items()]
        return [parse_envelope(envelope, SUITE) for envelope in envelopes]

    def commit(self, transactions: list[SignedTransaction]) -> None:
        """One block with a certificate by a quorum."""
        execution = self.executor.execute(self.chain.tip().time_ms + 1_000, transactions)
        header = self.executor.header(execution, 0)
        commit_execution(self.chain, execution, self.executor.block(header, execution), self.certificate(header))
        self.executor.forget()

    def certificate(self, header: Header) -> Certificate:
        """Signatures of the first three."""
        genesis, block_id = self.genesis, header.id(SUITE)
        payload = commit_payload(SUITE, genesis.id, genesis.network, header.height, 0, block_id)
        signatures = tuple((at, SUITE.sign(seed_of(name), payload)) for at, name in enumerate(NAMES[:3]))
        return Certificate(header.height, 0, block_id, signatures)

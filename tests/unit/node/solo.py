"""A chain of one validator, made by hand: for tests that need certified blocks without a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from common.chain.application import Application
from common.core.block import Block
from common.core.certificate import Certificate, commit_payload
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.transaction import parse_envelope
from common.node.logic.execution.executor import Execution, Executor
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from tests.support.committing import commit_execution
from tests.unit.node.toy import SUITE, ToyApplication, seed_of


class Solo:
    """Chain store and executor of one node; `extend` executes, certifies and commits."""

    def __init__(self, genesis: Genesis, application: Application | None = None) -> None:
        self.genesis = genesis
        self.application = application or ToyApplication()
        self.chain = ChainStore(MemoryStore(), genesis)
        initialise_chain(self.chain, genesis, self.application)
        self.executor = Executor(genesis, self.application, self.chain)

    def execute(self, envelopes: list[bytes], time_ms: int | None = None) -> Execution:
        """Execute on the tip, a second after it unless said otherwise."""
        transactions = [parse_envelope(envelope, SUITE) for envelope in envelopes]
        return self.executor.execute(self.chain.tip().time_ms + 1_000 if time_ms is None else time_ms, transactions)

    def block(self, envelopes: list[bytes], time_ms: int | None = None, **changes: Any) -> Block:
        """A block on the tip; `changes` falsify header fields."""
        execution = self.execute(envelopes, time_ms)
        header = replace(self.executor.header(execution, 0), **changes)
        return Block(header, tuple(envelopes))

    def certify(self, header: Header, signers: list[str], view: int = 0) -> Certificate:
        """Commit signatures by these validators of the header's height, in the set's order."""
        block_id = header.id(SUITE)
        payload = commit_payload(SUITE, header.genesis_id, header.network, header.height, view, block_id)
        members = self.chain.validators(self.chain.tip().height + 1).members
        signatures = [
            (at, SUITE.sign(seed_of(member.name), payload))
            for at, member in enumerate(members)
            if member.name in signers
        ]
        return Certificate(header.height, view, block_id, tuple(signatures))

    def extend(self, envelopes: list[bytes], signers: list[str] | None = None) -> tuple[Block, Certificate]:
        """Commit one block, signed by everybody unless said otherwise."""
        execution = self.execute(envelopes, None if envelopes else self.chain.tip().time_ms + 60_000)
        header = self.executor.header(execution, 0)
        block = Block(header, tuple(envelopes))
        names = [member.name for member in self.chain.validators(header.height).members]
        certificate = self.certify(header, signers or names)
        commit_execution(self.chain, execution, block, certificate)
        self.executor.forget()
        return block, certificate

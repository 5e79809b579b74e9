"""Takes decided blocks into the chain, one at a time.

A decided block comes from the replica (`Decide`), or with its certificate from a peer (`CatchUp`). Its execution is
usually kept from validation; then nothing is executed again. `CommitBlock` carries one batch; the block counts only
once `BlockWritten` says that it is durable, and only then are clients, the replica and the mempool told.

Invariants
  T1  At most one commit is under way; its height is the tip's plus one.
  T2  A block with a valid certificate that is invalid here, or executes to other roots, stops the node
      (`InvariantBroken`): a quorum signed it, so either this node's data or code is broken, or more than f validators
      are.
  T3  Acknowledged means durable (protocol rule 25, attack S1): notifications follow `BlockWritten`.
  T4  In catch-up, blocks that others have decided and hold are written without waiting for the disk, but for the last
      of each answer. A power cut then costs a few blocks, which are fetched again; what this node has signed meanwhile
      stands in the vote log, which is synced before anything is sent, and keeps it silent up to there (attack C16).

Left out: how the batch is laid out (`chain_store`), certificates' verification (replica, `sync`).
"""

from __future__ import annotations

from dataclasses import dataclass

from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import InvariantBroken, Rejected
from common.node.logic.execution.executor import Execution, Executor
from common.node.logic.node_effects import BlockCommitted, CommitBlock
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.pool.mempool import Mempool
from common.node.store.chain_store import ChainStore


@dataclass(frozen=True, slots=True)
class Committing:
    """A block whose batch is being written."""

    block: Block
    block_id: bytes
    certificate: Certificate
    execution: Execution


class Committer:
    """See the module docstring for the invariants T1-T3."""

    def __init__(self, chain: ChainStore, executor: Executor, mempool: Mempool, outbox: NodeOutbox) -> None:
        self._chain = chain
        self._executor = executor
        self._mempool = mempool
        self._outbox = outbox
        self._committing: Committing | None = None
        self._executed: tuple[Block, Execution] | None = None

    @property
    def busy(self) -> bool:
        """Whether a batch is being written."""
        return self._committing is not None

    def executed(self, block: Block, execution: Execution) -> None:
        """This block was executed here on the tip, to its header's results: its commit need not do that again."""
        self._executed = block, execution

    def commit(self, block: Block, certificate: Certificate, *, more_follow: bool = False) -> None:
        """Commit a block whose certificate has been verified; ignored if its height is decided or being written
        already. If `more_follow`, in catch-up, it becomes durable with one of them (T4).
        """
        header = block.header
        if self.busy or header.height != self._chain.tip().height + 1:
            return
        execution = self._execution(block)
        prepared = self._chain.prepare_commit(
            block=block,
            certificate=certificate,
            transactions=execution.transactions,
            receipts=execution.all_receipts,
            snapshots=execution.snapshots,
            state_changes=execution.state_changes,
            index_changes=execution.index_changes,
            tree_update=execution.tree_update,
            validators_next=execution.next_validators if execution.changes_validators else None,
        )
        self._committing = Committing(block, certificate.block_id, certificate, execution)
        self._outbox.add(CommitBlock(header.height, certificate.block_id, prepared, synced=not more_follow))

    def _execution(self, block: Block) -> Execution:
        """The kept execution of a decided block, or a new one (T2)."""
        if self._executed is not None and self._executed[0] is block:
            return self._executed[1]
        header = block.header
        try:
            transactions = [self._mempool.add_body(envelope) for envelope in block.envelopes]
            self._executor.check_header(header, [tx.envelope_hash for tx in transactions])
            execution = self._executor.execute(header.time_ms, transactions)
            self._executor.check_results(header, execution)
        except Rejected as refusal:
            raise InvariantBroken(f"the decided block {header.height} is invalid here: {refusal}") from refusal
        if tuple([tx.envelope for tx in transactions]) != block.envelopes:
            raise InvariantBroken(f"the decided block {header.height} holds envelopes that are not canonical")
        return execution

    def written(self, height: int) -> Committing:
        """The batch is durable: the tip moves, clients are told. Returns what was committed."""
        done = self._committing
        if done is None or done.block.header.height != height:
            raise InvariantBroken(f"block {height} was reported as written, but it was not being written")
        self._committing = self._executed = None
        self._chain.committed(done.block.header.height)
        self._executor.forget()
        self._mempool.committed(height, done.execution.transactions)
        self._outbox.add(
            BlockCommitted(
                done.block.header, done.block_id, done.certificate, done.execution.receipts, done.execution.used
            )
        )
        return done

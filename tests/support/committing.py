"""Committing what an executor has executed, without a node around it."""

from __future__ import annotations

from common.core.block import Block
from common.core.certificate import Certificate
from common.node.logic.execution.executor import Execution
from common.node.store.chain_store import ChainStore


def commit_execution(chain: ChainStore, execution: Execution, block: Block, certificate: Certificate) -> None:
    """Write a block whose execution is known, as a node's committer does."""
    chain.commit(
        block,
        certificate,
        execution.transactions,
        execution.all_receipts,
        execution.snapshots,
        execution.state_changes,
        execution.index_changes,
        execution.tree_update,
        execution.next_validators if execution.changes_validators else None,
    )

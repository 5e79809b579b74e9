"""Builds a database again from the blocks of another one: every block verified, executed, and committed as a node does.

What comes out is what a node that has followed the chain from genesis holds: state, tree, history, indexes, nonces. So
it is the measure of an audit (`audit`) and the new database of a repair (`repair`).

Invariants
  B1  A block is taken only if its certificate holds under the set that the rebuilt chain commits to, its body is the
      header's, and execution gives the header's roots: the source is trusted in nothing (attacks C16, S2).
  B2  The first block that cannot be taken ends the work: what was rebuilt is sound up to the height before.

Left out: signatures of transactions: a quorum checked them before it signed the block that commits to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from common.chain.application import Application
from common.core.certificate import verify_certificate
from common.core.errors import Gone, InvariantBroken, Rejected
from common.core.transaction import parse_envelope
from common.node.logic.execution.executor import BlockInvalid, Executor
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.store import schema
from common.node.store.chain_reader import ChainReader
from common.node.store.chain_store import ChainStore
from common.node.store.storage import KeyValueStore
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore, StoreFailed

Progress = Callable[[str, int, int], None]
"""(what is being done, how much is done, how much there is): called now and then during long work."""
PROGRESS_BLOCKS: Final = 200


def no_progress(what: str, done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where a rebuild ended, and why if before the tip: the damage, or a block that executes to something else."""

    chain: ChainStore
    damage: DamagedStore | None = None
    differs: str | None = None

    @property
    def height(self) -> int:
        """The last block taken."""
        return self.chain.tip().height


def rebuild(source: ChainReader, application: Application, target: KeyValueStore, progress: Progress) -> Rebuilt:
    """Take the source's blocks, from the first on, into an empty store. Raises StoreFailed if the disk refuses."""
    genesis = source.genesis
    chain = ChainStore(target, genesis)
    initialise_chain(chain, genesis, application)
    executor = Executor(genesis, application, chain)
    total = source.tip().height
    for height in range(1, total + 1):
        try:
            _take_block(source, height, chain, executor, last=height == total)
        except DamagedStore as damage:
            return Rebuilt(chain, damage=damage)
        except Gone as gone:
            return Rebuilt(chain, damage=DamagedStore(gone.detail, remedy=REMEDY_RESYNC))
        except StoreFailed:
            raise
        except (BlockInvalid, InvariantBroken) as error:
            return Rebuilt(chain, differs=f"block {height}: {error}")
        if height % PROGRESS_BLOCKS == 0:
            progress("executing blocks", height, total)
    target.write([], sync=True)
    return Rebuilt(chain)


def _take_block(source: ChainReader, height: int, chain: ChainStore, executor: Executor, *, last: bool) -> None:
    """One block on the rebuilt tip (B1). Raises DamagedStore, or BlockInvalid and InvariantBroken if it executes to
    something else.
    """
    suite = chain.genesis.suite
    block, certificate = source.block(height), source.certificate(height)
    header = block.header
    if (header.height, header.parent_id) != (height, chain.tip().block_id):
        _refuse(f"header {height} does not follow the one before it", schema.header(height))
    try:
        verify_certificate(suite, chain.validators(height), header, certificate)
        block.check_body(suite)
        transactions = [parse_envelope(envelope, suite) for envelope in block.envelopes]
    except Rejected as error:
        _refuse(f"block {height} does not hold: {error}", schema.certificate(height))
    executor.check_header(header, [tx.envelope_hash for tx in transactions])
    execution = executor.execute(header.time_ms, transactions)
    executor.check_results(header, execution)
    writes = chain.prepare_commit(
        block=block,
        certificate=certificate,
        transactions=execution.transactions,
        receipts=execution.all_receipts,
        snapshots=execution.snapshots,
        state_changes=execution.state_changes,
        index_changes=execution.index_changes,
        tree_update=execution.tree_update,
        validators_next=execution.next_validators if execution.changes_validators else None,
        vote_log_mark=b"",
    )
    chain.store.write(writes, sync=last)
    chain.committed(height)
    executor.forget()


def _refuse(what: str, key: bytes) -> NoReturn:
    raise DamagedStore(what, key=key, remedy=REMEDY_RESYNC)

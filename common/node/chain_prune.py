"""Pruning: gives up the content of old blocks and the past of the state, never what proves the chain.

Kept for ever: headers, certificates, validator sets, where each transaction, nonce and object revision is. Given up
below a height: envelopes, receipts, snapshots, and past values that held only before it. Reads below that height raise
`Gone` (HTTP 410).

Invariants
  N1  The floor moves first, in a synced write of its own, so a crash leaves entries too many, never too few; the next
      pruning removes them, because it starts where this one did.
  N2  Work is done in bounded batches, and may be stopped between any two.

Left out: when to prune (an operator's decision; by default nothing is pruned).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from common.core.errors import RuleBroken
from common.node import schema
from common.node.chain_store import ChainStore

BATCH_ENTRIES: Final = 1000


def prune(chain: ChainStore, below: int) -> int:
    """Give up what belongs to heights below `below` alone; returns how many entries were removed.

    Call it from the thread that commits. Raises RuleBroken('prune_above_tip') if the tip itself would be given up.
    """
    if below > chain.tip().height:
        raise RuleBroken("prune_above_tip", "the newest block cannot be pruned", below=below, tip=chain.tip().height)
    if below > chain.pruning_floor():
        chain.store.write([(schema.PRUNED, schema.u64(below))], sync=True)
        chain.floor_moved(below)
    removed = 0
    batch: list[tuple[bytes, bytes | None]] = []
    for key in _superfluous(chain, below):
        batch.append((key, None))
        if len(batch) == BATCH_ENTRIES:
            chain.store.write(batch, sync=False)
            removed += len(batch)
            batch = []
    chain.store.write(batch, sync=True)
    return removed + len(batch)


def _superfluous(chain: ChainStore, below: int) -> Iterator[bytes]:
    """Keys of what no read at or above `below` needs."""
    for kind in (schema.ENVELOPES, schema.RECEIPTS, schema.SNAPSHOTS):
        for key, _ in chain.store.scan(kind):
            if key >= kind + schema.u64(below):
                break
            yield key
    for key, _ in chain.store.scan(schema.HISTORY):
        if schema.read_u64(key, len(key) - 8) <= below:
            yield key
    for key, value in chain.store.scan(schema.DELETED):
        if schema.read_u64(value) <= below:
            yield key

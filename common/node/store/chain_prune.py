"""Pruning: gives up the content of old blocks and the past of the state, never what proves the chain.

Kept for ever: headers, certificates, validator sets, where each transaction, nonce and object revision is. Given up
below a height: envelopes, snapshots, changes, past values and trees that held only before it, and receipts unless they
are to stay. Reads
below that height raise `Gone` (HTTP 410).

A business chain's blocks may go once the custody chain has anchored them: then their snapshots are in its blocks. That
is proven by evidence (`Anchored`), which the caller has verified against the user's own trust root for the custody
chain; here it is held against this chain's block id. A custody chain's own blocks are anchored nowhere, and stay.

Invariants
  N1  The floor moves first, in a synced write of its own, so a crash leaves entries too many, never too few; the next
      pruning removes them, because it starts where this one did.
  N2  Work is done in bounded batches, and may be stopped between any two.
  N3  The newest `keep_blocks` blocks stay, and an archive stays whole, whatever is asked for.

Left out: verifying evidence (command line; `crosslink.lightclient` lies beside this package, not below it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from common.core.errors import Conflict, Forbidden, RuleBroken
from common.node.settings import StorageSettings
from common.node.store import schema
from common.node.store.chain_store import ChainStore
from common.node.store.key_records import Floors

BATCH_ENTRIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the custody chain is proven to hold of this chain: every block up to `height`, whose id is `block_id`."""

    network: str
    height: int
    block_id: bytes


def check_prunable(chain: ChainStore, keep_from: int, storage: StorageSettings, anchored: Anchored) -> None:
    """Whether blocks below `keep_from` may be given up (N3).

    Raises Forbidden('prune_archive', 'prune_custody'), RuleBroken('prune_window', 'prune_not_anchored'), or
    Conflict('prune_other_chain') if the custody chain has anchored another block than ours at that height.
    """
    if chain.genesis.tier != "business":
        raise Forbidden("prune_custody", "the custody chain's blocks are the record of all regions; they stay")
    if storage.archive:
        raise Forbidden("prune_archive", "storage.archive is set: this node keeps every block")
    tip = chain.tip().height
    latest = tip - storage.keep_blocks + 1
    if keep_from > latest:
        remedy = (
            f"keep from {latest} on at the latest" if latest > 1 else f"with {tip} blocks there is nothing to give up"
        )
        raise RuleBroken(
            "prune_window",
            f"the newest blocks stay, storage.keep_blocks = {storage.keep_blocks} of them: {remedy}",
            tip=tip,
        )
    if anchored.network != chain.genesis.network:
        raise Conflict("prune_other_chain", "the proof is about another network", network=anchored.network)
    if anchored.height <= tip and chain.block_id(anchored.height) != anchored.block_id:
        raise Conflict(
            "prune_other_chain",
            "the custody chain has anchored another block than this node has at that height",
            height=anchored.height,
        )
    if not anchored.height <= tip or keep_from > anchored.height + 1:
        raise RuleBroken(
            "prune_not_anchored",
            "the proof does not show that every block below is anchored, or is about blocks this node lacks",
            keep_from=keep_from,
            anchored_height=anchored.height,
            tip=tip,
        )


def prune(
    chain: ChainStore,
    below: int,
    *,
    keep_receipts: bool = False,
    say: Callable[[int], None] = lambda removed: None,
) -> int:
    """Give up what belongs to heights below `below` alone; returns how many entries were removed.

    Call it from the thread that commits; `say` is told the number so far. Raises RuleBroken('prune_above_tip') if the
    tip itself would be given up.
    """
    if below > chain.tip().height:
        raise RuleBroken("prune_above_tip", "the newest block cannot be pruned", below=below, tip=chain.tip().height)
    old = chain.floors
    floor = max(below, old.content)
    receipt_floor = old.receipts if keep_receipts else max(below, old.receipts)
    floors = Floors(floor, receipt_floor, None if old.proofs is None else max(floor, old.proofs))
    chain.move_floors(floors)
    return _remove(chain, _superfluous(chain, floors), say)


def keep_past_trees(chain: ChainStore, keep: bool, say: Callable[[int], None] = lambda removed: None) -> None:
    """Keep the state trees of heights from the tip on, or give up all but the tip's; nothing if that is so already.

    What a stopped process left of trees that were given up goes first, so that no gap stays unseen (N1).
    """
    if not keep or chain.floors.proofs is None:
        chain.move_floors(replace(chain.floors, proofs=None))
        _remove(chain, (key for key, _ in chain.store.scan(schema.PAST_TREE)), say)
    if keep and chain.floors.proofs is None:
        chain.move_floors(replace(chain.floors, proofs=chain.tip().height))


def _remove(chain: ChainStore, keys: Iterator[bytes], say: Callable[[int], None]) -> int:
    """Remove entries in bounded batches (N2); returns how many."""
    removed = 0
    batch: list[tuple[bytes, bytes | None]] = []
    for key in keys:
        batch.append((key, None))
        if len(batch) == BATCH_ENTRIES:
            chain.store.write(batch, sync=False)
            removed += len(batch)
            say(removed)
            batch = []
    chain.store.write(batch, sync=True)
    return removed + len(batch)


def _superfluous(chain: ChainStore, floors: Floors) -> Iterator[bytes]:
    """Keys of what no read at or above the floors needs."""
    floor = floors.content
    by_height = ((schema.ENVELOPES, floor), (schema.SNAPSHOTS, floor), (schema.CHANGES, floor))
    for kind, lowest in (*by_height, (schema.RECEIPTS, floors.receipts)):
        for key, _ in chain.store.scan(kind):
            if key >= kind + schema.u64(lowest):
                break
            yield key
    for kind, lowest in ((schema.HISTORY, floor), (schema.PAST_TREE, floors.proofs or 0)):
        for key, _ in chain.store.scan(kind):
            if schema.read_u64(key, len(key) - 8) <= lowest:
                yield key
    for key, value in chain.store.scan(schema.DELETED):
        if schema.read_u64(value) <= floor:
            yield key

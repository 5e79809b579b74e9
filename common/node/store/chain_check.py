"""Checks of a stored chain: what every start verifies before anything is served, and the long audit of `doctor`.

Invariants
  D1  The tip record, the newest header and the state tree's root say the same, or the store does not open
      (`records.read_tip`, `StateTree`).
  D2  The last headers form a chain, each with a certificate that holds under the validator set stored for its height.
  D3  Nothing is stored above the tip: a batch is applied completely, so remains would mean a mixed database.
  D4  The deep audit recomputes every root from bodies, receipts, snapshots, changes and state values.

Everything wrong raises DamagedStore with a remedy (attack S2). Left out: the vote log (`vote_log.check_vote_log`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from common.core.block import Block
from common.core.certificate import verify_certificate
from common.core.changes import change_root
from common.core.errors import Rejected
from common.core.receipt import receipt_root
from common.core.snapshot import snapshot_root
from common.core.state_proof import empty_root, value_hash
from common.node.store import schema
from common.node.store.chain_reader import ChainReader
from common.node.store.memory_store import MemoryStore
from common.node.store.past_tree import check_past_trees
from common.node.store.state_tree import StateTree
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore

_AUDIT_BATCH = 5000


def _damaged(what: str, key: bytes | None = None) -> NoReturn:
    raise DamagedStore(what, key=key, remedy=REMEDY_RESYNC)


def check_chain(chain: ChainReader, *, headers: int, deep: bool) -> None:
    """D2 and D3 over the last `headers` blocks; with `deep`, D2 over all blocks and D4."""
    tip = chain.tip()
    lowest = 1 if deep else max(1, tip.height - headers + 1)
    parent_id = chain.block_id(lowest - 1) if tip.height else chain.genesis.id
    for height in range(lowest, tip.height + 1):
        parent_id = check_link(chain, height, parent_id)
    if parent_id != tip.block_id:
        _damaged("the tip is not the end of the chain of headers", schema.TIP)
    for kind in schema.BY_HEIGHT:
        for key, _ in chain.view.scan(kind, kind + schema.u64(tip.height + 1)):
            _damaged("an entry is stored above the tip", key)
    lowest_body = max(chain.pruning_floor(), 1) if deep else tip.height
    for height in range(max(lowest_body, 1), tip.height + 1):
        if height >= chain.pruning_floor():
            check_content(chain, height)
    if deep:
        check_state(chain)
        check_trees(chain)


def check_link(chain: ChainReader, height: int, parent_id: bytes) -> bytes:
    """One header on its parent, its certificate, its validator sets (D2); returns its id."""
    suite = chain.genesis.suite
    header, certificate = chain.header(height), chain.certificate(height)
    if header.height != height or header.parent_id != parent_id:
        _damaged(f"header {height} does not follow the one before it", schema.header(height))
    if header.genesis_id != chain.genesis.id or header.network != chain.genesis.network:
        _damaged(f"header {height} belongs to another chain", schema.header(height))
    try:
        verify_certificate(suite, chain.validators(height), header, certificate)
    except Rejected as error:
        _damaged(f"the certificate of block {height} does not hold: {error}", schema.certificate(height))
    if header.next_validators_hash != chain.validators(height + 1).hash(suite):
        _damaged(f"the validators after block {height} are not those of its header", schema.validators(height + 1))
    return certificate.block_id


def check_content(chain: ChainReader, height: int) -> None:
    """The body, receipts and snapshots of a block against its header's roots (D4)."""
    suite = chain.genesis.suite
    block: Block = chain.block(height)
    header = block.header
    try:
        block.check_body(suite)
    except Rejected as error:
        _damaged(f"the body of block {height} does not match its header: {error}", schema.envelopes(height))
    if receipt_root(suite, chain.all_receipts(height)) != header.receipt_root:
        _damaged(f"the receipts of block {height} do not match its header", schema.receipts(height))
    if snapshot_root(suite, chain.snapshots(height)) != header.snapshot_root:
        _damaged(f"the snapshots of block {height} do not match its header", schema.snapshots(height))
    changes = {key: None if value is None else value_hash(suite, value) for key, value in chain.changes(height)}
    if (change_root(suite, changes), len(changes)) != (header.change_root, header.change_count):
        _damaged(f"the changes of block {height} do not match its header", schema.changes(height))


def check_trees(chain: ChainReader, progress: Callable[[int], None] = lambda height: None) -> None:
    """Every kept tree of the past, given that the tip's is whole (D4); `progress` is told heights."""
    check_past_trees(
        chain.view,
        chain.genesis.suite,
        chain.proof_floor(),
        chain.tip().height,
        lambda height: chain.header(height).state_root,
        progress,
    )


def check_state(chain: ChainReader) -> None:
    """Rebuild the tree from the state's values; its root, and every stored node, must be the tip's (D4)."""
    suite, store = chain.genesis.suite, MemoryStore()
    tree = StateTree(store, suite, empty_root(suite))
    start_after: bytes | None = None
    while True:
        entries = chain.state_scan(b"", start_after, _AUDIT_BATCH)
        if not entries:
            break
        update = tree.apply(dict(entries))
        store.write(update.writes, sync=False)
        tree.advance(update)
        start_after = entries[-1][0]
    if tree.root != chain.tip().state_root:
        _damaged("the state's values do not have the tip's root", schema.STATE)
    count = 0
    for key, node in chain.view.scan(schema.TREE):
        count += 1
        if store.get(key) != node:
            _damaged("a node of the state tree does not belong to it", key)
    if count != sum(1 for _ in store.scan(schema.TREE)):
        _damaged("a node of the state tree is missing", schema.TREE)

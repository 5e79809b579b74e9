"""Checks of a stored chain: what every start verifies before anything is served, and the long audit of `doctor`.

Invariants
  D1  The tip record, the newest header and the state tree's root say the same, or the store does not open (`read_tip`,
      `StateTree`).
  D2  The last headers form a chain, each with a certificate that holds under the validator set stored for its height.
  D3  Nothing is stored above the tip: a batch is applied completely, so remains would mean a mixed database.
  D4  The deep audit recomputes every root from bodies, receipts, snapshots and state values.

Everything wrong raises DamagedStore with a remedy (attack S2). Left out: the vote log (`vote_log.check_vote_log`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NoReturn

from common.core.block import Block
from common.core.certificate import Certificate, verify_certificate
from common.core.errors import Rejected
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.receipt import receipt_root
from common.core.snapshot import snapshot_root
from common.core.state_proof import empty_root
from common.node.store import schema
from common.node.store.chain_reader import ChainReader, Tip
from common.node.store.memory_store import MemoryStore
from common.node.store.state_tree import StateTree
from common.node.store.storage import ReadView
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore, WrongDatabase

if TYPE_CHECKING:
    from common.node.store.chain_store import ChainStore

_AUDIT_BATCH = 5000


def _damaged(what: str, key: bytes | None = None) -> NoReturn:
    raise DamagedStore(what, key=key, remedy=REMEDY_RESYNC)


def read_tip(store: ReadView, genesis: Genesis) -> Tip | None:
    """The tip of a stored chain, or None if the store is empty. Raises WrongDatabase or DamagedStore (D1)."""
    version = store.get(schema.VERSION)
    if version is None:
        if next(store.scan(b""), None) is not None:
            _damaged("the database holds data but does not say of which version", schema.VERSION)
        return None
    if schema.read_version(version) != schema.DB_VERSION:
        raise WrongDatabase(
            f"the database has layout version {schema.read_version(version)}, this program uses version "
            f"{schema.DB_VERSION}: run the program that wrote it, or start with an empty data directory"
        )
    stored_genesis = store.get(schema.GENESIS)
    if stored_genesis != genesis.id:
        raise WrongDatabase(
            f"the database belongs to genesis {(stored_genesis or b'').hex()}, not to {genesis.id.hex()} of network "
            f"{genesis.network}: set data_dir and genesis_file to the same chain"
        )
    value = store.get(schema.TIP)
    if value is None:
        _damaged("the tip is missing", schema.TIP)
    try:
        height, block_id, time_ms, state_root = schema.read_tip(value)
        if height == 0:
            if block_id != genesis.id:
                _damaged("the tip at height 0 is not genesis", schema.TIP)
            return Tip(0, None, block_id, None, time_ms, state_root)
        header = Header.decode(store.get(schema.header(height)) or b"")
        certificate = Certificate.decode(store.get(schema.certificate(height)) or b"")
        tip = Tip(height, header, header.id(genesis.suite), certificate, header.time_ms, header.state_root)
    except (Rejected, struct.error) as error:
        raise DamagedStore(f"the tip is unreadable: {error}", key=schema.TIP, remedy=REMEDY_RESYNC) from error
    if (tip.block_id, tip.time_ms, tip.state_root, header.height) != (block_id, time_ms, state_root, height):
        _damaged("the tip names another block than the newest header", schema.TIP)
    return tip


def read_floor(store: ReadView) -> int:
    """The lowest height whose content is kept. Raises DamagedStore."""
    value = store.get(schema.PRUNED)
    if value is not None and len(value) != len(schema.u64(0)):
        _damaged("the record of what was pruned is unreadable", schema.PRUNED)
    return 0 if value is None else schema.read_u64(value)


def check_chain(chain: ChainStore, *, headers: int, deep: bool) -> None:
    """D2 and D3 over the last `headers` blocks; with `deep`, D2 over all blocks and D4."""
    tip = chain.tip()
    lowest = 1 if deep else max(1, tip.height - headers + 1)
    parent_id = chain.block_id(lowest - 1) if tip.height else chain.genesis.id
    for height in range(lowest, tip.height + 1):
        parent_id = check_link(chain, height, parent_id)
    if parent_id != tip.block_id:
        _damaged("the tip is not the end of the chain of headers", schema.TIP)
    for kind in (schema.HEADERS, schema.CERTIFICATES, schema.ENVELOPES, schema.RECEIPTS, schema.SNAPSHOTS):
        for key, _ in chain.view.scan(kind, kind + schema.u64(tip.height + 1)):
            _damaged("an entry is stored above the tip", key)
    lowest_body = max(chain.pruning_floor(), 1) if deep else tip.height
    for height in range(max(lowest_body, 1), tip.height + 1):
        if height >= chain.pruning_floor():
            check_content(chain, height)
    if deep:
        check_state(chain)


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

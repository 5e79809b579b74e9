"""What a block puts into the database besides state and history: body, receipts, snapshots, places, tree nodes, tip.

Each function adds to the batch that commits the block. Left out: the batch as a whole and its order (`chain_store.py`),
state values and their history (there too), keys (`schema.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.core.block import Block
from common.core.errors import InvariantBroken
from common.core.receipt import Receipt
from common.core.transaction import SignedTransaction
from common.node.store import schema
from common.node.store.key_records import Tip
from common.node.store.pages import write_pages
from common.node.store.state_tree import TreeUpdate
from common.node.store.stored_receipt import encode_receipt

Writes = list[tuple[bytes, bytes | None]]


def put_transactions(
    writes: Writes, block: Block, transactions: Sequence[SignedTransaction], receipts: Sequence[Receipt]
) -> None:
    """Envelopes, receipts, and where each transaction and nonce is."""
    height = block.header.height
    of_transactions = [receipt for receipt in receipts if not receipt.of_block]
    if not block.header.tx_count == len(block.envelopes) == len(of_transactions):
        raise InvariantBroken(f"block {height} has {len(block.envelopes)} envelopes and {len(receipts)} receipts")
    if tuple([tx.envelope for tx in transactions]) != block.envelopes:
        raise InvariantBroken(f"block {height} was committed with the transactions of another block")
    if block.header.receipt_count != len(receipts):
        raise InvariantBroken(f"block {height} has other receipts than its header counts")
    for index, tx in enumerate(transactions):
        place = schema.place_value(height, index)
        writes.append((schema.transaction(tx.id), place))
        writes.append((schema.used_nonce(tx.signers[0], tx.nonce), place))
    writes.extend([(schema.envelope(height, first), page) for first, page in write_pages(block.envelopes)])
    stored = [encode_receipt(receipt) for receipt in receipts]
    writes.extend([(schema.receipt(height, first), page) for first, page in write_pages(stored)])


def put_snapshots(writes: Writes, block: Block, receipts: Sequence[Receipt], snapshots: Sequence[bytes]) -> None:
    """Snapshots, and for each object where its revisions are; receipts list the objects in the snapshots' order."""
    height = block.header.height
    objects = [pair for receipt in receipts for pair in receipt.objects]
    if not block.header.snapshot_count == len(snapshots) == len(objects):
        raise InvariantBroken(f"block {height} has {len(snapshots)} snapshots of {len(objects)} objects")
    writes.extend(schema.revisions_of_block(height, objects))
    writes.extend([(schema.snapshot(height, first), page) for first, page in write_pages(snapshots)])


def put_index(writes: Writes, changes: Mapping[bytes, bytes | None]) -> None:
    """Index entries."""
    writes.extend([(schema.index(key), value) for key, value in changes.items()])


def put_rest(writes: Writes, tip: Tip, update: TreeUpdate) -> None:
    """Tree nodes, and the tip."""
    writes.extend(update.writes)
    writes.append((schema.TIP, schema.tip_value(tip.height, tip.block_id, tip.time_ms, tip.state_root)))

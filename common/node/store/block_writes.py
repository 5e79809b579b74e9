"""What a block puts into the database besides state and history: body, receipts, snapshots, places, tree nodes, tip.

Each function adds to the batch that commits the block. Left out: the batch as a whole and its order (`chain_store.py`),
state values and their history (there too), keys (`schema.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from common.core.block import Block
from common.core.errors import InvariantBroken
from common.core.receipt import Receipt
from common.node.store import schema
from common.node.store.key_records import Tip
from common.node.store.pages import write_pages
from common.node.store.state_tree import TreeUpdate
from common.node.store.stored_receipt import encode_receipt

Writes = list[tuple[bytes, bytes | None]]


class _SignedPart(msgspec.Struct):
    nonce: str
    signers: list[str]


class _EnvelopePart(msgspec.Struct):
    transaction: _SignedPart


_envelope_decoder: Final = msgspec.json.Decoder(_EnvelopePart)


def put_transactions(writes: Writes, block: Block, receipts: Sequence[Receipt]) -> None:
    """Envelopes, receipts, and where each transaction and nonce is."""
    height = block.header.height
    of_transactions = [receipt for receipt in receipts if not receipt.of_block]
    if not block.header.tx_count == len(block.envelopes) == len(of_transactions):
        raise InvariantBroken(f"block {height} has {len(block.envelopes)} envelopes and {len(receipts)} receipts")
    if block.header.receipt_count != len(receipts):
        raise InvariantBroken(f"block {height} has other receipts than its header counts")
    for index, (envelope, receipt) in enumerate(zip(block.envelopes, of_transactions, strict=True)):
        place = schema.place_value(height, index)
        signed = _envelope_decoder.decode(envelope).transaction
        writes.append((schema.transaction(receipt.tx_id), place))
        writes.append((schema.used_nonce(signed.signers[0], signed.nonce), place))
    writes.extend([(schema.envelope(height, first), page) for first, page in write_pages(block.envelopes)])
    stored = [encode_receipt(receipt) for receipt in receipts]
    writes.extend([(schema.receipt(height, first), page) for first, page in write_pages(stored)])


def put_snapshots(writes: Writes, block: Block, receipts: Sequence[Receipt], snapshots: Sequence[bytes]) -> None:
    """Snapshots, and for each object where its revisions are; receipts list the objects in the snapshots' order."""
    height = block.header.height
    objects = [pair for receipt in receipts for pair in receipt.objects]
    if not block.header.snapshot_count == len(snapshots) == len(objects):
        raise InvariantBroken(f"block {height} has {len(snapshots)} snapshots of {len(objects)} objects")
    for index, (object_id, version) in enumerate(objects):
        writes.append((schema.object_revision(object_id, height, index), schema.u64(version)))
    writes.extend([(schema.snapshot(height, first), page) for first, page in write_pages(snapshots)])


def put_rest(writes: Writes, tip: Tip, index_changes: Mapping[bytes, bytes | None], update: TreeUpdate) -> None:
    """Index entries, tree nodes, and the tip."""
    writes.extend([(schema.index(key), value) for key, value in index_changes.items()])
    writes.extend(update.writes)
    writes.append((schema.TIP, schema.tip_value(tip.height, tip.block_id, tip.time_ms, tip.state_root)))

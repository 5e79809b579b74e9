"""The content of `crosslink.submit`: what a relay delivers, and what the custody chain parses.

One entry is one block, or the continuation of the block that is partly delivered::

    {"header": hex, "snapshots": [{"index": i, "data": "<the exact text>" | "data_hex": hex, "proof": hex?}]}
    {"height": h, "snapshots": [...]}

Header and proofs belong to the region's client type. `data_hex` is for objects whose bytes are no UTF-8 text: a foreign
chain commits what it likes, and what it committed is what is delivered.

Invariants:
  D1  The shape says nothing about truth: `verify` decides. Unknown fields, wrong types and sizes are refused here
      (attack E2).
  D2  Within an entry indexes ascend by one, and either every snapshot has a proof or none has; only a whole block may
      come without (attack R6: nothing is left out, reordered or doubled).
  D3  An object's bytes have one spelling.

Left out: the order of entries against the chain's state (custody chain), the choice of chunks (relay planner).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from common.core.errors import Malformed
from common.core.names import check_network
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.port import Delivered, LightClient

SUBMIT = "crosslink.submit"
MISBEHAVIOUR = "crosslink.misbehaviour"

MAX_OPERATION_BYTES = 1_500_000
"""Canonical size of one `crosslink.submit`: fits an envelope (2 MiB) and a custody block (2 MB) with room to spare."""

MAX_BLOCKS = 256
"""Entries of one operation: 256 certificates of four are 40 ms of signature checks at every custody validator."""

MAX_SNAPSHOTS = 4096
"""Snapshots of one operation: more than fit at 300 bytes each."""

MAX_HEADER_BYTES = 256 * 1024
"""An opaque header: two sets of 100 validators with long names (96 KiB each) beside header and certificate."""

MAX_PROOF_BYTES = 4096
"""An opaque proof of one object: 32 hashes of 64 bytes, twice."""


@dataclass(frozen=True, slots=True)
class SnapshotItem:
    """One delivered snapshot: its index in the block, its exact bytes, its proof (None: the whole block is
    delivered)."""

    index: int
    data: bytes
    proof: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """The form inside an operation."""
        item: dict[str, Any] = {"index": self.index, **data_document(self.data)}
        if self.proof is not None:
            item["proof"] = self.proof.hex()
        return item


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDelivery:
    """One entry. A continuation has `height` and no header; otherwise `height` is None."""

    header: bytes | None = None
    height: int | None = None
    snapshots: tuple[SnapshotItem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The form inside an operation."""
        entry: dict[str, Any] = {"snapshots": [item.to_json() for item in self.snapshots]}
        if self.header is None:
            entry["height"] = self.height
        else:
            entry["header"] = self.header.hex()
        return entry


@dataclass(frozen=True, slots=True)
class Delivery:
    """A parsed `crosslink.submit`."""

    region: str
    blocks: tuple[BlockDelivery, ...]

    def to_operation(self) -> dict[str, Any]:
        """The operation that a transaction carries."""
        return {"type": SUBMIT, "region": self.region, "blocks": [block.to_json() for block in self.blocks]}


@dataclass(frozen=True, slots=True, kw_only=True)
class MisbehaviourDelivery:
    """A parsed `crosslink.misbehaviour`: two opaque headers."""

    region: str
    first: bytes
    second: bytes

    def to_operation(self) -> dict[str, Any]:
        """The operation that a transaction carries."""
        return {"type": MISBEHAVIOUR, "region": self.region, "first": self.first.hex(), "second": self.second.hex()}


def parse_submit(operation: dict[str, Any]) -> Delivery:
    """Parse a `crosslink.submit`. Raises `Malformed` or `TooLarge` (invariants D1 to D3)."""
    fields = Fields(operation, SUBMIT)
    fields.any("type")
    region = check_network(fields.any("region"))
    blocks = tuple(_block(item) for item in fields.list("blocks", max_count=MAX_BLOCKS))
    fields.end()
    if not blocks:
        raise Malformed("delivery_empty", "A delivery has at least one block.")
    if sum(len(block.snapshots) for block in blocks) > MAX_SNAPSHOTS:
        raise Malformed("delivery_too_large", f"A delivery has at most {MAX_SNAPSHOTS} snapshots.", limit=MAX_SNAPSHOTS)
    return Delivery(region, blocks)


def parse_misbehaviour(operation: dict[str, Any]) -> MisbehaviourDelivery:
    """Parse a `crosslink.misbehaviour`. Raises `Malformed` or `TooLarge`."""
    fields = Fields(operation, MISBEHAVIOUR)
    fields.any("type")
    delivery = MisbehaviourDelivery(
        region=check_network(fields.any("region")),
        first=fields.hex("first", max_size=MAX_HEADER_BYTES),
        second=fields.hex("second", max_size=MAX_HEADER_BYTES),
    )
    fields.end()
    return delivery


def _block(item: Any) -> BlockDelivery:
    fields = Fields(item, "block")
    snapshots = tuple(_snapshot(entry) for entry in fields.list("snapshots", max_count=MAX_SNAPSHOTS))
    _check_items(snapshots)
    if fields.has("height"):
        block = BlockDelivery(height=fields.integer("height", minimum=1), snapshots=snapshots)
    else:
        block = BlockDelivery(header=fields.hex("header", max_size=MAX_HEADER_BYTES), snapshots=snapshots)
    fields.end()
    return block


def _snapshot(item: Any) -> SnapshotItem:
    fields = Fields(item, "snapshot")
    index = fields.integer("index", maximum=2**32 - 1)
    data = read_data(fields, max_size=MAX_OPERATION_BYTES)
    proof = fields.hex("proof", max_size=MAX_PROOF_BYTES) if fields.has("proof") else None
    fields.end()
    return SnapshotItem(index, data, proof)


def data_document(data: bytes) -> dict[str, str]:
    """An object's bytes as the members of a JSON object: text where they are UTF-8, else hex (D3)."""
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_hex": data.hex()}


def read_data(fields: Fields, *, max_size: int) -> bytes:
    """The inverse of `data_document`; at most `max_size` characters or bytes. Raises `Malformed` or `TooLarge`."""
    if not fields.has("data_hex"):
        try:
            return fields.text("data", max_size=max_size).encode()
        except UnicodeEncodeError:
            raise Malformed("snapshot_text", "A snapshot's text holds half of a surrogate pair.") from None
    data = fields.hex("data_hex", max_size=max_size)
    if "data" in data_document(data):
        raise Malformed("snapshot_text", "A snapshot that is UTF-8 text is delivered as text.")
    return data


def _check_items(items: Sequence[SnapshotItem]) -> None:
    for previous, item in pairwise(items):
        if item.index != previous.index + 1:
            raise Malformed("snapshot_order", "Indexes within a block ascend by one.", index=item.index)
        if (item.proof is None) != (previous.proof is None):
            raise Malformed("snapshot_proofs_mixed", "Either every snapshot of an entry has a proof or none has.")


def verify_items(client: LightClient, commitments: bytes, next_index: int, items: Sequence[SnapshotItem]) -> Delivered:
    """Check an entry's snapshots against a *verified* block's commitments, from the index that is due.

    Raises `Malformed('snapshot_order')` if they start elsewhere (attack R6), or as the client's `verify_objects`.
    """
    start = items[0].index if items else next_index
    if start != next_index:
        raise Malformed("snapshot_order", "Snapshots are delivered in order.", index=start, expected=next_index)
    proofs = None
    if items and items[0].proof is not None:
        proofs = [item.proof or b"" for item in items]
    return client.verify_objects(commitments, start, [item.data for item in items], proofs)

"""The content of `crosslink.submit`: what a relay delivers, and what the custody chain parses.

One entry is one block, or the continuation of the block that is partly delivered::

    {"header": hex, "certificate": hex, "next_validators": hex?,
     "snapshots": [{"index": i, "data": "<the exact text>", "proof": [hex, …]?}]}
    {"height": h, "snapshots": [...]}

Invariants:
  D1  The shape says nothing about truth: `verify` decides. Unknown fields, wrong types and sizes are refused here
      (attack E2).
  D2  Within an entry indexes ascend by one, and either every snapshot has a proof or none has; only a whole block may
      come without (attack R6: nothing is left out, reordered or doubled).

Left out: the order of entries against the chain's state (custody chain), the choice of chunks (relay planner).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from common.core.certificate import MAX_CERTIFICATE_BYTES
from common.core.errors import Malformed
from common.core.header import MAX_HEADER_BYTES, Header
from common.core.names import check_network
from common.core.suite import HASH_SIZE, Suite
from crosslink.lightclient.fields import Fields, hex_list
from crosslink.lightclient.messages import MAX_VALIDATORS_BYTES
from crosslink.lightclient.verify import verify_snapshots

SUBMIT = "crosslink.submit"
MISBEHAVIOUR = "crosslink.misbehaviour"

MAX_OPERATION_BYTES = 1_500_000
"""Canonical size of one `crosslink.submit`: fits an envelope (2 MiB) and a custody block (2 MB) with room to spare."""

MAX_BLOCKS = 256
"""Entries of one operation: 256 certificates of four are 40 ms of signature checks at every custody validator."""

MAX_SNAPSHOTS = 4096
"""Snapshots of one operation: more than fit at 300 bytes each."""

MAX_PROOF_ITEMS = 32
"""Height of a tree with 2^32 leaves, which is what `snapshot_count` can say."""


@dataclass(frozen=True, slots=True)
class SnapshotItem:
    """One delivered snapshot: its index in the block, its exact bytes, its audit path (None: the whole block is
    delivered)."""

    index: int
    data: bytes
    proof: tuple[bytes, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The form inside an operation."""
        item: dict[str, Any] = {"index": self.index, "data": self.data.decode()}
        if self.proof is not None:
            item["proof"] = [sibling.hex() for sibling in self.proof]
        return item


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDelivery:
    """One entry. A continuation has `height` and no header; otherwise `height` is None and the rest are encoded
    bytes."""

    header: bytes | None = None
    certificate: bytes = b""
    next_validators: bytes | None = None
    height: int | None = None
    snapshots: tuple[SnapshotItem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The form inside an operation."""
        entry: dict[str, Any] = {"snapshots": [item.to_json() for item in self.snapshots]}
        if self.header is None:
            entry["height"] = self.height
            return entry
        entry["header"] = self.header.hex()
        entry["certificate"] = self.certificate.hex()
        if self.next_validators is not None:
            entry["next_validators"] = self.next_validators.hex()
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
    """A parsed `crosslink.misbehaviour`: (header, certificate) twice, and the set of that height if it is not the
    current one."""

    region: str
    first: tuple[bytes, bytes]
    second: tuple[bytes, bytes]
    validators: bytes | None = None

    def to_operation(self) -> dict[str, Any]:
        """The operation that a transaction carries."""
        operation: dict[str, Any] = {"type": MISBEHAVIOUR, "region": self.region}
        for name, (header, certificate) in (("first", self.first), ("second", self.second)):
            operation[name] = {"header": header.hex(), "certificate": certificate.hex()}
        if self.validators is not None:
            operation["validators"] = self.validators.hex()
        return operation


def parse_submit(operation: dict[str, Any]) -> Delivery:
    """Parse a `crosslink.submit`. Raises `Malformed` or `TooLarge` (invariants D1, D2)."""
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
    region = check_network(fields.any("region"))
    pairs = []
    for name in ("first", "second"):
        pair = fields.object(name)
        pairs.append(
            (pair.hex("header", max_size=MAX_HEADER_BYTES), pair.hex("certificate", max_size=MAX_CERTIFICATE_BYTES))
        )
        pair.end()
    validators = fields.hex("validators", max_size=MAX_VALIDATORS_BYTES) if fields.has("validators") else None
    fields.end()
    return MisbehaviourDelivery(region=region, first=pairs[0], second=pairs[1], validators=validators)


def _block(item: Any) -> BlockDelivery:
    fields = Fields(item, "block")
    snapshots = tuple(_snapshot(entry) for entry in fields.list("snapshots", max_count=MAX_SNAPSHOTS))
    _check_items(snapshots)
    if fields.has("height"):
        block = BlockDelivery(height=fields.integer("height", minimum=1), snapshots=snapshots)
    else:
        block = BlockDelivery(
            header=fields.hex("header", max_size=MAX_HEADER_BYTES),
            certificate=fields.hex("certificate", max_size=MAX_CERTIFICATE_BYTES),
            next_validators=(
                fields.hex("next_validators", max_size=MAX_VALIDATORS_BYTES) if fields.has("next_validators") else None
            ),
            snapshots=snapshots,
        )
    fields.end()
    return block


def _snapshot(item: Any) -> SnapshotItem:
    fields = Fields(item, "snapshot")
    index = fields.integer("index", maximum=2**32 - 1)
    try:
        data = fields.text("data", max_size=MAX_OPERATION_BYTES).encode()
    except UnicodeEncodeError:
        raise Malformed("snapshot_text", "A snapshot's text holds half of a surrogate pair.") from None
    proof = None
    if fields.has("proof"):
        proof = hex_list(fields.list("proof", max_count=MAX_PROOF_ITEMS), "snapshot.proof", size=HASH_SIZE)
    fields.end()
    return SnapshotItem(index, data, proof)


def _check_items(items: Sequence[SnapshotItem]) -> None:
    for previous, item in pairwise(items):
        if item.index != previous.index + 1:
            raise Malformed("snapshot_order", "Indexes within a block ascend by one.", index=item.index)
        if (item.proof is None) != (previous.proof is None):
            raise Malformed("snapshot_proofs_mixed", "Either every snapshot of an entry has a proof or none has.")


def verify_items(suite: Suite, header: Header, next_index: int, items: Sequence[SnapshotItem]) -> int:
    """Check an entry's snapshots against a *verified* header, from the index that is due; return the next index due.

    Raises `Malformed('snapshot_order')` if they start elsewhere (attack R6), or as `verify_snapshots`.
    """
    start = items[0].index if items else next_index
    if start != next_index:
        raise Malformed("snapshot_order", "Snapshots are delivered in order.", index=start, expected=next_index)
    proofs = None
    if items and items[0].proof is not None:
        proofs = [item.proof or () for item in items]
    verify_snapshots(suite, header, start, [item.data for item in items], proofs)
    return start + len(items)

"""Reading the chain from one moment of the store: blocks, receipts, snapshots, objects, state now and in the past.

Invariants
  Q1  A reader answers from one `ReadView`, so answers of one reader fit each other whatever is written meanwhile.
  Q2  What does not decode is damage (`DamagedStore`), not a client's fault: everything here was encoded by us, and the
      store has checked its checksums.
  Q3  The past: a value of the tip carries the height since which it holds; a past value is kept under the height until
      which it held. The value at height h is the tip's if it is old enough, else the first past one with until > h if
      its since <= h, else there was none. Each value is stored once.

Left out: writing (`chain_store.py`), trees (`state_tree.py`, `past_tree.py`), checks at start (`chain_check.py`).
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import Gone, NotFound, Rejected
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.receipt import Receipt
from common.core.state_proof import StateProof
from common.core.validators import ValidatorSet
from common.node.store import schema
from common.node.store.key_records import Floors, Tip
from common.node.store.pages import read_page
from common.node.store.past_tree import prove_at
from common.node.store.storage import ReadView
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore
from common.node.store.stored_receipt import decode_receipt

MAX_REVISIONS: Final = 10_000
"""Most revisions of an object that one call lists."""
SINCE_BYTES: Final = 8

Decoded = TypeVar("Decoded")


@dataclass(frozen=True, slots=True)
class TransactionLocation:
    """Where a transaction is: its block, and its index in it."""

    height: int
    index: int


class ChainReader:
    """One moment of the chain. Every method may raise DamagedStore besides what it says."""

    def __init__(self, view: ReadView, genesis: Genesis, tip: Tip, floors: Floors) -> None:
        self._view = view
        self._genesis = genesis
        self._tip = tip
        self._floors = floors

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis document."""
        return self._genesis

    @property
    def view(self) -> ReadView:
        """The moment that is read from."""
        return self._view

    def tip(self) -> Tip:
        """The last block of this moment."""
        return self._tip

    def pruning_floor(self) -> int:
        """The lowest height whose bodies and past states are kept; 0 if nothing was pruned."""
        return self._floors.content

    def receipt_floor(self) -> int:
        """The lowest height whose receipts are kept; at most `pruning_floor`."""
        return self._floors.receipts

    def proof_floor(self) -> int:
        """The lowest height at which a value or absence can be proven; the tip's, if past trees are not kept."""
        lowest = self._tip.height if self._floors.proofs is None else max(self._floors.content, self._floors.proofs)
        return min(lowest, self._tip.height)

    def header(self, height: int) -> Header:
        """The header of a block. Raises NotFound: height 0 has none."""
        self._check_height(height, 1)
        return self._decode(schema.header(height), Header.decode)

    def certificate(self, height: int) -> Certificate:
        """The certificate by which this node knows the block to be decided. Raises NotFound."""
        self._check_height(height, 1)
        return self._decode(schema.certificate(height), Certificate.decode)

    def wire_headers(self, first: int) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Header, certificate and, where it changes, the set after it, as wire bytes, from a height up to the tip."""
        if first > self._tip.height:
            return
        sets = self._view.scan(schema.VALIDATORS, schema.validators(first + 1))
        change = next(sets, None)
        headers = self._view.scan(schema.HEADERS, schema.header(first))
        certificates = self._view.scan(schema.CERTIFICATES, schema.certificate(first))
        for (key, header), (_, certificate) in zip(headers, certificates, strict=False):
            next_set = b""
            if change is not None and change[0] == schema.validators(schema.read_u64(key, 1) + 1):
                next_set, change = change[1], next(sets, None)
            yield header, certificate, next_set

    def block_id(self, height: int) -> bytes:
        """The id of a block; at height 0 the genesis id. Raises NotFound."""
        self._check_height(height, 0)
        if height == 0:
            return self._genesis.id
        if height == self._tip.height:
            return self._tip.block_id
        return self.header(height + 1).parent_id

    def block(self, height: int) -> Block:
        """Header and envelopes. Raises NotFound or Gone."""
        header = self.header(height)
        self._check_floor(height)
        return Block(header, self._sequence(schema.envelopes(height), header.tx_count))

    def envelope(self, height: int, index: int) -> bytes:
        """One envelope of a block. Raises NotFound or Gone."""
        self._check_height(height, 1)
        self._check_floor(height)
        return self._item(schema.envelopes(height), schema.envelope(height, index), "transaction")

    def receipts(self, height: int) -> list[Receipt]:
        """The receipts of a block's transactions, in order; none at height 0. Raises NotFound or Gone."""
        return [receipt for receipt in self.all_receipts(height) if not receipt.of_block]

    def block_receipt(self, height: int) -> Receipt | None:
        """The block's own receipt, if it made something by itself. Raises NotFound or Gone."""
        header = self.header(height)
        self._check_receipt_floor(height)
        return self._receipt(height, 0) if header.receipt_count > header.tx_count else None

    def all_receipts(self, height: int) -> list[Receipt]:
        """The leaves of the receipt root: the block's own receipt if it has one, then those of its transactions."""
        self._check_height(height, 0)
        if height == 0:
            return []
        self._check_receipt_floor(height)
        stored = self._sequence(schema.receipts(height), self.header(height).receipt_count)
        return [self._decoded(schema.receipt(height, at), data, decode_receipt) for at, data in enumerate(stored)]

    def receipt(self, height: int, index: int) -> Receipt:
        """The receipt of a block's transaction. Raises NotFound or Gone."""
        self._check_height(height, 1)
        self._check_receipt_floor(height)
        header = self.header(height)
        return self._receipt(height, index + header.receipt_count - header.tx_count)

    def _receipt(self, height: int, leaf: int) -> Receipt:
        key = schema.receipt(height, leaf)
        return self._decoded(key, self._item(schema.receipts(height), key, "receipt"), decode_receipt)

    def receipt_of(self, tx_id: bytes) -> Receipt | None:
        """The receipt of a committed transaction, or None if there is no such transaction. Raises Gone."""
        place = self.transaction(tx_id)
        return None if place is None else self.receipt(place.height, place.index)

    def snapshots(self, height: int) -> list[bytes]:
        """The snapshots of a block, in order; none at height 0. Raises NotFound or Gone."""
        self._check_height(height, 0)
        if height == 0:
            return []
        self._check_floor(height)
        return list(self._sequence(schema.snapshots(height), self.header(height).snapshot_count))

    def snapshot(self, height: int, index: int) -> bytes:
        """One snapshot of a block. Raises NotFound or Gone."""
        self._check_height(height, 1)
        self._check_floor(height)
        return self._item(schema.snapshots(height), schema.snapshot(height, index), "snapshot")

    def changes(self, height: int, first: int = 0) -> Iterator[tuple[bytes, bytes | None]]:
        """(key, value or None if it was removed) of what a block changed, ascending by key, height 0 included.

        `first` is the index to begin with. Raises NotFound or Gone.
        """
        self._check_past(height)
        block = schema.changes(height)
        lowest = schema.change(height, 0)
        start, _ = next(self._view.scan(block, schema.change(height, first), reverse=True), (lowest, b""))
        index = schema.page_first(start)
        for page_key, page in self._view.scan(block, start):
            if schema.page_first(page_key) != index:
                raise _damaged(page_key, f"a page follows {index} stored entries")
            keys = self._decoded(page_key, page, read_page)
            for key in keys[max(0, first - index) :]:
                yield key, self.state_at(key, height)
            index += len(keys)

    def transaction(self, tx_id: bytes) -> TransactionLocation | None:
        """Where a transaction was committed, or None."""
        return self._place(schema.transaction(tx_id))

    def used_nonce(self, signer: str, nonce: str) -> TransactionLocation | None:
        """Where the transaction is that used (first signer, nonce), or None (protocol rule 9)."""
        return self._place(schema.used_nonce(signer, nonce))

    def object_revisions(self, object_id: str, limit: int = MAX_REVISIONS) -> list[tuple[int, int, int]]:
        """(height, index, version) of an object's snapshots, latest first, at most `limit`."""
        revisions: list[tuple[int, int, int]] = []
        for key, value in self._view.scan(schema.object_revisions(object_id)):
            if len(revisions) == limit:
                break
            height, index = schema.read_object_revision(key)
            revisions.append((height, index, self._decoded(key, value, schema.read_u64)))
        return revisions

    def validators(self, height: int) -> ValidatorSet:
        """The set that signs this height, up to one above the tip. Raises NotFound beyond."""
        if not 0 <= height <= self._tip.height + 1:
            raise NotFound("height_unknown", "the validators of that height are not known yet", height=height)
        for key, value in self._view.scan(schema.VALIDATORS, schema.validators(height), reverse=True):
            return self._decoded(key, value, ValidatorSet.decode)
        raise _damaged(schema.validators(height), "no validator set is stored for this height")

    def state_get(self, key: bytes) -> bytes | None:
        """The tip's value of an authenticated key, or None."""
        raw = self.state_entry(key)
        return None if raw is None else raw[SINCE_BYTES:]

    def state_entry(self, key: bytes) -> bytes | None:
        """The stored form of a tip's value: u64 height since which it holds, then the value; or None."""
        return self._view.get(schema.state(key))

    def state_at(self, key: bytes, height: int) -> bytes | None:
        """The value of an authenticated key after block `height`, or None. Raises NotFound or Gone."""
        self._check_past(height)
        raw = self.state_entry(key)
        if raw is not None and _since(raw) <= height:
            return raw[SINCE_BYTES:]
        return self._past_value(key, height)

    def prove_at(self, key: bytes, height: int) -> StateProof:
        """The proof of a key's value, or absence, after block `height`, against its header's state root.

        Raises NotFound, or Gone with the lowest height that can be proven.
        """
        self._check_height(height, 0)
        if height < self.proof_floor():
            raise Gone(
                "proof_pruned", "this node proves no state below that height", height=height, lowest=self.proof_floor()
            )
        root = self.header(height).state_root if height else None
        return prove_at(self._view, self._genesis.suite, root, key, height)

    def state_scan(
        self, prefix: bytes, start_after: bytes | None, limit: int, height: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` (key, value) whose key starts with `prefix` and is above `start_after`, ascending.

        As of the tip, or after block `height`. Raises NotFound or Gone.
        """
        entries: list[tuple[bytes, bytes]] = []
        if limit <= 0:
            return entries
        if height is None or height == self._tip.height:
            for key, raw in self._scan_after(schema.STATE, prefix, start_after):
                entries.append((key, raw[SINCE_BYTES:]))
                if len(entries) >= limit:
                    break
            return entries
        self._check_past(height)
        present = ((key, raw) for key, raw in self._scan_after(schema.STATE, prefix, start_after))
        absent: Iterator[tuple[bytes, bytes | None]] = (
            (key, None) for key, _ in self._scan_after(schema.DELETED, prefix, start_after)
        )
        for key, entry in heapq.merge(present, absent, key=_key_of):
            if entry is not None and _since(entry) <= height:
                value: bytes | None = entry[SINCE_BYTES:]
            else:
                value = self._past_value(key, height)
            if value is not None:
                entries.append((key, value))
                if len(entries) >= limit:
                    break
        return entries

    def index_get(self, key: bytes) -> bytes | None:
        """The value of an index key, or None."""
        return self.look_up(schema.index(key))

    def look_up(self, key: bytes) -> bytes | None:
        """The value of an entry that most look-ups expect to be absent, or None."""
        return self._view.get(key)

    def index_scan(self, prefix: bytes, start_after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` index entries whose key starts with `prefix` and is above `start_after`, ascending."""
        entries: list[tuple[bytes, bytes]] = []
        for entry in self._scan_after(schema.INDEX, prefix, start_after):
            if len(entries) >= limit:
                break
            entries.append(entry)
        return entries

    def _scan_after(self, kind: bytes, prefix: bytes, start_after: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        start = None if start_after is None else kind + start_after + b"\0"
        for key, value in self._view.scan(kind + prefix, start):
            yield key[len(kind) :], value

    def _past_value(self, key: bytes, height: int) -> bytes | None:
        """The value at `height` of a key whose tip value (if any) is younger (Q3)."""
        for _, raw in self._view.scan(schema.history_of(key), schema.history(key, height + 1)):
            return raw[SINCE_BYTES:] if _since(raw) <= height else None
        return None

    def _check_height(self, height: int, lowest: int) -> None:
        if not lowest <= height <= self._tip.height:
            raise NotFound("height_unknown", "there is no such block", height=height, tip=self._tip.height)

    def _check_floor(self, height: int) -> None:
        if height < self._floors.content:
            raise Gone("block_pruned", "the block's content was pruned", height=height, lowest=self._floors.content)

    def _check_receipt_floor(self, height: int) -> None:
        if height < self._floors.receipts:
            raise Gone("block_pruned", "the block's receipts were pruned", height=height, lowest=self._floors.receipts)

    def _check_past(self, height: int) -> None:
        self._check_height(height, 0)
        if height < self._floors.content:
            raise Gone(
                "state_pruned", "the state of that height was pruned", height=height, lowest=self._floors.content
            )

    def _place(self, key: bytes) -> TransactionLocation | None:
        value = self.look_up(key)
        return None if value is None else TransactionLocation(*self._decoded(key, value, schema.read_place))

    def _item(self, block: bytes, key: bytes, what: str) -> bytes:
        """One item of the block whose pages begin with `block`, by the key that it would have as a page's first."""
        index = schema.page_first(key)
        page_key, page = next(self._view.scan(block, key, reverse=True), (key, None))
        items = [] if page is None else self._decoded(page_key, page, read_page)
        place = index - schema.page_first(page_key)
        if place >= len(items):
            raise NotFound(f"{what}_unknown", f"the block has no such {what}", index=index)
        return items[place]

    def _sequence(self, block: bytes, count: int) -> tuple[bytes, ...]:
        """The `count` items of the block whose pages begin with `block`."""
        items: list[bytes] = []
        for page_key, page in self._view.scan(block):
            if schema.page_first(page_key) != len(items):
                raise _damaged(page_key, f"a page follows {len(items)} stored entries")
            items += self._decoded(page_key, page, read_page)
        if len(items) != count:
            raise _damaged(block, f"the block has {len(items)} stored entries, its header says {count}")
        return tuple(items)

    def _decode(self, key: bytes, decode: Callable[[bytes], Decoded]) -> Decoded:
        value = self._view.get(key)
        if value is None:
            raise _damaged(key, "an entry of a committed block is missing")
        return self._decoded(key, value, decode)

    @staticmethod
    def _decoded(key: bytes, value: bytes, decode: Callable[[bytes], Decoded]) -> Decoded:
        try:
            return decode(value)
        except (Rejected, struct.error, UnicodeDecodeError) as error:
            raise _damaged(key, f"an entry cannot be decoded: {error}") from error


def _since(entry: bytes) -> int:
    """The height since which a stored value holds. Raises DamagedStore."""
    if len(entry) < SINCE_BYTES:
        raise _damaged(schema.STATE, "a value of the state names no height")
    return schema.read_u64(entry)


def _key_of(entry: tuple[bytes, bytes | None]) -> bytes:
    return entry[0]


def _damaged(key: bytes, what: str) -> DamagedStore:
    return DamagedStore(what, key=key, remedy=REMEDY_RESYNC)

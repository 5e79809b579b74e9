"""Takes a checkpoint over: chunks into an empty store, then the state tree, the proofs, and the seal of a chain store.

Invariants
  I1  A chunk is looked at only if it has the manifest's id for its number; chunks are taken in order, and how far that
      has gone is in the same batch, so an interruption costs one chunk (attack S1).
  I2  The tree is built from the imported values; its root must be the certified header's. A wrong value, key, or one
      too many or too few gives another root (attack C17).
  I3  Used nonces and transaction ids are chained again in block order and compared with the 16 leaves of the state
      (protocol rule 12). Every block has exactly as many as its header counts. So neither can be invented or left out,
      whatever the manifest says.
  I4  Index and object revisions rest on the word of f+1 validators (ADR 0051).
  I5  The seal is one synced batch; before it the store does not open as a chain.

What the importing node does not have: bodies, receipts and past states below the checkpoint. Reads of these raise Gone,
as after pruning. Left out: peers (`join`), who vouches for the manifest (`join`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as chained
from pathlib import Path
from typing import Final

from common.core.codec import Reader, Writer
from common.core.errors import InvariantBroken, Malformed
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.state_proof import BUCKET_SIZE, EMPTY_BUCKET, key_hash, node_hash, value_hash
from common.core.suite import HASH_SIZE
from common.node.logic.catchup.checkpoint_format import KINDS, Manifest, chunk_id, read_chunk
from common.node.logic.execution.used_nonces import EMPTY_CHAIN, NonceBuckets, decode_bucket, leaf_key, nonce_key
from common.node.store import schema
from common.node.store.state_tree import branch_of, build_subtree
from common.node.store.storage import KeyValueStore
from common.node.upkeep.join_headers import HeaderChain
from common.node.upkeep.spill import Spill

TREE_PARTS: Final = 256
"""Files by the first byte of the key hash: 64 bytes a key, so a file is 25 MB at a hundred million keys."""
NONCES_AT_ONCE: Final = 250_000
"""Transactions whose nonces are sorted in memory at once: about 60 MB."""
BATCH_ENTRIES: Final = 5_000
_PLACE_BYTES: Final = 12
_HEIGHT_BYTES: Final = 8
"""The beginning of a place."""
_VALUE_BYTES: Final = {schema.NONCES: _PLACE_BYTES, schema.TRANSACTIONS: _PLACE_BYTES, schema.OBJECTS: 8}

Writes = list[tuple[bytes, bytes | None]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come, for whoever waits."""

    what: str
    done: int
    total: int


class CheckpointFalse(Malformed):
    """What f+1 validators vouched for contradicts the certified header, or itself: more than f are faulty."""


class CheckpointImport:
    """One checkpoint on its way into a store that is no chain yet."""

    def __init__(self, store: KeyValueStore, genesis: Genesis, headers: HeaderChain, scratch: Path) -> None:
        """Go on with what the store holds; `scratch` is a directory for temporary files."""
        self._store = store
        self._genesis = genesis
        self._headers = headers
        self._scratch = scratch
        self.manifest: Manifest | None = None
        """The manifest that is being followed."""
        self.manifest_id = b""
        self.taken = 0
        """Chunks that are in the store."""
        self._last_key = b""
        record, taken = store.get(schema.JOIN), store.get(schema.JOIN_TAKEN)
        if record is not None and taken is not None:
            self.manifest = Manifest.decode(record)
            self.manifest_id = self.manifest.id(genesis.suite)
            self.taken = Reader(taken).u32()
            self._last_key = self._newest_key()

    @property
    def complete(self) -> bool:
        """Whether every chunk is in the store."""
        return self.manifest is not None and self.taken == len(self.manifest.chunks)

    def begin(self, manifest: Manifest) -> None:
        """Follow this manifest; what belongs to another one is removed."""
        manifest_id = manifest.id(self._genesis.suite)
        if manifest_id == self.manifest_id:
            return
        self.clear()
        self.manifest, self.manifest_id, self.taken, self._last_key = manifest, manifest_id, 0, b""
        self._store.write([(schema.JOIN, manifest.encode()), self._record()], sync=True)

    def clear(self) -> None:
        """Remove everything but the headers."""
        self.manifest, self.manifest_id, self.taken, self._last_key = None, b"", 0, b""
        self._store.write([(schema.JOIN, None), (schema.JOIN_TAKEN, None)], sync=True)
        for kind in (*KINDS, schema.TREE):
            for batch in _batches((key, None) for key, _ in self._store.scan(kind)):
                self._store.write(batch, sync=False)

    def fits(self, number: int, chunk: bytes) -> bool:
        """Whether these are the bytes that the manifest names (I1)."""
        manifest = self._followed()
        return number < len(manifest.chunks) and chunk_id(self._genesis.suite, chunk) == manifest.chunks[number].id

    def take(self, chunk: bytes) -> None:
        """Write the next chunk, which `fits`. Raises CheckpointFalse: the manifest itself is false (Z3)."""
        manifest = self._followed()
        info = manifest.chunks[self.taken]
        kind, entries = read_chunk(chunk)
        if kind != info.kind or len(entries) != info.entries:
            raise CheckpointFalse("join_chunk", "A chunk is not what the manifest says of it.", chunk=self.taken)
        last = self._last_key if self._last_key[:1] == kind else b""
        prefix = schema.u64(manifest.height) if kind == schema.STATE else b""
        wanted = _VALUE_BYTES.get(kind)
        writes: Writes = []
        for bare, value in entries:
            key = kind + bare
            if key <= last or (wanted is not None and len(value) != wanted):
                raise CheckpointFalse(
                    "join_chunk", "An entry of a checkpoint is out of order or form.", chunk=self.taken
                )
            writes.append((key, prefix + value))
            last = key
        self._last_key = last
        self.taken += 1
        writes.append(self._record())
        self._store.write(writes, sync=False)

    def finish(self, *, may_have_voted: bool) -> Iterator[Progress]:
        """Prove what was taken, step by step, and seal the store (I2, I3, I5).

        `may_have_voted`: the node's key may have signed before, so it must not vote until it is safe (attack C16).
        Raises CheckpointFalse with `join_state_root` or `join_nonces`: more than f validators vouched for a lie.
        """
        manifest = self._followed()
        if not self.complete:
            raise InvariantBroken("a checkpoint was finished before all of it was there")
        height = manifest.height
        yield from self._build_tree(manifest)
        yield from self._check_nonces(height)
        header, block_id = manifest.header, manifest.header.id(self._genesis.suite)
        self._headers.cut_above(height)
        seal: Writes = [
            (schema.VERSION, schema.version_value()),
            (schema.GENESIS, self._genesis.id),
            (schema.TIP, schema.tip_value(height, block_id, header.time_ms, header.state_root)),
            (schema.PRUNED, schema.u64(height + 1)),
            (schema.JOIN, None),
            (schema.JOIN_TAKEN, None),
        ]
        if may_have_voted:
            seal.append((schema.REJOINED, b""))
        self._store.write(seal, sync=True)

    # The state (I2).

    def _build_tree(self, manifest: Manifest) -> Iterator[Progress]:
        suite = self._genesis.suite
        total = sum(chunk.entries for chunk in manifest.chunks if chunk.kind == schema.STATE)
        with Spill(self._scratch, TREE_PARTS, 2 * HASH_SIZE) as spill:
            for done, (key, stored) in enumerate(self._store.scan(schema.STATE)):
                digest = key_hash(suite, key[1:])
                spill.add(digest[0], digest + value_hash(suite, stored[8:]))
                if done % BATCH_ENTRIES == 0:
                    yield Progress("hashing the state", done, total)
            for at, _ in enumerate(self._subtrees(spill)):
                yield Progress("building the state tree", at + 1, 16)
        top = self._store.get(schema.tree_node("")) or EMPTY_BUCKET
        if node_hash(suite, top) != manifest.header.state_root:
            raise CheckpointFalse(
                "join_state_root", "The state of the checkpoint is not the one that its header commits."
            )

    def _subtrees(self, spill: Spill) -> Iterator[None]:
        """Build and write the tree by its first two digits; yields after each of the first sixteen."""
        counts = [spill.count(part) for part in range(TREE_PARTS)]
        if sum(counts) <= BUCKET_SIZE:
            self._write_subtree("", spill, range(TREE_PARTS))
            return
        suite = self._genesis.suite
        top: list[tuple[int, int, bytes]] = []
        for first in range(16):
            parts = range(first * 16, first * 16 + 16)
            path = f"{first:x}"
            entries = sum(counts[part] for part in parts)
            if entries > BUCKET_SIZE:
                children: list[tuple[int, int, bytes]] = []
                for second, part in enumerate(parts):
                    if counts[part]:
                        child, count = self._write_subtree(f"{path}{second:x}", spill, (part,))
                        children.append((second, count, node_hash(suite, child)))
                branch = branch_of(children)
                self._store.write([(schema.tree_node(path), branch)], sync=False)
                top.append((first, entries, node_hash(suite, branch)))
            elif entries:
                child, count = self._write_subtree(path, spill, parts)
                top.append((first, count, node_hash(suite, child)))
            yield
        self._store.write([(schema.tree_node(""), branch_of(top))], sync=False)

    def _write_subtree(self, path: str, spill: Spill, parts: range | tuple[int]) -> tuple[bytes, int]:
        nodes: dict[str, bytes | None] = {}
        body = b"".join(chained.from_iterable(spill.sorted(part) for part in parts))
        result = build_subtree(self._genesis.suite, path, body, nodes)
        for batch in _batches((schema.tree_node(at), node) for at, node in nodes.items()):
            self._store.write(batch, sync=False)
        return result

    # Used nonces (I3).

    def _check_nonces(self, height: int) -> Iterator[Progress]:
        suite = self._genesis.suite
        ends = self._parts_of_blocks(height)
        buckets, block = NonceBuckets(suite, None), b""
        with (
            Spill(self._scratch / "nonces", len(ends), _PLACE_BYTES + HASH_SIZE) as nonces,
            Spill(self._scratch / "transactions", len(ends), _PLACE_BYTES + HASH_SIZE) as transactions,
        ):
            for key, place in self._store.scan(schema.NONCES):
                signer, _, nonce = key[1:].partition(b"\0")
                record = place + nonce_key(suite, _text(signer), _text(nonce))
                nonces.add(_part_of(ends, schema.read_u64(place)), record)
            yield Progress("checking used nonces", 0, len(ends))
            for key, place in self._store.scan(schema.TRANSACTIONS):
                if len(key) != 1 + HASH_SIZE:
                    raise _false_nonces()
                transactions.add(_part_of(ends, schema.read_u64(place)), place + key[1:])
            first = 1
            for part, end in enumerate(ends):
                places = self._places(first, end)
                for nonce_record, tx_record in zip(nonces.sorted(part), transactions.sorted(part), strict=False):
                    place = next(places, b"")
                    if not nonce_record[:_PLACE_BYTES] == tx_record[:_PLACE_BYTES] == place:
                        raise _false_nonces()
                    if place[:_HEIGHT_BYTES] != block:
                        buckets.end_block()
                        block = place[:_HEIGHT_BYTES]
                    buckets.add(nonce_record[_PLACE_BYTES:], tx_record[_PLACE_BYTES:])
                if next(places, None) is not None or nonces.count(part) != transactions.count(part):
                    raise _false_nonces()
                first = end + 1
                yield Progress("checking used nonces", part + 1, len(ends))
        buckets.end_block()
        for digit in range(16):
            stored = self._store.get(schema.state(leaf_key(digit)))
            proven = (0, EMPTY_CHAIN) if stored is None else decode_bucket(stored[8:])
            if proven != buckets.bucket(digit):
                raise _false_nonces()

    def _parts_of_blocks(self, height: int) -> list[int]:
        """Last heights of runs of blocks that hold about `NONCES_AT_ONCE` transactions each."""
        ends, held = [], 0
        for key, value in self._store.scan(schema.HEADERS):
            at = schema.read_u64(key, 1)
            if at > height:
                break
            held += Header.decode(value).tx_count
            if held >= NONCES_AT_ONCE:
                ends.append(at)
                held = 0
        if not ends or ends[-1] < height:
            ends.append(height)
        return ends

    def _places(self, first: int, last: int) -> Iterator[bytes]:
        """The places of all transactions of these blocks, as their headers count them."""
        for key, value in self._store.scan(schema.HEADERS, schema.header(first)):
            height = schema.read_u64(key, 1)
            if height > last:
                return
            for index in range(Header.decode(value).tx_count):
                yield schema.place_value(height, index)

    def _newest_key(self) -> bytes:
        """The last key of the kind of the last chunk that was taken."""
        manifest = self._followed()
        if self.taken:
            for key, _ in self._store.scan(manifest.chunks[self.taken - 1].kind, reverse=True):
                return key
        return b""

    def _record(self) -> tuple[bytes, bytes]:
        return schema.JOIN_TAKEN, Writer().u32(self.taken).bytes()

    def _followed(self) -> Manifest:
        if self.manifest is None:
            raise InvariantBroken("no manifest is followed")
        return self.manifest


def _part_of(ends: list[int], height: int) -> int:
    """Which run of blocks holds this height."""
    for part, end in enumerate(ends):
        if height <= end:
            return part
    raise _false_nonces()


def _false_nonces() -> CheckpointFalse:
    return CheckpointFalse("join_nonces", "The used nonces of the checkpoint are not those that the state commits.")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _false_nonces() from None


def _batches(writes: Iterator[tuple[bytes, bytes | None]]) -> Iterator[Writes]:
    batch: Writes = []
    for entry in writes:
        batch.append(entry)
        if len(batch) == BATCH_ENTRIES:
            yield batch
            batch = []
    yield batch

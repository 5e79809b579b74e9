"""Checkpoints: what a node holds after one block, in bounded chunks under one manifest, the same bytes on every node.

A joining node cannot execute a chain whose old blocks are pruned, or too many; it takes the state over instead. What
it needs besides headers is five kinds of entries, each in key order::

  kind  of `schema`      key                      value                     what proves it
  S     state            state key                value, without since      the header's state_root
  I     index            index key                value                     the word of f+1 validators
  N     used nonces      signer | 00 | nonce      u64 height | u32 index    f+1, and the leaves `nonces/0`..`f`
  X     transactions     transaction id           u64 height | u32 index    f+1, and the leaves `nonces/0`..`f`
  O     revisions        as in `schema`           u64 version               the word of f+1 validators

  chunk     u8 kind | (blob key | blob value)*     closed by the entry with which it reaches 1 MiB; one kind a chunk
  chunk id  tagged_hash("tongjian/checkpoint-chunk/v1", chunk)
  manifest  u8 1 | blob header | u32 count | (u8 kind | u32 entries | u32 bytes | b32 chunk id)*     kinds in the order
            above
  id        tagged_hash("tongjian/checkpoint/v1", manifest)

Invariants
  Z1  A manifest is a function of the chain up to its block: no pruning, vote, clock or local layout enters. So honest
      nodes give the same id, and f+1 equal ids hold one honest validator's (ADR 0051). Certificates differ from node to
      node, so they are not in it; they come with the headers.
  Z2  Decoding is total and strict; every chunk is checked against its id before it is read.
  Z3  No key twice, ascending over all chunks of a kind: whoever imports checks it.

Left out: files and threads (`checkpoint_store`), peers (`join`), writing what was received (`checkpoint_import`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

from common.core.codec import Reader, Writer
from common.core.errors import CodecError, InvariantBroken
from common.core.header import MAX_HEADER_BYTES, Header
from common.core.suite import HASH_SIZE, Suite
from common.node.logic.wire.checkpoint_messages import MAX_PART_BYTES, Offer
from common.node.store import schema
from common.node.store.chain_reader import ChainReader

MANIFEST_TAG: Final = "tongjian/checkpoint/v1"
CHUNK_TAG: Final = "tongjian/checkpoint-chunk/v1"
CHUNK_BYTES: Final = 1024 * 1024
"""A chunk is closed once it has reached this: a tenth of a second of a slow line, 25 ms to read and hash. Part of the
format: another number gives other ids."""
KINDS: Final = (schema.STATE, schema.INDEX, schema.NONCES, schema.TRANSACTIONS, schema.OBJECTS)
_WIRE_VERSION: Final = 1
_ENTRY_BYTES: Final = 1 + 4 + 4 + HASH_SIZE
_SINCE_BYTES: Final = 8
_LENGTH: Final = struct.Struct(">I")

Entry = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ChunkInfo:
    """What the manifest says of one chunk."""

    kind: bytes
    entries: int
    size_bytes: int
    id: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checkpoint's contents; see the module docstring for its bytes."""

    header: Header
    chunks: tuple[ChunkInfo, ...]

    @property
    def height(self) -> int:
        """The block after which the state is."""
        return self.header.height

    @property
    def size_bytes(self) -> int:
        """All chunks together."""
        return sum(chunk.size_bytes for chunk in self.chunks)

    def encode(self) -> bytes:
        """Wire bytes."""
        writer = Writer().u8(_WIRE_VERSION).blob(self.header.encode()).u32(len(self.chunks))
        for chunk in self.chunks:
            writer.u8(chunk.kind[0]).u32(chunk.entries).u32(chunk.size_bytes).fixed(chunk.id, HASH_SIZE)
        return writer.bytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly one manifest. Raises Malformed (`CodecError`) on any other input."""
        reader = Reader(data)
        if reader.u8() != _WIRE_VERSION:
            raise CodecError("checkpoint_version", "Unknown version of the checkpoint format.")
        header, count = Header.decode(reader.blob(MAX_HEADER_BYTES)), reader.u32()
        if count * _ENTRY_BYTES != reader.remaining:
            raise CodecError("checkpoint_manifest", "The number of chunks does not fit the manifest.", count=count)
        chunks: list[ChunkInfo] = []
        rank = 0
        for _ in range(count):
            chunk = ChunkInfo(bytes((reader.u8(),)), reader.u32(), reader.u32(), reader.fixed(HASH_SIZE))
            if chunk.kind not in KINDS[rank:] or not chunk.entries or not 1 < chunk.size_bytes <= MAX_PART_BYTES:
                raise CodecError("checkpoint_manifest", "A chunk of the manifest is out of order or bounds.")
            rank = KINDS.index(chunk.kind)
            chunks.append(chunk)
        reader.end()
        return cls(header, tuple(chunks))

    def id(self, suite: Suite) -> bytes:
        """The 32 bytes that f+1 validators must agree on."""
        return suite.tagged_hash(MANIFEST_TAG, self.encode())

    def offer(self, suite: Suite) -> Offer:
        """What is offered to peers."""
        return Offer(self.height, self.header.id(suite), self.id(suite))


class CheckpointSource(Protocol):
    """Where a node's finished checkpoints are; asked from the node's thread."""

    def offers(self) -> tuple[Offer, ...]:
        """The checkpoints that are complete, newest first."""
        ...

    def part(self, height: int, number: int) -> bytes | None:
        """A chunk by its number, or the manifest (`MANIFEST_PART`); None if it is not there or damaged."""
        ...


class NoCheckpoints:
    """A node that makes none."""

    def offers(self) -> tuple[Offer, ...]:
        """None."""
        return ()

    def part(self, height: int, number: int) -> bytes | None:
        """None."""
        return None


def chunk_id(suite: Suite, chunk: bytes) -> bytes:
    """What the manifest names a chunk by."""
    return suite.tagged_hash(CHUNK_TAG, chunk)


def read_chunk(chunk: bytes) -> tuple[bytes, list[Entry]]:
    """Kind and entries of a chunk, which has been checked against its id. Raises CodecError."""
    entries: list[Entry] = []
    at, end, read = 1, len(chunk), _LENGTH.unpack_from
    try:
        while at < end:
            key_end = at + 4 + read(chunk, at)[0]
            value_at = key_end + 4
            value_end = value_at + read(chunk, key_end)[0]
            if value_end > end:
                break
            entries.append((chunk[at + 4 : key_end], chunk[value_at:value_end]))
            at = value_end
    except struct.error:
        at = -1
    if at != end:
        raise CodecError("checkpoint_chunk", "The entries of a chunk do not fill it.")
    return chunk[:1], entries


def chunks_of(moment: ChainReader) -> Iterator[tuple[ChunkInfo, bytes]]:
    """The chunks of a moment of the chain, in the manifest's order. Raises DamagedStore."""
    suite, pack = moment.genesis.suite, _LENGTH.pack
    for kind in KINDS:
        skip = _SINCE_BYTES if kind == schema.STATE else 0
        parts: list[bytes] = [kind]
        entries, size = 0, 1
        for key, stored in moment.view.scan(kind):
            value = stored[skip:]
            parts += (pack(len(key) - 1), key[1:], pack(len(value)), value)
            entries += 1
            size += len(key) + len(value) + 7
            if size >= CHUNK_BYTES:
                yield _closed(suite, kind, entries, parts)
                parts, entries, size = [kind], 0, 1
        if entries:
            yield _closed(suite, kind, entries, parts)


def _closed(suite: Suite, kind: bytes, entries: int, parts: list[bytes]) -> tuple[ChunkInfo, bytes]:
    chunk = b"".join(parts)
    if len(chunk) > MAX_PART_BYTES:
        raise InvariantBroken(f"an entry of kind {kind!r} is too large for a checkpoint")
    return ChunkInfo(kind, entries, len(chunk), chunk_id(suite, chunk)), chunk

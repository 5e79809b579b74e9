"""What validators say to each other besides the hello of the channel: payloads of frames, byte for byte.

A payload is one byte for its kind, then the fields below, big-endian, with nothing behind them. Consensus messages
travel inside kind 1 in the encoding of `common.consensus.messages`. `docs/protocol-peers.md` says the same in prose,
with examples that the tests check.

Invariants
  P1  Decoding is total and strict: any input gives one message or `CodecError`; encoding what was decoded gives the
      same bytes.
  P2  Every count and length is checked against its bound before anything is allocated for it (attacks E2, N1).
  P3  Nothing here is trusted: blocks and transactions are verified by whoever uses them.

Left out: framing, order, the channel's authentication (`transport`), meaning (`node`, `sync`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec

from common.core.codec import Reader, Writer
from common.core.errors import CodecError
from common.node.logic.wire.checkpoint_messages import CheckpointPayload, decode_fields

MAX_PAYLOAD_BYTES = 17 * 1024 * 1024
"""A frame carries at most one block of the standard's 16 MiB with its certificate."""
MAX_CONSENSUS_BYTES = 8 * 1024 * 1024
"""A NEW-VIEW of 100 validators whose VIEW-CHANGEs each carry a prepared certificate stays below."""
MAX_ENVELOPE_BYTES = 2 * 1024 * 1024
MAX_BLOCK_BYTES = 16 * 1024 * 1024
MAX_CERTIFICATE_BYTES = 64 * 1024
"""100 signatures of the longest suite are below 20 KiB."""
MAX_HASHES = 4096
MAX_ENVELOPES = 4096
MAX_BLOCKS = 256
ANSWER_BYTES = 4 * 1024 * 1024
"""An answer stops after the item that reaches this size; what is missing is asked for again."""

KIND_CONSENSUS = 1
KIND_TRANSACTIONS = 2
KIND_GET_TRANSACTIONS = 3
KIND_ANSWER_TRANSACTIONS = 4
KIND_GET_BLOCKS = 5
KIND_ANSWER_BLOCKS = 6
KIND_GET_BODY = 7
KIND_ANSWER_BODY = 8
KIND_STATUS = 9
KIND_DRAFT = 10

_STATUS = struct.Struct(">BQ")


class Consensus(msgspec.Struct, frozen=True):
    """``u8 1 | message``: one consensus message, encoded by `common.consensus.messages`; not yet verified."""

    message: bytes

    def encode(self) -> bytes:
        return b"\x01" + self.message


@dataclass(frozen=True, slots=True)
class Transactions:
    """``u8 2 | u32 count | (blob envelope)*``: gossip of newly admitted transactions (protocol rule 15)."""

    envelopes: tuple[bytes, ...]

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_TRANSACTIONS)
        _write_blobs(writer, self.envelopes)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class GetTransactions:
    """``u8 3 | u32 request | u32 count | (b32 envelope_hash)*``: bodies of a compact proposal that the sender lacks."""

    request: int
    envelope_hashes: tuple[bytes, ...]

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_GET_TRANSACTIONS)
        writer.u32(self.request)
        _write_hashes(writer, self.envelope_hashes)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class AnswerTransactions:
    """``u8 4 | u32 request | u32 count | (blob envelope)*``: those of the asked that the peer has, in the order
    asked.
    """

    request: int
    envelopes: tuple[bytes, ...]

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_ANSWER_TRANSACTIONS)
        writer.u32(self.request)
        _write_blobs(writer, self.envelopes)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """``u8 5 | u32 request | u64 from_height | u16 limit``: decided blocks, ascending."""

    request: int
    from_height: int
    limit: int

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_GET_BLOCKS)
        writer.u32(self.request)
        writer.u64(self.from_height)
        writer.u16(self.limit)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class AnswerBlocks:
    """``u8 6 | u32 request | u64 tip_height | u16 count | (blob block | blob certificate)*``.

    Consecutive from the height asked for. Request 0 marks an answer that nobody asked for: the block of a height that
    the receiver still votes on (protocol rule 3).
    """

    request: int
    tip_height: int
    blocks: tuple[tuple[bytes, bytes], ...]

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_ANSWER_BLOCKS)
        writer.u32(self.request)
        writer.u64(self.tip_height)
        writer.u16(len(self.blocks))
        for block, certificate in self.blocks:
            writer.blob(block)
            writer.blob(certificate)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class GetBody:
    """``u8 7 | u32 request | u64 height | b32 block_id``: one block, decided or only proposed."""

    request: int
    height: int
    block_id: bytes

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_GET_BODY)
        writer.u32(self.request)
        writer.u64(self.height)
        writer.fixed(self.block_id, 32)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class AnswerBody:
    """``u8 8 | u32 request | blob block``: an empty blob says that the peer does not have it."""

    request: int
    block: bytes

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_ANSWER_BODY)
        writer.u32(self.request)
        writer.blob(self.block)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class Status:
    """``u8 9 | u64 tip_height | b32 tip_id``: a claim; it starts a catch-up and proves nothing."""

    tip_height: int
    tip_id: bytes

    def encode(self) -> bytes:
        return _STATUS.pack(KIND_STATUS, self.tip_height) + self.tip_id


@dataclass(frozen=True, slots=True)
class BlockDraft:
    """``u8 10 | u64 height | u64 view | u64 time_ms | b32 parent_id | u32 count | (b32 envelope_hash)*``.

    A leader's hint, sent before it executes, so that replicas execute at the same time (protocol rule 14). It binds
    nobody: the proposal decides, and a replica votes only for what it executed itself.
    """

    height: int
    view: int
    time_ms: int
    parent_id: bytes
    envelope_hashes: tuple[bytes, ...]

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(KIND_DRAFT)
        writer.u64(self.height)
        writer.u64(self.view)
        writer.u64(self.time_ms)
        writer.fixed(self.parent_id, 32)
        _write_hashes(writer, self.envelope_hashes)
        return writer.bytes()


PeerPayload = (
    Consensus
    | Transactions
    | GetTransactions
    | AnswerTransactions
    | GetBlocks
    | AnswerBlocks
    | GetBody
    | AnswerBody
    | Status
    | BlockDraft
    | CheckpointPayload
)


@dataclass(frozen=True, slots=True)
class Hello:
    """What the channel's hello carries for the node: ``u8 1 | u64 tip_height | b32 tip_id | blob evidence``.

    `evidence` is the highest consensus message, by (height, view, phase), that the sender holds signed by the
    *receiver*, or empty. It is the signed message itself, so that a peer can prove what a validator said but not
    invent it (protocol rule 7, attack C16).
    """

    tip_height: int
    tip_id: bytes
    evidence: bytes

    def encode(self) -> bytes:
        writer = Writer()
        writer.u8(1)
        writer.u64(self.tip_height)
        writer.fixed(self.tip_id, 32)
        writer.blob(self.evidence)
        return writer.bytes()

    @classmethod
    def decode(cls, data: bytes) -> Hello:
        """Parse exactly one hello. Raises CodecError."""
        reader = Reader(data)
        if reader.u8() != 1:
            raise CodecError("hello_version", "the hello is of an unknown version")
        hello = cls(reader.u64(), reader.fixed(32), reader.blob(MAX_CONSENSUS_BYTES))
        reader.end()
        return hello


def decode_payload(data: bytes) -> PeerPayload:
    """Parse exactly one payload. Raises CodecError on any other input (attacks E2, N1)."""
    size = len(data)
    if size == 0:
        raise CodecError("peer_message_empty", "a peer message needs at least its kind")
    if size > MAX_PAYLOAD_BYTES:
        raise CodecError("peer_message_too_large", "a peer message exceeds 17 MiB", size=size)
    if data[0] == KIND_CONSENSUS:
        if size > MAX_CONSENSUS_BYTES + 1:
            raise CodecError("peer_message_too_large", "a consensus message exceeds 8 MiB", size=size)
        return Consensus(data[1:])
    reader = Reader(data)
    message = _decode_fields(reader.u8(), reader)
    reader.end()
    return message


def _decode_fields(kind: int, reader: Reader) -> PeerPayload:
    match kind:
        case 2:
            return Transactions(_read_blobs(reader))
        case 3:
            return GetTransactions(reader.u32(), _read_hashes(reader))
        case 4:
            return AnswerTransactions(reader.u32(), _read_blobs(reader))
        case 5:
            return GetBlocks(reader.u32(), reader.u64(), _bounded(reader.u16(), 1, MAX_BLOCKS))
        case 6:
            return AnswerBlocks(reader.u32(), reader.u64(), _read_blocks(reader))
        case 7:
            return GetBody(reader.u32(), reader.u64(), reader.fixed(32))
        case 8:
            return AnswerBody(reader.u32(), reader.blob(MAX_BLOCK_BYTES))
        case 9:
            return Status(reader.u64(), reader.fixed(32))
        case 10:
            return BlockDraft(reader.u64(), reader.u64(), reader.u64(), reader.fixed(32), _read_hashes(reader))
        case _:
            return decode_fields(kind, reader)


def _bounded(count: int, lowest: int, highest: int) -> int:
    if not lowest <= count <= highest:
        raise CodecError(
            "peer_message_count", "a count in a peer message is out of bounds", count=count, maximum=highest
        )
    return count


def _write_blobs(writer: Writer, blobs: tuple[bytes, ...]) -> None:
    writer.u32(len(blobs))
    for blob in blobs:
        writer.blob(blob)


def _read_blobs(reader: Reader) -> tuple[bytes, ...]:
    count = _bounded(reader.u32(), 0, MAX_ENVELOPES)
    return tuple([reader.blob(MAX_ENVELOPE_BYTES) for _ in range(count)])


def _write_hashes(writer: Writer, hashes: tuple[bytes, ...]) -> None:
    writer.u32(len(hashes))
    for item in hashes:
        writer.fixed(item, 32)


def _read_hashes(reader: Reader) -> tuple[bytes, ...]:
    count = _bounded(reader.u32(), 0, MAX_HASHES)
    return tuple([reader.fixed(32) for _ in range(count)])


def _read_blocks(reader: Reader) -> tuple[tuple[bytes, bytes], ...]:
    count = _bounded(reader.u16(), 0, MAX_BLOCKS)
    return tuple([(reader.blob(MAX_BLOCK_BYTES), reader.blob(MAX_CERTIFICATE_BYTES)) for _ in range(count)])

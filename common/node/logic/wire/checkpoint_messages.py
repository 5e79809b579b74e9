"""What a node that joins asks of its peers: headers in bulk, checkpoints, and their parts; and the word for "pruned".

Payloads 11 to 17 of `peer_messages` (same conventions and invariants, P1-P3); docs/protocol-peers.md says the same in
prose, with examples that the tests check. They travel on the sync channel, so an observer may ask them.

Left out: what is in a checkpoint (`checkpoint`), what the asker verifies (`join`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.core.codec import Reader, Writer
from common.core.errors import CodecError
from common.core.suite import HASH_SIZE

MAX_HEADERS: Final = 1024
"""Headers in one answer: with their certificates 700 KB at four validators, 5 ms to read."""
MAX_HEADER_BYTES: Final = 1024
MAX_CERTIFICATE_BYTES: Final = 64 * 1024
MAX_SET_BYTES: Final = 256 * 1024
"""A validator set of 100 members with the longest names stays below."""
MAX_OFFERS: Final = 4
"""Checkpoints that a node offers at once."""
MAX_PART_BYTES: Final = 16 * 1024 * 1024
MANIFEST_PART: Final = 0xFFFFFFFF
"""Number of the part that is the manifest itself."""

KIND_GET_HEADERS: Final = 11
KIND_ANSWER_HEADERS: Final = 12
KIND_GET_CHECKPOINTS: Final = 13
KIND_ANSWER_CHECKPOINTS: Final = 14
KIND_GET_PART: Final = 15
KIND_ANSWER_PART: Final = 16
KIND_PRUNED: Final = 17


@dataclass(frozen=True, slots=True)
class GetHeaders:
    """``u8 11 | u32 request | u64 from_height | u16 limit``: headers with certificates, ascending."""

    request: int
    from_height: int
    limit: int

    def encode(self) -> bytes:
        return Writer().u8(KIND_GET_HEADERS).u32(self.request).u64(self.from_height).u16(self.limit).bytes()


@dataclass(frozen=True, slots=True)
class AnswerHeaders:
    """``u8 12 | u32 request | u64 tip_height | u16 count | (blob header | blob certificate | blob next_set)*``.

    Consecutive from the height asked for. `next_set` is the set that signs the next height, if the header changes it;
    else empty.
    """

    request: int
    tip_height: int
    entries: tuple[tuple[bytes, bytes, bytes], ...]

    def encode(self) -> bytes:
        writer = Writer().u8(KIND_ANSWER_HEADERS).u32(self.request).u64(self.tip_height).u16(len(self.entries))
        for header, certificate, next_set in self.entries:
            writer.blob(header).blob(certificate).blob(next_set)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class GetCheckpoints:
    """``u8 13 | u32 request``: which checkpoints the peer has."""

    request: int

    def encode(self) -> bytes:
        return Writer().u8(KIND_GET_CHECKPOINTS).u32(self.request).bytes()


@dataclass(frozen=True, slots=True)
class Offer:
    """One checkpoint that a peer has, or says it has: the height, the id of its block, the id of its manifest."""

    height: int
    block_id: bytes
    manifest_id: bytes


@dataclass(frozen=True, slots=True)
class AnswerCheckpoints:
    """``u8 14 | u32 request | u8 count | (u64 height | b32 block_id | b32 manifest_id)*``: at most 4.

    The answer over an authenticated channel is the peer's word that its own state gave this manifest.
    """

    request: int
    offers: tuple[Offer, ...]

    def encode(self) -> bytes:
        writer = Writer().u8(KIND_ANSWER_CHECKPOINTS).u32(self.request).u8(len(self.offers))
        for offer in self.offers:
            writer.u64(offer.height).fixed(offer.block_id, HASH_SIZE).fixed(offer.manifest_id, HASH_SIZE)
        return writer.bytes()


@dataclass(frozen=True, slots=True)
class GetPart:
    """``u8 15 | u32 request | u64 height | u32 number``: one chunk of a checkpoint, or its manifest."""

    request: int
    height: int
    number: int

    def encode(self) -> bytes:
        return Writer().u8(KIND_GET_PART).u32(self.request).u64(self.height).u32(self.number).bytes()


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """``u8 16 | u32 request | blob part``: an empty blob says that the peer does not have it."""

    request: int
    part: bytes

    def encode(self) -> bytes:
        return Writer().u8(KIND_ANSWER_PART).u32(self.request).blob(self.part).bytes()


@dataclass(frozen=True, slots=True)
class Pruned:
    """``u8 17 | u32 request | u64 tip_height | u64 lowest``: the blocks asked for are pruned here.

    `lowest` is the first height whose block the peer still has. The asker wants another peer, or a checkpoint.
    """

    request: int
    tip_height: int
    lowest: int

    def encode(self) -> bytes:
        return Writer().u8(KIND_PRUNED).u32(self.request).u64(self.tip_height).u64(self.lowest).bytes()


CheckpointPayload = GetHeaders | AnswerHeaders | GetCheckpoints | AnswerCheckpoints | GetPart | AnswerPart | Pruned


def decode_fields(kind: int, reader: Reader) -> CheckpointPayload:
    """The fields behind the kind byte. Raises CodecError, also for a kind that is not one of these."""
    match kind:
        case 11:
            return GetHeaders(reader.u32(), reader.u64(), _bounded(reader.u16(), 1, MAX_HEADERS))
        case 12:
            return AnswerHeaders(reader.u32(), reader.u64(), _read_headers(reader))
        case 13:
            return GetCheckpoints(reader.u32())
        case 14:
            return AnswerCheckpoints(reader.u32(), _read_offers(reader))
        case 15:
            return GetPart(reader.u32(), reader.u64(), reader.u32())
        case 16:
            return AnswerPart(reader.u32(), reader.blob(MAX_PART_BYTES))
        case 17:
            return Pruned(reader.u32(), reader.u64(), reader.u64())
        case _:
            raise CodecError("peer_message_kind", "a peer message is of an unknown kind", kind=kind)


def _bounded(count: int, lowest: int, highest: int) -> int:
    if not lowest <= count <= highest:
        raise CodecError(
            "peer_message_count", "a count in a peer message is out of bounds", count=count, maximum=highest
        )
    return count


def _read_headers(reader: Reader) -> tuple[tuple[bytes, bytes, bytes], ...]:
    count = _bounded(reader.u16(), 0, MAX_HEADERS)
    return tuple(
        [
            (reader.blob(MAX_HEADER_BYTES), reader.blob(MAX_CERTIFICATE_BYTES), reader.blob(MAX_SET_BYTES))
            for _ in range(count)
        ]
    )


def _read_offers(reader: Reader) -> tuple[Offer, ...]:
    count = _bounded(reader.u8(), 0, MAX_OFFERS)
    return tuple([Offer(reader.u64(), reader.fixed(HASH_SIZE), reader.fixed(HASH_SIZE)) for _ in range(count)])

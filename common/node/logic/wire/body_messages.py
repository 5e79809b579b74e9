"""What nodes ask of each other about bodies off the chain: one part of a body, by the body's digest (ADR 0078).

Payloads 18 and 19, with the conventions and invariants of `peer_messages` (P1-P3). They travel on the sync channel, so
an observer may ask them. A node that keeps no bodies skips them as kinds that it does not know.

Left out: keeping, asking and judging (`common.node.bodies`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.core.codec import Reader, Writer
from common.core.errors import CodecError
from common.core.suite import HASH_SIZE

MAX_BODY_PART_BYTES: Final = 1024 * 1024

KIND_GET_BODY_PART: Final = 18
KIND_ANSWER_BODY_PART: Final = 19
BODY_KINDS: Final = frozenset({KIND_GET_BODY_PART, KIND_ANSWER_BODY_PART})


@dataclass(frozen=True, slots=True)
class GetBodyPart:
    """``u8 18 | u32 request | b32 digest | u32 number``: part `number` of a body, the first is 0."""

    request: int
    digest: bytes
    number: int

    def encode(self) -> bytes:
        writer = Writer().u8(KIND_GET_BODY_PART).u32(self.request)
        return writer.fixed(self.digest, HASH_SIZE).u32(self.number).bytes()


@dataclass(frozen=True, slots=True)
class AnswerBodyPart:
    """``u8 19 | u32 request | u32 size | blob part``: size of the whole body, and the part.

    Size 0 says that the peer does not have it.
    """

    request: int
    size_bytes: int
    part: bytes

    def encode(self) -> bytes:
        return Writer().u8(KIND_ANSWER_BODY_PART).u32(self.request).u32(self.size_bytes).blob(self.part).bytes()


def decode_body_message(data: bytes) -> GetBodyPart | AnswerBodyPart:
    """Parse exactly one payload of these kinds. Raises CodecError on any other input (attacks E2, N1)."""
    reader = Reader(data)
    message: GetBodyPart | AnswerBodyPart
    match reader.u8():
        case 18:
            message = GetBodyPart(reader.u32(), reader.fixed(HASH_SIZE), reader.u32())
        case 19:
            message = AnswerBodyPart(reader.u32(), reader.u32(), reader.blob(MAX_BODY_PART_BYTES))
        case kind:
            raise CodecError("peer_message_kind", "a peer message is of an unknown kind", kind=kind)
    reader.end()
    return message

"""Frames on a channel between nodes: `u32 payload length | u8 type | payload`, big-endian.

Invariants:
  F1  Before a peer has proven who it is, a frame larger than a hello costs nothing: its header alone ends the channel.
  F2  A payload is never copied or allocated beyond what has arrived; lengths are claims until then (attacks E2, N1).
  F3  Every type has a limit of its own; an unknown type ends the channel.

Leaves out: what payloads mean (`hello`, `peer_messages`), queues and sockets (`link`).
Reference: docs/protocol-transport.md, "Frames".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from common.core.errors import Malformed
from common.node.logic.node_effects import Channel
from common.node.logic.wire.peer_messages import MAX_CONSENSUS_BYTES, MAX_PAYLOAD_BYTES

_HEADER: Final = struct.Struct(">IB")
HEADER_BYTES: Final = _HEADER.size


class FrameType(IntEnum):
    """What a frame carries. Numbers are part of the protocol and never reused."""

    HELLO = 1
    """Who I am, bound to this channel (`hello.ChannelHello`). The first frame of both sides."""
    GREETING = 2
    """What my node tells yours (`peer_messages.Hello`). The second frame of both sides."""
    REFUSAL = 3
    """Why I close the channel: a stable code, ASCII. The last frame."""
    PING = 4
    """Are you there? Answered by a PONG with the same 8 bytes."""
    PONG = 5
    """The answer to a PING."""
    CONSENSUS = 16
    """A payload of `peer_messages` on the consensus channel."""
    TRANSACTIONS = 17
    """A payload of `peer_messages` on the transactions channel."""
    SYNC = 18
    """A payload of `peer_messages` on the sync channel."""


FRAME_LIMITS: Final[Mapping[int, int]] = {
    FrameType.HELLO: 1024,
    FrameType.GREETING: MAX_CONSENSUS_BYTES + 64,
    FrameType.REFUSAL: 64,
    FrameType.PING: 8,
    FrameType.PONG: 8,
    FrameType.CONSENSUS: MAX_CONSENSUS_BYTES + 1,
    FrameType.TRANSACTIONS: MAX_PAYLOAD_BYTES,
    FrameType.SYNC: MAX_PAYLOAD_BYTES,
}
"""Largest payload of each type in bytes; a hello with keys and signatures of any suite stays below 1 KiB."""

FRAME_TYPE_OF: Final[dict[Channel, FrameType]] = {
    Channel.CONSENSUS: FrameType.CONSENSUS,
    Channel.TRANSACTIONS: FrameType.TRANSACTIONS,
    Channel.SYNC: FrameType.SYNC,
}

_TYPES: Final = {int(kind): kind for kind in FrameType}

AllowedTypes = Mapping[int, int]
"""Frame types that are due at a stage of the channel, with their limits."""


def _allowed(kinds: Iterable[FrameType]) -> AllowedTypes:
    return {kind: FRAME_LIMITS[kind] for kind in kinds}


HELLO_STAGE: Final = _allowed((FrameType.HELLO, FrameType.REFUSAL))
GREETING_STAGE: Final = _allowed((FrameType.GREETING, FrameType.REFUSAL))
OPEN_STAGE: Final = _allowed(frozenset(FrameType) - {FrameType.HELLO, FrameType.GREETING})
"""Before the hello, before the greeting and afterwards."""


class FrameError(Malformed):
    """A peer broke the framing (codes: frame_type_unknown, frame_unexpected, frame_too_large)."""


def encode_frame(kind: FrameType, payload: bytes) -> bytes:
    """One frame. What exceeds its limit is our own bug and refused here as FrameError('frame_too_large')."""
    _check(kind, len(payload))
    return _HEADER.pack(len(payload), kind) + payload


def _check(kind: FrameType, size: int) -> None:
    limit = FRAME_LIMITS[kind]
    if size > limit:
        raise FrameError("frame_too_large", f"a {kind.name} frame exceeds {limit} bytes", size=size, limit=limit)


class FrameDecoder:
    """Cuts a byte stream into frames; `allowed` is changed by its owner as the channel moves on."""

    __slots__ = ("_buffer", "allowed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.allowed: AllowedTypes = HELLO_STAGE

    @property
    def buffered_bytes(self) -> int:
        """Bytes that no frame was made of yet: between calls that took all frames, never above the limit of a type."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[FrameType, bytes]]:
        """Yield every frame that is complete, in order.

        The stage may change between two frames of one call. Raises FrameError at the first offending header.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= HEADER_BYTES:
                size, number = _HEADER.unpack_from(buffer, at)
                if size > self.allowed.get(number, -1):
                    self._refuse(number, size)
                end = at + HEADER_BYTES + size
                if len(buffer) < end:
                    break
                payload = bytes(memoryview(buffer)[at + HEADER_BYTES : end])
                at = end
                yield _TYPES[number], payload
        finally:
            del buffer[:at]

    def _refuse(self, number: int, size: int) -> None:
        kind = _TYPES.get(number)
        if kind is None:
            raise FrameError("frame_type_unknown", "a frame is of an unknown type", type=number)
        if kind not in self.allowed:
            raise FrameError("frame_unexpected", f"a {kind.name} frame is not due at this stage", type=number)
        _check(kind, size)

"""What a replica keeps across restarts: records of the open height, each opaque to the vote log.

Every record starts `u8 version = 1 | u8 kind | u64 height`, so that a log can tell which heights it may forget.
Kinds: 1 body (`blob block`), 2 own message (`blob message`), 3 prepared certificate (`blob prepared`), 4 current view
(`u64 view`).

Invariant: records are meaningful in the order in which they were written; a torn tail loses the last of them and never
contradicts the rest (body before the PREPARE that rests on it, certificate before the COMMIT).
Left out: framing, checksums, sync, compaction (the node's vote log).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from common.consensus.messages import MAX_MESSAGE_BYTES, ConsensusMessage, PreparedCertificate, decode_message
from common.core.block import MAX_BLOCK_BYTES, Block
from common.core.codec import Reader, Writer
from common.core.errors import InvariantBroken, Rejected

_VERSION: Final = 1
_BEFORE_BLOB: Final = struct.Struct(">BBQI")
_BODY: Final = 1
_OWN_MESSAGE: Final = 2
_PREPARED: Final = 3
_VIEW: Final = 4


@dataclass(frozen=True, slots=True)
class CurrentView:
    """The replica entered this view of this height."""

    height: int
    view: int


Record = Block | ConsensusMessage | PreparedCertificate | CurrentView


def encode_record(record: Record) -> bytes:
    """Bytes for the vote log."""
    match record:
        case Block():
            kind, height = _BODY, record.header.height
        case PreparedCertificate():
            kind, height = _PREPARED, record.height
        case CurrentView():
            return Writer().u8(_VERSION).u8(_VIEW).u64(record.height).u64(record.view).bytes()
        case _:
            kind, height = _OWN_MESSAGE, record.height
    blob = record.encode()
    return _BEFORE_BLOB.pack(_VERSION, kind, height, len(blob)) + blob


def record_height(data: bytes) -> int:
    """Height that a record belongs to. Raises `InvariantBroken` if it is not a record."""
    try:
        return _read_start(Reader(data))[1]
    except Rejected as error:
        raise InvariantBroken(f"a record of the vote log is damaged: {error}") from error


def decode_record(data: bytes) -> Record:
    """Inverse of `encode_record`. Raises `InvariantBroken`: a log that passed its checksums holds our own bytes."""
    try:
        reader = Reader(data)
        kind, height = _read_start(reader)
        record = _read_record(reader, kind, height)
        reader.end()
    except Rejected as error:
        raise InvariantBroken(f"a record of the vote log is damaged: {error}") from error
    return record


def _read_start(reader: Reader) -> tuple[int, int]:
    if reader.u8() != _VERSION:
        raise InvariantBroken("a record of the vote log has an unknown version")
    return reader.u8(), reader.u64()


def _read_record(reader: Reader, kind: int, height: int) -> Record:
    match kind:
        case 1:
            return Block.decode(reader.blob(MAX_BLOCK_BYTES))
        case 2:
            return decode_message(reader.blob(MAX_MESSAGE_BYTES))
        case 3:
            return PreparedCertificate.decode(reader.blob(MAX_MESSAGE_BYTES))
        case 4:
            return CurrentView(height, reader.u64())
        case _:
            raise InvariantBroken(f"a record of the vote log has the unknown kind {kind}")

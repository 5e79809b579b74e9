"""The vote log's bytes: file header, frames, marks, and how a file is read back.

Pure: bytes in, values or refusals out. Layout and invariants stand in `vote_log.py`, which does the writing; here are
L3 (torn or damaged) and the reading half of L4 (the database's mark).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, Self
from zlib import crc32

from common.node.store.store_errors import DamagedStore, VotingUnsafe

MAGIC: Final = b"TJVOTES1"
LOG_ID_BYTES: Final = 16
RECORD: Final = 1
TIP: Final = 2
SILENCE: Final = 3
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024
"""A record holds at most a block of 16 MiB and its evidence; the bound keeps a wrong length from being believed."""

_HEADER: Final = struct.Struct(">8s32s16sQI")
_FRAME: Final = struct.Struct(">IBI")
_FRAME_START: Final = struct.Struct(">IB")
_CHECKSUM: Final = struct.Struct(">I")
TIP_PAYLOAD: Final = struct.Struct(">Q32s")
SILENCE_PAYLOAD: Final = struct.Struct(">Q")
_MARK: Final = struct.Struct(">B16sQQI")
_MARK_VERSION: Final = 1

REMEDY_NEW_KEY: Final = (
    "do not vote with this key again before the height of its last vote is decided: `tongjian node repair` starts a "
    "new vote log that keeps silent for so long; or restore vote log and database from one moment, or have the "
    "validator set name a new key for this node"
)


@dataclass(frozen=True, slots=True)
class LogMark:
    """A durable point of a vote log, as the database remembers it: u8 1 | b16 log id | u64 generation | u64 position |
    u32 checksum.
    """

    log_id: bytes
    generation: int
    position: int
    checksum: int

    def encode(self) -> bytes:
        """Stored bytes."""
        return _MARK.pack(_MARK_VERSION, self.log_id, self.generation, self.position, self.checksum)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Inverse of `encode`. Raises DamagedStore."""
        if len(data) != _MARK.size or data[0] != _MARK_VERSION:
            raise DamagedStore("the database's mark of the vote log is unreadable", remedy=REMEDY_NEW_KEY)
        _, log_id, generation, position, checksum = _MARK.unpack(data)
        return cls(log_id, generation, position, checksum)


def encode_frame(kind: int, payload: bytes, checksum: int) -> tuple[bytes, int]:
    """An encoded frame, and the chained checksum behind it."""
    start = _FRAME_START.pack(len(payload), kind)
    header_checksum = crc32(start, checksum)
    end = crc32(payload, header_checksum)
    return b"".join((start, _CHECKSUM.pack(header_checksum), payload, _CHECKSUM.pack(end))), end


def encode_header(genesis_id: bytes, log_id: bytes, generation: int) -> tuple[bytes, int]:
    """An encoded file header, and the checksum that its frames' chain starts from."""
    start = _HEADER.pack(MAGIC, genesis_id, log_id, generation, 0)[: -_CHECKSUM.size]
    checksum = crc32(start)
    return start + _CHECKSUM.pack(checksum), checksum


@dataclass(slots=True)
class Scan:
    """What a file holds, up to `position`, where the chained checksum is `checksum`."""

    log_id: bytes
    generation: int
    position: int
    checksum: int
    tip: tuple[int, bytes]
    tip_at: tuple[int, int]
    """Position of the last tip frame, and the checksum there."""
    records_before_tip: list[bytes] = field(default_factory=list)
    """Those between the last two tip frames."""
    records: list[bytes] = field(default_factory=list)
    """Those behind the last tip frame."""
    torn_bytes: int = 0
    silent_through: int = 0
    """Nothing may be signed up to this height."""


def damaged(what: str) -> DamagedStore:
    """The error that says what is wrong with the log, and that the validator needs a new key (attacks C16, S2)."""
    return DamagedStore(f"the vote log is damaged: {what}", remedy=REMEDY_NEW_KEY)


def read_file(data: bytes, genesis_id: bytes, mark: LogMark | None) -> Scan:
    """Read a whole file, and check that it holds `mark`.

    Raises DamagedStore for anything but a torn end (L3), VotingUnsafe if it is not the log that is wanted (L4).
    """
    if len(data) < _HEADER.size:
        raise damaged("its header is cut")
    magic, file_genesis, log_id, generation, checksum = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise damaged("it does not begin like a vote log of this version")
    if checksum != crc32(data[: _HEADER.size - _CHECKSUM.size]):
        raise damaged("its header does not match its checksum")
    if file_genesis != genesis_id:
        raise VotingUnsafe("the vote log belongs to another chain", remedy="use this chain's own data directory")
    scan = Scan(log_id, generation, _HEADER.size, checksum, (0, genesis_id), (_HEADER.size, checksum))
    mark_seen = _is_at(mark, scan)
    while scan.position < len(data):
        frame = read_frame(data, scan.position, scan.checksum)
        if frame is None:
            scan.torn_bytes = len(data) - scan.position
            break
        _take_frame(scan, frame)
        mark_seen = mark_seen or _is_at(mark, scan)
    if mark is not None:
        _check_mark(scan, mark, mark_seen)
    return scan


def readable_height(data: bytes) -> int:
    """The highest tip or height of silence that a damaged file still shows; 0 if none. Believed only to keep silent for
    longer."""
    if len(data) < _HEADER.size:
        return 0
    *_, checksum = _HEADER.unpack_from(data)
    scan = Scan(b"", 0, _HEADER.size, checksum, (0, b""), (0, 0))
    try:
        while scan.position < len(data) and (frame := read_frame(data, scan.position, scan.checksum)):
            _take_frame(scan, frame)
    except DamagedStore:
        pass
    return max(scan.tip[0], scan.silent_through)


Frame = tuple[int, bytes, int, int]
"""(kind, payload, position behind the frame, checksum there)."""


def _take_frame(scan: Scan, frame: Frame) -> None:
    kind, payload, position, checksum = frame
    if kind == RECORD:
        scan.records.append(payload)
    elif kind == TIP and len(payload) == TIP_PAYLOAD.size:
        scan.tip = TIP_PAYLOAD.unpack(payload)
        scan.tip_at = (scan.position, scan.checksum)
        scan.records_before_tip, scan.records = scan.records, []
    elif kind == SILENCE and len(payload) == SILENCE_PAYLOAD.size:
        scan.silent_through = max(scan.silent_through, SILENCE_PAYLOAD.unpack(payload)[0])
    else:
        raise damaged(f"the frame at byte {scan.position} is of an unknown kind")
    scan.position, scan.checksum = position, checksum


def read_frame(data: bytes, at: int, checksum: int) -> Frame | None:
    """The frame at a position, or None if the file was torn here (L3). Raises DamagedStore."""
    if not any(data[at : at + _FRAME.size]):
        if any(data[at:]):
            raise damaged(f"zeros from byte {at} on stand where a frame should begin")
        return None
    payload_at = at + _FRAME.size
    if payload_at > len(data):
        return None
    length, kind, header_checksum = _FRAME.unpack_from(data, at)
    if header_checksum != crc32(data[at : at + _FRAME_START.size], checksum) or length > MAX_RECORD_BYTES:
        raise damaged(f"the frame header at byte {at} does not match its checksum")
    end = payload_at + length + _CHECKSUM.size
    if end > len(data):
        return None
    payload = data[payload_at : end - _CHECKSUM.size]
    (stored,) = _CHECKSUM.unpack_from(data, end - _CHECKSUM.size)
    computed = crc32(payload, header_checksum)
    if stored != computed:
        if end == len(data) and stored == 0 and payload.endswith(b"\0"):
            return None
        raise damaged(f"the frame at byte {at} does not match its checksum")
    return kind, payload, end, computed


def _is_at(mark: LogMark | None, scan: Scan) -> bool:
    return mark is not None and (mark.position, mark.checksum) == (scan.position, scan.checksum)


def _check_mark(scan: Scan, mark: LogMark, seen: bool) -> None:
    """The file must hold the point that the database remembers, or have replaced the file that held it (L4)."""
    if scan.log_id != mark.log_id:
        raise VotingUnsafe("the vote log is not the one that the database knows", remedy=REMEDY_NEW_KEY)
    if scan.generation < mark.generation:
        raise VotingUnsafe("the vote log is an older copy of the one that the database knows", remedy=REMEDY_NEW_KEY)
    if scan.generation == mark.generation and not seen:
        raise VotingUnsafe("the vote log has lost votes that the database knows of", remedy=REMEDY_NEW_KEY)

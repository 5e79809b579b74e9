"""The vote log: what a validator has signed, durable before it is sent, apart from the database.

LevelDB drops a torn tail of its log without a word, and a forgotten vote is an equivocation (architecture decision 3),
so votes have a file of their own in which nothing disappears unnoticed::

  file    "TJVOTES1" | b32 genesis id | b16 log id | u64 generation | u32 checksum | frame*
  frame   u32 length | u8 kind | u32 header checksum | payload | u32 checksum
  kinds   1 record (opaque to the log)   2 tip (u64 height | b32 block id)   3 silence (u64 height)

Checksums are CRC-32 chained: each starts from the one before it, the first from the file header's, so that frames
cannot be exchanged, repeated or taken out. The *log id* is drawn when the first file is made; the *generation* counts
the files that replaced it.

Invariants
  L1  What `sync` has returned for is durable. `append` only queues, so it never waits for the disk; `sync` may run in
      another thread while more is appended, and makes durable what was appended before it was called.
  L2  A tip frame says up to which block the database holds the chain. It makes the records before the tip frame before
      it obsolete: one more height is kept, because a node may sign for height h+1 while block h is still being written,
      and queues the tip frame of h after that. So recovery returns the records behind the last tip frame but one; a
      reader ignores those of decided heights. `compact` queues a tip frame, and the next `sync` starts a new file if
      the old one has grown large.
  L3  Only an incomplete frame at the very end, or zeros up to the end, counts as torn and is cut, which the caller is
      told. Any other mismatch is damage, and refused (attack S2).
  L4  The database keeps a `LogMark`: log id, generation, position and checksum of a durable point, renewed with every
      block. A log that lacks this point was lost, replaced or set back; a log whose tip is above the database's, or
      another block, shows that the database was. Either way the node must not vote (attack C16, `check_vote_log`).
  L5  A silence frame forbids to sign up to its height. `create_silent` begins a log with it that takes the place of a
      lost or damaged one; it is carried into new files until the tip has passed it.
  L6  After a failed write nothing more is written: what the disk holds is unknown until the next start (attack S2).

What the mark cannot show, votes cut off after the last committed block, the peers' hello shows (protocol rule 7).
Left out: the records' meaning (`common.consensus`), encoding (`vote_frames.py`), files (`log_directory.py`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from common.core.errors import InvariantBroken
from common.core.suite import HASH_SIZE
from common.node.store.log_directory import FileDirectory, LogDirectory
from common.node.store.store_errors import StoreFailed, VotingUnsafe
from common.node.store.vote_frames import (
    LOG_ID_BYTES,
    MAX_RECORD_BYTES,
    RECORD,
    REMEDY_NEW_KEY,
    SILENCE,
    SILENCE_PAYLOAD,
    TIP,
    TIP_PAYLOAD,
    LogMark,
    Scan,
    damaged,
    encode_frame,
    encode_header,
    read_file,
    read_frame,
)

COMPACT_ABOVE_BYTES: Final = 8 * 1024 * 1024
"""A new file is started above this size: several full blocks, so that its three syncs are rare."""


class VoteLog:
    """See the module docstring. `append`, `compact` and `mark` are called from one thread, `sync` from any one."""

    def __init__(self, directory: LogDirectory, genesis_id: bytes, scan: Scan, opened_with: bytes | None) -> None:
        """Use `open`."""
        self._directory = directory
        self._genesis_id = genesis_id
        self._log_id = scan.log_id
        self._generation = scan.generation
        self._position = scan.position
        self._checksum = scan.checksum
        self._tip_at = scan.tip_at
        self._queue: list[tuple[int, bytes]] = []
        self._newest_tip = scan.tip[0]
        self._queue_lock = threading.Lock()
        self._file_lock = threading.Lock()
        self._failed: str | None = None
        self._durable = (self._generation, self._position, self._checksum)
        """The last durable point; a mark is made of it when one is asked for."""
        self.recovered: tuple[bytes, ...] = (*scan.records_before_tip, *scan.records)
        """The records behind the last tip frame but one, in order, as found when the log was opened (L2)."""
        self.tip: tuple[int, bytes] = scan.tip
        """(height, block id) up to which the log knew the chain to be decided when it was opened."""
        self.silent_through = scan.silent_through
        """Nothing may be signed up to this height (L5)."""
        self.torn_bytes = scan.torn_bytes
        """Bytes of an unfinished write that were cut off when the log was opened; worth a line in the node's log."""
        self.opened_with = opened_with
        """The database's mark that the file was checked against."""

    @classmethod
    def open(
        cls,
        place: Path | LogDirectory,
        genesis_id: bytes,
        mark: bytes | None = None,
        *,
        draw_log_id: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Open the log of this chain, or make a new one; `mark` is what the database remembers of it, if anything.

        Raises VotingUnsafe if the log does not hold the point that `mark` names (C16), DamagedStore if it is damaged
        (S2), StoreFailed if the disk refuses or another process has it open. Nothing is changed or created then.
        """
        directory = FileDirectory(place) if isinstance(place, Path) else place
        try:
            return cls._open(directory, genesis_id, mark or None, draw_log_id)
        except InvariantBroken:
            directory.close()
            raise

    @classmethod
    def create_silent(
        cls,
        place: Path | LogDirectory,
        genesis_id: bytes,
        through_height: int,
        *,
        draw_log_id: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Make a log in an empty place, in the stead of one that is lost: it keeps silent up to a height (L5).

        Raises StoreFailed if there is a log, or the disk refuses.
        """
        directory = FileDirectory(place) if isinstance(place, Path) else place
        if directory.read() is not None:
            directory.close()
            raise StoreFailed("there is a vote log already; move it away first")
        header, checksum = encode_header(genesis_id, draw_log_id(LOG_ID_BYTES), 1)
        tip, checksum = encode_frame(TIP, TIP_PAYLOAD.pack(0, genesis_id), checksum)
        silence, _ = encode_frame(SILENCE, SILENCE_PAYLOAD.pack(through_height), checksum)
        content = header + tip + silence
        directory.replace(content)
        return cls(directory, genesis_id, read_file(content, genesis_id, None), None)

    @classmethod
    def _open(
        cls, directory: LogDirectory, genesis_id: bytes, mark: bytes | None, draw_log_id: Callable[[int], bytes]
    ) -> Self:
        if len(genesis_id) != HASH_SIZE:
            raise InvariantBroken("a genesis id has 32 bytes")
        data = directory.read()
        if data is None:
            if mark is not None:
                raise VotingUnsafe("the vote log is missing, although the database knows of one", remedy=REMEDY_NEW_KEY)
            header, checksum = encode_header(genesis_id, draw_log_id(LOG_ID_BYTES), 1)
            tip, _ = encode_frame(TIP, TIP_PAYLOAD.pack(0, genesis_id), checksum)
            directory.replace(header + tip)
            return cls(directory, genesis_id, read_file(header + tip, genesis_id, None), None)
        scan = read_file(data, genesis_id, None if mark is None else LogMark.decode(mark))
        if scan.torn_bytes:
            directory.cut(scan.position)
        return cls(directory, genesis_id, scan, mark)

    def append(self, records: Sequence[bytes]) -> None:
        """Queue records for the next `sync`. Raises StoreFailed if the log has failed (L6)."""
        self._check_alive()
        for record in records:
            if len(record) > MAX_RECORD_BYTES:
                raise InvariantBroken(f"a vote log record of {len(record)} bytes is above the bound")
        with self._queue_lock:
            self._queue += [(RECORD, record) for record in records]

    def compact(self, tip_height: int, tip_id: bytes) -> None:
        """The database holds the chain durably up to this block: records from before the last call are obsolete.

        Only queues (L2); the next `sync` writes it, and starts a new file if this one has grown large. A height that
        is not above the log's tip is ignored: the database was set back and catches up, and until it has, the log must
        go on to say so, and keep its votes (C16).
        """
        self._check_alive()
        with self._queue_lock:
            if tip_height <= self._newest_tip:
                return
            self._newest_tip = tip_height
            tips = [at for at, (kind, _) in enumerate(self._queue) if kind == TIP]
            if tips:
                del self._queue[: tips[-1]]
            self._queue.append((TIP, TIP_PAYLOAD.pack(tip_height, tip_id)))

    def sync(self) -> None:
        """Write and make durable everything queued before the call. Raises StoreFailed, then and ever after (L6)."""
        self._check_alive()
        with self._file_lock:
            with self._queue_lock:
                queue, self._queue = self._queue, []
            if not queue:
                return
            try:
                if self._position > COMPACT_ABOVE_BYTES and any(kind == TIP for kind, _ in queue):
                    self._start_file(queue)
                else:
                    self._directory.append(self._encode(queue, self._position, self._checksum))
                    self._directory.sync()
            except StoreFailed as error:
                self._failed = str(error)
                raise
            self._durable = (self._generation, self._position, self._checksum)

    def mark(self) -> bytes:
        """The last durable point, for the database to remember with the next block."""
        return LogMark(self._log_id, *self._durable).encode()

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self._position

    def close(self) -> None:
        """Let go of the file. What was not synced is lost, as it would be in a crash."""
        self._directory.close()

    def _start_file(self, queue: list[tuple[int, bytes]]) -> None:
        """Replace the file by one that begins with the last tip frame but one, counting those in `queue`."""
        if sum(kind == TIP for kind, _ in queue) < 2:
            queue = self._frames_from_tip() + queue
        if self.silent_through > self._newest_tip:
            queue = [(SILENCE, SILENCE_PAYLOAD.pack(self.silent_through)), *queue]
        self._generation += 1
        header, checksum = encode_header(self._genesis_id, self._log_id, self._generation)
        self._directory.replace(header + self._encode(queue, len(header), checksum))

    def _encode(self, queue: Sequence[tuple[int, bytes]], position: int, checksum: int) -> bytes:
        """The frames' bytes, to be put at `position`; moves the end of the log behind them."""
        parts = []
        for kind, payload in queue:
            if kind == TIP:
                self._tip_at = (position, checksum)
            frame, checksum = encode_frame(kind, payload, checksum)
            position += len(frame)
            parts.append(frame)
        self._position, self._checksum = position, checksum
        return b"".join(parts)

    def _frames_from_tip(self) -> list[tuple[int, bytes]]:
        """The last tip frame in the file and the records behind it, read back."""
        data = self._directory.read() or b""
        frames: list[tuple[int, bytes]] = []
        position, checksum = self._tip_at
        while position < self._position:
            frame = read_frame(data, position, checksum)
            if frame is None:
                raise damaged(f"its frame at byte {position} has disappeared")
            kind, payload, position, checksum = frame
            frames.append((kind, payload))
        return frames

    def _check_alive(self) -> None:
        if self._failed is not None:
            raise StoreFailed(f"an earlier write of the vote log failed ({self._failed}); restart the node")


def check_vote_log(
    log: VoteLog, *, tip_height: int, block_id_at: Callable[[int], bytes | None], mark: bytes | None
) -> None:
    """The log and the database must fit each other before the node votes (L4, attack C16).

    `block_id_at` gives the database's block id at a height up to its tip, or None if that is pruned; `mark` is what
    the database remembers of the log, with which the log must have been opened. Raises VotingUnsafe.
    """
    if mark is not None and log.opened_with != mark:
        raise InvariantBroken("the vote log was not opened with the database's mark of it")
    height, block_id = log.tip
    if height > tip_height:
        raise VotingUnsafe(
            f"the database ends at height {tip_height}, but the vote log knows block {height}: "
            "the database was lost or set back",
            remedy=f"let the node catch up to height {height} from its peers without voting, or restore a newer backup",
            safe_above_height=height,
        )
    if block_id_at(height) not in (block_id, None):
        raise VotingUnsafe(f"database and vote log hold different blocks at height {height}", remedy=REMEDY_NEW_KEY)

"""Disks that fail: a database with checksums that notice damage, a vote log whose bytes can rot, full and broken media.

A machine has two of them, as in production: the database (atomic, synced batches; a damaged entry is refused when it is
read, as LevelDB's block checksums do) and the vote log's file (real bytes, real checksums).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from common.node.store.log_directory import MemoryDirectory
from common.node.store.memory_store import MemoryStore
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore, StoreFailed


class SimulatedStore(MemoryStore):
    """A database whose entries can rot."""

    def __init__(self) -> None:
        super().__init__()
        self.rotten: set[bytes] = set()
        self.write_error = ""
        """Why writes fail, if they do (EIO, ENOSPC)."""

    def get(self, key: bytes) -> bytes | None:
        if key in self.rotten:
            raise DamagedStore("simulated bit flip", key=key, remedy=REMEDY_RESYNC)
        return super().get(key)

    def write(self, batch: Sequence[tuple[bytes, bytes | None]], sync: bool) -> None:
        if self.write_error:
            raise StoreFailed(f"simulated {self.write_error}")
        super().write(batch, sync)
        if self.rotten:
            self.rotten.difference_update(key for key, _ in batch)

    def rot(self, random: Random) -> None:
        """Flip a bit somewhere."""
        keys = [key for key, _ in super().scan(b"")]
        if keys:
            self.rotten.add(random.choice(keys))


class SimulatedDirectory(MemoryDirectory):
    """The vote log's file."""

    def __init__(self) -> None:
        super().__init__()
        self.write_error = ""

    def rot(self, random: Random) -> None:
        """Flip a bit somewhere in the file."""
        data = self.read()
        if data:
            changed = bytearray(data)
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
            self.overwrite(bytes(changed))

    def _refuse_if_full(self) -> None:
        if self.write_error:
            raise StoreFailed(f"simulated {self.write_error}")
        super()._refuse_if_full()

"""Where the vote log keeps its one file: a directory on disk, or one in memory that can lose power.

The port is as small as the log needs: read the file, replace it as a whole, append to it, make it durable. The
invariants of a replacement (new content durable before the rename, the rename durable before it returns) live in
`FileDirectory` alone.

Left out: what the bytes mean (`vote_log.py`).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

from common.node.store import disk
from common.node.store.store_errors import StoreFailed, StoreInUse

FILE_NAME: Final = "votes.log"
_TEMPORARY_NAME: Final = "votes.log.new"


class LogDirectory(Protocol):
    """One append-only file. Failures of the disk raise StoreFailed; afterwards only `close` may be called."""

    def read(self) -> bytes | None:
        """The whole file, or None if there is none."""
        ...

    def replace(self, content: bytes) -> None:
        """Put a new file in the place of the old one, durably: a crash leaves either the old one or the new one."""
        ...

    def cut(self, length: int) -> None:
        """Shorten the file to `length` bytes."""
        ...

    def append(self, content: bytes) -> None:
        """Add to the end; durable only after `sync`. All or nothing: a partial write is cut off again."""
        ...

    def sync(self) -> None:
        """Return when everything appended is durable."""
        ...

    def close(self) -> None:
        """Let go of the file; closing twice is allowed."""
        ...


class FileDirectory:
    """The file in a directory on disk, which is locked against other processes while this is open."""

    def __init__(self, path: Path) -> None:
        """Create the directory if need be, and lock it. Raises StoreFailed."""
        self._path = path / FILE_NAME
        self._temporary = path / _TEMPORARY_NAME
        self._file = -1
        self._length = 0
        try:
            existed = path.is_dir()
            path.mkdir(parents=True, exist_ok=True)
            if not existed:
                disk.sync_directory(path.parent, "vote_log.parent_sync")
            self._directory = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise StoreFailed(f"the directory of the vote log cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._directory)
            self._directory = -1
            raise StoreInUse(f"another process has the vote log in {path} open; end it first") from error

    def read(self) -> bytes | None:
        """The whole file, or None. Remains of an unfinished replacement are removed."""
        try:
            if self._temporary.exists():
                disk.remove(self._temporary, "vote_log.discard")
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreFailed(f"the vote log cannot be read: {error.strerror}") from error

    def replace(self, content: bytes) -> None:
        """Write beside, sync, rename, sync the directory."""
        try:
            file = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                disk.write_all(file, content, "vote_log.new_write")
                disk.sync(file, "vote_log.new_sync")
                disk.rename(self._temporary, self._path, "vote_log.rename")
                disk.sync(self._directory, "vote_log.directory_sync")
            except OSError:
                os.close(file)
                raise
        except OSError as error:
            raise StoreFailed(f"the vote log cannot be replaced: {error.strerror}") from error
        if self._file >= 0:
            os.close(self._file)
        self._file, self._length = file, len(content)

    def cut(self, length: int) -> None:
        """Shorten, durably."""
        try:
            file = self._open_file()
            disk.cut(file, length, "vote_log.cut")
            os.lseek(file, length, os.SEEK_SET)
            self._length = length
            disk.sync(file, "vote_log.cut_sync")
        except OSError as error:
            raise StoreFailed(f"the vote log cannot be cut: {error.strerror}") from error

    def append(self, content: bytes) -> None:
        """Add to the end; on failure (full disk) cut what was written of it."""
        try:
            file = self._open_file()
            try:
                disk.write_all(file, content, "vote_log.append")
            except OSError:
                disk.cut(file, self._length, "vote_log.undo")
                os.lseek(file, self._length, os.SEEK_SET)
                raise
            self._length += len(content)
        except OSError as error:
            raise StoreFailed(f"the vote log cannot be written: {error.strerror}; free disk space") from error

    def sync(self) -> None:
        """fsync. A failure is final: the kernel may have dropped what it could not write."""
        try:
            disk.sync(self._open_file(), "vote_log.sync")
        except OSError as error:
            raise StoreFailed(f"the vote log cannot be made durable: {error.strerror}") from error

    def close(self) -> None:
        """Close the file and release the lock."""
        for descriptor in (self._file, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._directory = -1

    def _open_file(self) -> int:
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            self._length = os.lseek(self._file, 0, os.SEEK_END)
        return self._file


class MemoryDirectory:
    """The file in memory, with the durable part apart: `crash` loses the rest."""

    def __init__(self) -> None:
        self._durable: bytes | None = None
        self._content: bytearray | None = None
        self.fail_writes = False
        """Set by a simulation to make the disk refuse (attack S5)."""
        self.fail_syncs = False
        """Set by a simulation to make the disk take data but not keep it (attack S2)."""

    def read(self) -> bytes | None:
        """The whole file, or None."""
        return None if self._content is None else bytes(self._content)

    def replace(self, content: bytes) -> None:
        """The new file is durable at once, as `FileDirectory` makes it."""
        self._refuse_if_full()
        self._content = bytearray(content)
        self._durable = content

    def cut(self, length: int) -> None:
        """Shorten, durably."""
        self._refuse_if_full()
        if self._content is not None:
            del self._content[length:]
            self._durable = bytes(self._content)

    def append(self, content: bytes) -> None:
        """Add to the end; lost by a crash until `sync`."""
        self._refuse_if_full()
        if self._content is None:
            raise StoreFailed("the vote log has no file")
        self._content += content

    def sync(self) -> None:
        """Everything so far survives a crash."""
        self._refuse_if_full()
        if self.fail_syncs:
            raise StoreFailed("the disk does not sync")
        self._durable = self.read()

    def close(self) -> None:
        """Nothing to release: the content stays, as on a disk."""

    def crash(self, surviving_bytes: int = 0) -> None:
        """Lose what was not synced, but for its first `surviving_bytes` bytes (a torn write)."""
        self.fail_writes = self.fail_syncs = False
        durable, content = self._durable, self.read()
        if durable is None or content is None:
            self._content = None
            return
        self._content = bytearray(durable + content[len(durable) : len(durable) + surviving_bytes])
        self._durable = bytes(self._content)

    def overwrite(self, content: bytes | None) -> None:
        """Put any bytes (or no file) there: damage, loss or an old copy, for tests."""
        self._content = None if content is None else bytearray(content)
        self._durable = content

    def _refuse_if_full(self) -> None:
        if self.fail_writes:
            raise StoreFailed("the disk refuses to write")

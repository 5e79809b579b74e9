"""Sorting more than memory holds: records of one length, dealt to files by a number, read back one file at a time.

Left out: what the records are, and keeping anything: the files are removed when the spill is closed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

BUFFER_BYTES: Final = 64 * 1024
"""Kept in memory for each file before it is written: 16 MiB for 256 files."""


class Spill:
    """`parts` files of records of `record_bytes` each."""

    def __init__(self, directory: Path, parts: int, record_bytes: int) -> None:
        """Begin with empty files; what an earlier run left there is removed. Raises OSError."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self._directory = directory
        self._record_bytes = record_bytes
        self._buffers = [bytearray() for _ in range(parts)]
        self._sizes = [0] * parts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def add(self, part: int, record: bytes) -> None:
        """Put a record into a part. Raises OSError."""
        buffer = self._buffers[part]
        buffer += record
        if len(buffer) >= BUFFER_BYTES:
            self._flush(part)

    def count(self, part: int) -> int:
        """How many records a part has."""
        return (self._sizes[part] + len(self._buffers[part])) // self._record_bytes

    def sorted(self, part: int) -> list[bytes]:
        """The records of a part, ascending. Raises OSError."""
        self._flush(part)
        path = self._directory / str(part)
        data = path.read_bytes() if self._sizes[part] else b""
        size = self._record_bytes
        records = [data[at : at + size] for at in range(0, len(data), size)]
        records.sort()
        return records

    def _flush(self, part: int) -> None:
        buffer = self._buffers[part]
        if buffer:
            with (self._directory / str(part)).open("ab") as file:
                file.write(buffer)
            self._sizes[part] += len(buffer)
            buffer.clear()

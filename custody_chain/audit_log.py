"""The regulators' query log: who asked what, when, and what height answered. Append-only JSON lines beside the data.

One line::

    {"sequence", "time_ms", "request_id", "subject", "organisation", "role", "token_id", "method", "path", "query",
     "status" | null, "code" | null, "custody_height" | null, "previous": SHA-256 of the line before}

Invariants:
  * No question is answered that could not be logged: the route refuses with `audit_unavailable`.
  * A line is printable ASCII whatever a client sends (attack N6), and bounded.
  * Each line names the hash of the one before, across restarts and rotation, so that a line taken out or changed shows;
    the first names zeros. A node that is started without its file begins a new log.
  * The file is reopened when it was moved away; what a crash tore is closed by a line end and kept.

Left out: rotation and safe keeping (the operator's), and protection from somebody who may write the file: who needs
that copies the newest hash elsewhere. Lines survive the end of the process at once and a power cut once the platform
has written them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from common.core.errors import Unavailable
from common.node.access import Identity

MAX_FIELD_CHARACTERS: Final = 2000
"""Of path and query each; the edge bounds both by the header limit anyway."""
FIRST_PREVIOUS: Final = bytes(32).hex()
"""What the first line of a log names."""
_TAIL_BYTES: Final = 64 * 1024
"""More than the longest line: every field is bounded, and escaping makes six characters of one."""


_SEQUENCE: Final = re.compile(rb'\{"sequence":(0|[1-9][0-9]*)')


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedQuery:
    """What is known of a query when its answer is ready."""

    request_id: str
    method: str
    path: str
    query: str
    status: int | None
    """None for a refusal, which has a `code` instead."""
    code: str | None
    custody_height: int | None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class AuditLog:
    """The log of one node. Not for several processes on one file."""

    def __init__(self, path: Path, now_ms: Callable[[], int] = _now_ms) -> None:
        """Raises `Unavailable('audit_unavailable')` if the file cannot be opened for appending."""
        self._path = path
        self._now_ms = now_ms
        self._file = -1
        self._inode = (-1, -1)
        self._sequence = 0
        self._previous = FIRST_PREVIOUS
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            self._continue()
        except OSError as error:
            raise _unavailable(error) from error

    def _open(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            # Should opening fail, the file that was there counts as moved away, even when it comes back.
            self._file, self._inode = -1, (-1, -1)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        found = os.fstat(self._file)
        self._inode = (found.st_dev, found.st_ino)

    def _continue(self) -> None:
        """Go on where the file ends."""
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read()
        if tail and not tail.endswith(b"\n"):
            os.write(self._file, b"\n")
        for line in reversed(tail.split(b"\n")):
            entry = _entry(line)
            if entry is not None:
                self._sequence, self._previous = entry.sequence + 1, hashlib.sha256(line).hexdigest()
                return

    def _reopen_if_moved(self) -> None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._open()
            return
        if (found.st_dev, found.st_ino) != self._inode:
            self._open()

    def record(self, identity: Identity | None, query: AuditedQuery) -> None:
        """Append one line. Raises `Unavailable('audit_unavailable')`."""
        line = json.dumps(
            {
                "sequence": self._sequence,
                "time_ms": self._now_ms(),
                "request_id": query.request_id,
                "subject": None if identity is None else identity.subject,
                "organisation": None if identity is None else identity.organisation,
                "role": None if identity is None else str(identity.role),
                "token_id": None if identity is None else identity.id,
                "method": query.method,
                "path": query.path[:MAX_FIELD_CHARACTERS],
                "query": query.query[:MAX_FIELD_CHARACTERS],
                "status": query.status,
                "code": query.code,
                "custody_height": query.custody_height,
                "previous": self._previous,
            },
            ensure_ascii=True,
            separators=(",", ":"),
        ).encode("ascii")
        try:
            self._reopen_if_moved()
            self._append(line + b"\n")
        except OSError as error:
            raise _unavailable(error) from error
        self._previous = hashlib.sha256(line).hexdigest()
        self._sequence += 1

    def _append(self, data: bytes) -> None:
        size = os.fstat(self._file).st_size
        written = os.write(self._file, data)
        if written != len(data):
            os.truncate(self._path, size)
            raise OSError("the line was written in part")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable("audit_unavailable", f"The query log cannot be written: {error.strerror or error}.")


class _Entry(msgspec.Struct):
    """What checking needs of a line."""

    sequence: int
    previous: str


def _entry(line: bytes) -> _Entry | None:
    try:
        return msgspec.json.decode(line, type=_Entry)
    except (msgspec.DecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Followed:
    """A log file whose chain of hashes holds: its entries, lines that a crash tore, and the last entry's hash."""

    lines: int
    torn: int
    last_hash: str


def follow_log(path: Path, previous: str = FIRST_PREVIOUS) -> Followed:
    """Check a log file's chain of hashes. Raises `ValueError` naming the line.

    `previous` is the hash that the first line has to name: zeros for a log from its beginning, and for a file that goes
    on after rotation the SHA-256 of the last line (without its line end) of the file before, which the caller keeps.
    A line that is no entry must be the beginning of the next one, as a crash leaves it; a power cut may leave zeros.
    """
    count = torn = 0
    following: int | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip(b"\n")
            entry = _entry(text)
            if entry is None:
                if not _is_torn(text, following):
                    raise ValueError(f"line {number} is no entry, nor the beginning of one that a crash tore")
                torn += 1
                continue
            if entry.previous != previous or following not in (None, entry.sequence):
                raise ValueError(f"line {number} does not follow the one before it")
            previous, following = hashlib.sha256(text).hexdigest(), entry.sequence + 1
            count += 1
    return Followed(count, torn, previous)


def _is_torn(text: bytes, sequence: int | None) -> bool:
    begun = text.strip(b"\0")
    if not text or _entry(text.lstrip(b"\0")) is not None:
        return False
    shown = _SEQUENCE.match(begun)
    number = b"%d" % sequence if sequence is not None else shown[1] if shown is not None else b""
    beginning = b'{"sequence":%b,"time_ms":' % number
    return begun.startswith(beginning) or beginning.startswith(begun)

"""Bodies off the chain as files of a node, each under the digest of its bytes (ADR 0078).

    data_dir/bodies/kept/<digest>                       a committed block commits to it
    data_dir/bodies/loose/<digest>.<organisation>       somebody has put it; no block that was looked at commits to it
    data_dir/bodies/damaged/<digest>                    a copy whose bytes are no longer those of its digest

Invariants
  B1  What is handed out has the digest that it is asked by: it is hashed when it comes and whenever it is read. A
      damaged copy is set aside and counts as absent from then on.
  B2  Bodies are bounded in number and bytes: three quarters for kept ones, a quarter for loose ones, half of that
      for one organisation. So what nobody has committed to never takes the place of what is committed.
  B3  A body stands under its name when it is whole and durable; what a crash left unfinished is removed at the start.
  B4  A loose body that nothing commits to within `LOOSE_MS` is removed.

What touches the disk is called in one thread. Left out: which thread, and what
the chain commits to (`body_keeper`).
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.core.errors import Malformed, NotFound, QuotaExceeded, Rejected, Unavailable
from common.core.names import check_principal
from common.core.suite import Suite
from common.model.sealed import MAX_SEALED_BYTES, check_digest
from common.node.logic.wire.body_messages import MAX_BODY_PART_BYTES
from common.node.store import disk

BODIES_DIRECTORY: Final = "bodies"
LOOSE_MS: Final = 24 * 3600 * 1000
"""A day from putting a body to committing to it."""
_MODE: Final = 0o600
_PARTIAL: Final = ".partial"

_log = logging.getLogger("tongjian.node")


@dataclass(frozen=True, slots=True)
class BodyRoom:
    """How many bodies a node keeps, and how many bytes of them."""

    bodies: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Loose:
    path: Path
    size_bytes: int
    organisation: str
    since_ms: int


class BodyStore:
    """The bodies of one node."""

    def __init__(self, directory: Path, suite: Suite, room: BodyRoom) -> None:
        """Find what is there and remove what is unfinished (B3). Raises OSError."""
        self._suite = suite
        self._room = room
        self._kept_in, self._loose_in, self._damaged_in = (directory / name for name in ("kept", "loose", "damaged"))
        for folder in (self._kept_in, self._loose_in, self._damaged_in):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._kept: dict[str, int] = {}
        self._kept_bytes = 0
        self._loose: dict[str, _Loose] = {}
        for path, found in _files(self._kept_in):
            self._count_in(path.name, found.st_size)
        for path, found in _files(self._loose_in):
            digest, _, organisation = path.name.partition(".")
            self._loose[digest] = _Loose(path, found.st_size, organisation, found.st_mtime_ns // 1_000_000)

    def size_of(self, digest: str) -> int | None:
        """Bytes of a body, None if it is not here."""
        loose = self._loose.get(digest)
        return self._kept.get(digest) if loose is None else loose.size_bytes

    def is_kept(self, digest: str) -> bool:
        """Whether it is here and known to be committed."""
        return digest in self._kept

    @property
    def has_loose(self) -> bool:
        """Whether bodies wait for what commits to them."""
        return bool(self._loose)

    @property
    def free_bytes(self) -> int:
        """How many bytes another kept body may have; three quarters of the room are for kept ones (B2)."""
        full = 4 * (len(self._kept) + 1) > 3 * self._room.bodies
        return 0 if full else max(0, 3 * self._room.size_bytes // 4 - self._kept_bytes)

    def numbers(self) -> dict[str, float]:
        """For /metrics."""
        return {
            "bodies_kept": len(self._kept),
            "bodies_loose": len(self._loose),
            "bodies_bytes": self._kept_bytes + sum(loose.size_bytes for loose in self._loose.values()),
        }

    def put(self, digest: str, data: bytes, organisation: str) -> bool:
        """Take a body in before anything commits to it; whether it is new.

        Raises `Malformed` with `body_empty` or `body_mismatch`, `QuotaExceeded('bodies_share')`,
        `Unavailable` with `bodies_full` or `body_unwritable`.
        """
        if not data:
            raise Malformed("body_empty", "A body has at least one byte.")
        if self._suite.hash(data).hex() != digest:
            raise Malformed("body_mismatch", "The bytes have another digest than the path names.")
        if self.size_of(digest) is not None:
            return False
        self._check_loose_room(len(data), organisation)
        path = self._loose_in / f"{digest}.{check_principal(organisation, 'organisation')}"
        self._write(path, data)
        self._loose[digest] = _Loose(path, len(data), organisation, path.stat().st_mtime_ns // 1_000_000)
        return True

    def keep(self, digest: str, data: bytes | None = None) -> None:
        """Keep a body that is committed: a loose one, or bytes that were fetched and have this digest.

        Raises `Unavailable` with `bodies_full`, `body_missing` or `body_unwritable`.
        """
        loose = self._loose.get(digest)
        size_bytes = loose.size_bytes if loose is not None else len(data or b"")
        if digest in self._kept or not size_bytes:
            return
        if size_bytes > self.free_bytes:
            raise _full()
        target = self._kept_in / digest
        if loose is None:
            self._write(target, data or b"")
        else:
            try:
                disk.rename(loose.path, target, "body.rename")
                disk.sync_directory(self._kept_in, "body.directory_sync")
            except FileNotFoundError:
                raise self._gone(digest) from None
            except OSError as error:
                raise _unwritable(error) from error
            del self._loose[digest]
        self._count_in(digest, size_bytes)

    def read(self, digest: str) -> bytes:
        """A body (B1). Raises `NotFound('body_unknown')`, `Unavailable` with `body_damaged` or `body_missing`."""
        data = self._content(digest, 0, MAX_SEALED_BYTES)
        if data is not None and self._suite.hash(data).hex() == digest:
            return data
        self._set_aside(digest)
        raise Unavailable("body_damaged", "This node's copy of the body is damaged; ask another node.", digest=digest)

    def part(self, digest: str, number: int) -> tuple[int, bytes]:
        """Size of a body and one part of it. With its first part the whole is checked (B1). Raises as `read`."""
        if number == 0:
            data = self.read(digest)
            return len(data), data[:MAX_BODY_PART_BYTES]
        part = self._content(digest, number * MAX_BODY_PART_BYTES, MAX_BODY_PART_BYTES)
        if part is None:
            self._set_aside(digest)
            raise Unavailable("body_damaged", "This node's copy of the body cannot be read.", digest=digest)
        return self.size_of(digest) or 0, part

    def drop_forgotten(self, now_ms: int) -> None:
        """Remove loose bodies that nothing has committed to in time (B4)."""
        for digest, loose in list(self._loose.items()):
            if now_ms - loose.since_ms > LOOSE_MS:
                disk.remove(loose.path, "body.remove")
                del self._loose[digest]

    def _count_in(self, digest: str, size_bytes: int) -> None:
        self._kept[digest] = size_bytes
        self._kept_bytes += size_bytes

    def _path(self, digest: str) -> Path:
        loose = self._loose.get(digest)
        if loose is not None:
            return loose.path
        if digest not in self._kept:
            raise NotFound("body_unknown", "This node has no such body.", digest=digest)
        return self._kept_in / digest

    def _content(self, digest: str, start: int, most_bytes: int) -> bytes | None:
        """Bytes of the file; None if it is none of that size. It is not waited for, as a pipe would be.

        Raises `Unavailable('body_missing')`.
        """
        try:
            file = os.open(self._path(digest), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                found = os.fstat(file)
                fits = stat.S_ISREG(found.st_mode) and found.st_size == self.size_of(digest)
                return os.pread(file, most_bytes, start) if fits else None
            finally:
                os.close(file)
        except FileNotFoundError:
            raise self._gone(digest) from None
        except OSError as error:
            _log.error("a body off the chain cannot be read", extra={"digest": digest, "error": str(error)})
            return None

    def _drop(self, digest: str) -> None:
        self._kept_bytes -= self._kept.pop(digest, 0)
        self._loose.pop(digest, None)

    def _gone(self, digest: str) -> Rejected:
        self._drop(digest)
        _log.error("a body off the chain is no longer on the disk", extra={"digest": digest})
        return Unavailable("body_missing", "This node's copy of the body is gone; ask another node.", digest=digest)

    def _set_aside(self, digest: str) -> None:
        path = self._path(digest)
        self._drop(digest)
        try:
            disk.rename(path, self._damaged_in / digest, "body.rename")
        except OSError as error:
            named = {"digest": digest, "error": str(error)}
            _log.error("a body off the chain is damaged and stays where it is", extra=named)
        else:
            named = {"digest": digest, "file": str(path)}
            _log.error("a body off the chain is damaged and was set aside", extra=named)

    def _check_loose_room(self, size_bytes: int, organisation: str) -> None:
        own = [loose.size_bytes for loose in self._loose.values() if loose.organisation == organisation]
        every = [loose.size_bytes for loose in self._loose.values()]
        if not self._fits(own, size_bytes, 8):
            raise QuotaExceeded(
                "bodies_share",
                "Your organisation has put as many bodies that nothing commits to as one may; commit to them, or wait.",
            )
        if not self._fits(every, size_bytes, 4):
            raise _full()

    def _fits(self, sizes: list[int], size_bytes: int, share: int) -> bool:
        count, total = len(sizes) + 1, sum(sizes) + size_bytes
        return share * count <= self._room.bodies and share * total <= self._room.size_bytes

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        try:
            disk.replace_file(path, path.with_name(path.name + _PARTIAL), data, _MODE, "body")
        except OSError as error:
            raise _unwritable(error) from error


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """The whole bodies of a folder; what is unfinished is removed, what is none by name or kind is left alone."""
    found = []
    for path in folder.iterdir():
        if path.name.endswith(_PARTIAL):
            disk.remove(path, "body.discard")
            continue
        try:
            check_digest(path.name.partition(".")[0])
        except Rejected:
            _log.warning("a file among the bodies has no digest for a name", extra={"file": str(path)})
            continue
        state = path.lstat()
        if stat.S_ISREG(state.st_mode):
            found.append((path, state))
        else:
            _log.error("what stands in the place of a body is no file", extra={"file": str(path)})
    return found


def _full() -> Rejected:
    return Unavailable("bodies_full", "This node has no room for another body; its operator can give more.")


def _unwritable(error: OSError) -> Rejected:
    return Unavailable("body_unwritable", f"The body cannot be written here: {error.strerror}; ask another node.")

"""Everything a node does to files, but for what LevelDB does: writes, syncs, renames, cuts, removals.

Invariants
  K1  Nothing below `common/node` changes a file in another way (tests/tidy/test_fault_points.py), so that every such
      moment has a name at which a test can make the process die or the disk refuse (`fault_points`).
  K2  `replace_file` leaves the old content or the new, never something between, whenever the process ends; when it
      returns, the new content is durable, its name included.

All functions raise OSError as the system does; who calls decides what that means.
Left out: LevelDB (`storage`), the node's log (lost lines cost nothing).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from common.node.store import fault_points


def write_all(file: int, content: bytes, point: str) -> None:
    """Write all of `content` at the file's position; durable only after `sync`."""
    if fault_points.tears(point):
        os.write(file, content[: len(content) // 2])
        fault_points.die()
    fault_points.before(point)
    written = os.write(file, content)
    while written < len(content):
        written += os.write(file, memoryview(content)[written:])
    fault_points.after(point)


def sync(file: int, point: str) -> None:
    """Return when what was written is durable. After an error, what the disk holds is unknown."""
    fault_points.before(point)
    os.fsync(file)
    fault_points.after(point)


def sync_directory(path: Path, point: str) -> None:
    """Return when the names in a directory are durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor, point)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path, point: str) -> None:
    """Give a file another name, over the file that has it; durable once the directory is synced."""
    fault_points.before(point)
    os.rename(source, target)
    fault_points.after(point)


def cut(file: int, length: int, point: str) -> None:
    """Shorten an open file."""
    fault_points.before(point)
    os.ftruncate(file, length)
    fault_points.after(point)


def remove(path: Path, point: str) -> None:
    """Remove a file if it is there."""
    fault_points.before(point)
    path.unlink(missing_ok=True)
    fault_points.after(point)


def remove_tree(path: Path, point: str) -> None:
    """Remove a directory with all that is in it, if it is there; what cannot be removed stays."""
    fault_points.before(point)
    shutil.rmtree(path, ignore_errors=True)
    fault_points.after(point)


def write_file(path: Path, content: bytes, point: str) -> None:
    """Write a file that may be lost or torn by a power cut: whoever reads it checks it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, content, point)
    finally:
        os.close(descriptor)


def create_file(path: Path, content: bytes, mode: int, point: str, owner: tuple[int, int] | None = None) -> None:
    """Make a new file, durably. Raises FileExistsError; what cannot be completed is removed again.

    `point` is the first part of the names of its points. `owner` (user and group id) gets the file where the system
    lets it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if owner is not None:
            with contextlib.suppress(OSError):  # no moment of its own: the file is empty, and begun anew after a crash
                os.fchown(descriptor, *owner)
        write_all(descriptor, content, f"{point}.write")
        sync(descriptor, f"{point}.sync")
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def replace_file(path: Path, aside: Path, content: bytes, mode: int, point: str) -> None:
    """Put new content in the place of a file's (K2), by way of a file `aside` in the same directory.

    The owner stays where the system lets it: an administrator's command takes no file away from the node that reads it.
    """
    remove(aside, f"{point}.discard")
    create_file(aside, content, mode, point, _owner(path))
    rename(aside, path, f"{point}.rename")
    sync_directory(path.parent, f"{point}.directory_sync")


def _owner(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_uid, found.st_gid

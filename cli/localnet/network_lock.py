"""One command at a time changes a local network, or founds it.

`network.json` is read, changed and written whole: of two commands that do so at once, one would lose what the other
recorded, and a node would run that no command knows. Each holds an advisory lock (flock) from before it reads until
after it has written; the system frees it however the command ends. Nodes are forked while it is held and outlive the
command, so each child closes its copy first (`close_in_child`). Reading commands take no lock: the file is replaced
whole. The lock file stays, since removing it would let two in."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from cli.localnet.layout import LocalNetwork, load_network
from common.core.errors import Conflict

LOCK_FILE = "network.lock"
PATIENCE_S = 5.0
"""Forking a network takes a second or two; stopping one that insists takes longer, and is refused."""
POLL_S = 0.05

_held: set[int] = set()


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[LocalNetwork]:
    """The network of `directory` as it stands, which no other command changes until the block ends.

    Raises NotFound and Malformed as `load_network` does, and Conflict('network_busy') if another command holds the
    network for longer than `PATIENCE_S`.
    """
    network = load_network(directory)  # refuses what is no network before a lock file is made in it
    handle = os.open(network.directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _lock(handle):
            if time.monotonic() >= deadline:
                detail = f"another command is changing the network of {directory}; try again when it has ended"
                raise Conflict("network_busy", detail)
            time.sleep(POLL_S)
        _held.add(handle)
        try:
            yield load_network(directory)
        finally:
            _held.discard(handle)
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def close_in_child() -> None:
    """In a forked child: let go of the locks of the command that forked it, which keeps them."""
    for handle in _held:
        os.close(handle)
    _held.clear()


@contextlib.contextmanager
def founding(target: Path) -> Iterator[Path]:
    """An empty directory beside `target`, which becomes `target` when the block ends without an error.

    What an interrupted command left there is removed. Raises Conflict: 'directory_in_use' if `target` is not empty,
    'network_busy' if another command is founding it.
    """
    _refuse_unless_empty(target)
    workspace = target.with_name(f".{target.name}.partial")
    workspace.mkdir(parents=True, exist_ok=True)
    busy = Conflict("network_busy", f"another command is making {target}; wait until it has ended")
    try:
        handle = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # renamed since: the other one is done
        raise busy from None
    try:
        if not _lock(handle) or not _is_at(handle, workspace):
            raise busy
        _empty(workspace)
        try:
            _refuse_unless_empty(target)
            yield workspace
            os.rename(workspace, target)  # over an empty directory, but no other
        except Conflict:
            shutil.rmtree(workspace)
            raise
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or error.filename2 is None:
                raise
            shutil.rmtree(workspace)
            raise _in_use(target) from error
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open directory is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _refuse_unless_empty(target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        raise _in_use(target)


def _in_use(target: Path) -> Conflict:
    detail = f"{target} exists and is not empty; keys are never written over: choose another directory"
    return Conflict("directory_in_use", detail)

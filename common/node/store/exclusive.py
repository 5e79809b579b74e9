"""One command at a time on a data directory.

LevelDB's own lock guards a database that is open. Join, restore and repair build another one beside it and put it into
its place: no such lock covers those names. A node that starts meanwhile must see all of the change or nothing of it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.node.store.store_errors import StoreInUse


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold a data directory, which is made if it is absent.

    The lock is on the directory itself: a file that an administrator's command made would shut out the node's user.

    Raises StoreInUse if another process holds it, OSError.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUse(f"another command works on {data_dir}; wait until it has ended") from None
        yield
    finally:
        os.close(handle)

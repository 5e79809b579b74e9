"""The C library's allocator of a node or relay: it keeps little that nobody uses.

LevelDB, TLS and the codecs take memory from it in several threads. As glibc comes, a node's memory grew for hours under
load though all that was in use stayed the same (docs/adr/0065-what-the-allocator-keeps.md).

Left out: Python's own small objects, which come from another place and are collected.
"""

from __future__ import annotations

import ctypes
from typing import Final

MAPPED_FROM_BYTES: Final = 128 * 1024
"""glibc's own beginning, which would rise with the largest piece that was freed unless it is set."""
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Parameters of mallopt(3)."""


def limit_free_memory() -> None:
    """From now on all threads take memory from one place, and large pieces go back to the system when they are freed.

    To be called before there is a second thread. Other C libraries than glibc have no such parameters; nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)

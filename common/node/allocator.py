"""The C library's allocator of a node or relay: one arena, and what a large piece of work has freed goes back.

LevelDB, TLS and the codecs take memory from it in several threads. glibc gives each thread an arena of its own, and
what is free in one serves no other: under load a node's memory grew for hours though all that was in use stayed the
same (docs/adr/0065-one-arena.md). Other C libraries have neither function, and nothing is done.

Left out: Python's own small objects, which come from another place and are collected.
"""

from __future__ import annotations

import ctypes
from typing import Final

M_ARENA_MAX: Final = -8
"""mallopt(3)."""


def use_one_arena() -> None:
    """From now on every thread takes memory from the same arena. To be called before there is a second thread."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Return free memory to the system. Takes milliseconds, in which other threads may wait for memory."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)

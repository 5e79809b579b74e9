"""Memory that one thread has freed serves the others, and goes back (docs/adr/0065)."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import ctypes, sys, threading
from common.node import allocator

def anonymous_kib():
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:"))

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
for name in sys.argv[2:]:
    getattr(allocator, name)() if name == "use_one_arena" else None
threads = [threading.Thread(target=lambda: [libc.malloc(1000) for _ in range(100)]) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))

pieces = [libc.malloc(10_000) for _ in range(4_000)]
for piece in pieces:
    ctypes.memset(ctypes.c_void_p(piece), 1, 10_000)
fence = libc.malloc(10_000)
for piece in pieces:
    libc.free(ctypes.c_void_p(piece))
before = anonymous_kib()
for name in sys.argv[2:]:
    getattr(allocator, name)() if name == "give_back" else None
print(before - anonymous_kib())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library has other ways")
@pytest.mark.parametrize("asked_for", [(), ("use_one_arena", "give_back")])
def test_threads_share_one_arena_and_free_memory_goes_back(tmp_path: Path, asked_for: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "info"), *asked_for]
    given_back_kib = int(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, text=True).stdout)
    arenas = (tmp_path / "info").read_text().count("<heap ")
    assert (arenas == 1, given_back_kib > 30_000) == ((True, True) if asked_for else (False, False))

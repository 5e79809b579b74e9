"""Memory that one thread has freed serves the others, and large pieces go back (docs/adr/0065)."""

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

def filled(size):
    piece = libc.malloc(size)
    ctypes.memset(ctypes.c_void_p(piece), 1, size)
    return piece

def free(piece):
    libc.free(ctypes.c_void_p(piece))

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
if sys.argv[2:] == ["limited"]:
    allocator.limit_free_memory()
threads = [threading.Thread(target=lambda: [libc.malloc(1000) for _ in range(100)]) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))

free(filled(2_000_000))
pieces = [(filled(1_000_000), filled(1_000))[0] for _ in range(40)]
before = anonymous_kib()
for piece in pieces:
    free(piece)
print(before - anonymous_kib())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library has other ways")
@pytest.mark.parametrize("limited", [False, True])
def test_threads_share_one_arena_and_large_pieces_go_back(tmp_path: Path, limited: bool) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "info"), *(["limited"] if limited else [])]
    given_back_kib = int(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, text=True).stdout)
    arenas = (tmp_path / "info").read_text().count("<heap ")
    assert (arenas == 1, given_back_kib > 30_000) == (limited, limited)

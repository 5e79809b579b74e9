"""Cost of keeping the state trees of the past, on LevelDB: bytes and processor time a block, and time of a proof.

    python -m tests.bench.past_tree --keys 1000000      prints one JSON object a block size

Blocks change random keys of a large tree, most of them existing ones, which is the worst case: no two of a block share
more of their paths than they must. Measured: what the tip's nodes alone write, what is kept beside them, what keeping
every superseded node whole would take, the database after compaction with and without the past, and proofs at random
heights. Accounts have about two positions and a position is one state value, so a million keys are a million positions.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common.core.state_proof import verify_state_proof
from common.core.suite import ED25519_SHA256
from common.node.store.past_tree import prove_at, superseded
from common.node.store.state_tree import StateTree
from common.node.store.storage import LevelDBStore
from tests.bench.state_tree import changes_of, fill, key_of

PROOFS = 300


def size_bytes(directory: Path) -> int:
    """Of all files of a database."""
    return sum(file.stat().st_size for file in directory.iterdir())


def run(base: Path, keys: int, batch: int, blocks: int, keep: bool) -> dict[str, float]:
    """`blocks` blocks on a copy of the database `base`, with or without the past; figures a block."""
    directory = base.with_name("copy")
    shutil.copytree(base, directory)
    store = LevelDBStore(directory)
    store.compact()
    before = size_bytes(directory)
    tree = StateTree(store, ED25519_SHA256)
    source = random.Random(batch)
    tip_bytes = kept_bytes = whole_bytes = entries = 0
    apply_s = keep_s = 0.0
    roots = [tree.root]
    for height in range(1, blocks + 1):
        changes = changes_of(source, keys, batch)
        started = time.process_time()
        update = tree.apply(changes)
        applied = time.process_time()
        past = list(superseded(update, height)) if keep else []
        keep_s += time.process_time() - applied
        apply_s += applied - started
        store.write((*update.writes, *past), sync=False)
        tree.advance(update)
        roots.append(tree.root)
        tip_bytes += sum(len(key) + len(node or b"") for key, node in update.writes)
        kept_bytes += sum(len(key) + len(entry) for key, entry in past)
        whole_bytes += sum(len(path) + 10 + len(node) for path, node in update.replaced.items())
        entries += len(past)
    store.compact()
    figures = {
        "disk_bytes": (size_bytes(directory) - before) / blocks,
        "tip_bytes": tip_bytes / blocks,
        "kept_bytes": kept_bytes / blocks,
        "whole_bytes": whole_bytes / blocks,
        "entries": entries / blocks,
        "apply_us": apply_s / blocks * 1e6,
        "keep_us": keep_s / blocks * 1e6,
    }
    if keep:
        started = time.perf_counter()
        for _ in range(PROOFS):
            height = source.randrange(1, blocks + 1)
            key = key_of(source.randrange(20 * keys, 40 * keys))
            verify_state_proof(
                ED25519_SHA256, roots[height], key, None, prove_at(store, ED25519_SHA256, roots[height], key, height)
            )
        figures["prove_and_verify_us"] = (time.perf_counter() - started) / PROOFS * 1e6
    store.close()
    shutil.rmtree(directory)
    return figures


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--blocks", type=int, default=300)
    parser.add_argument("--batches", type=int, nargs="*", default=[5, 50, 500])
    parser.add_argument("--directory", type=Path, default=None, help="where the databases go (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        base = Path(directory) / "base"
        store = LevelDBStore(base)
        fill(store, StateTree(store, ED25519_SHA256), options.keys)
        store.compact()
        store.close()
        for batch in options.batches:
            without = run(base, options.keys, batch, options.blocks, keep=False)
            kept = run(base, options.keys, batch, options.blocks, keep=True)
            result: dict[str, Any] = {
                "benchmark": "past_tree",
                "keys": options.keys,
                "keys_a_block": batch,
                "blocks": options.blocks,
                "tree_of_the_tip_mib": round(size_bytes(base) / 2**20, 1),
                "disk_bytes_a_block_without": round(without["disk_bytes"]),
                **{f"{name}_a_block": round(value) for name, value in kept.items() if name != "prove_and_verify_us"},
                "kept_bytes_a_key": round(kept["kept_bytes"] / batch),
                "prove_and_verify_us": round(kept["prove_and_verify_us"]),
                "python": platform.python_version(),
                "machine": platform.machine(),
            }
            print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Cost of the state tree on LevelDB: microseconds a key for one block's batch on a large tree.

    python -m tests.bench.state_tree --keys 1000000      prints one JSON object

A batch is what a block brings: `--batch` keys, most of them existing ones taken at random (the worst case for caches),
some new, some deleted. Measured apart: `apply` (hash keys and values, read and check nodes, new nodes, new root) and
`write` (the nodes' batch, synced). The store is compacted once before measuring and has the settings of a node.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common.core.state_proof import BUCKET_SIZE, verify_state_proof
from common.core.suite import ED25519_SHA256
from common.node.store.state_tree import StateTree
from common.node.store.storage import LevelDBStore

VALUE = b'{"available":1000000,"frozen":0,"pledged":0,"product":"BJ000001.ESVUFR2601","since":123456}'


def key_of(number: int) -> bytes:
    """A key such as a holding has."""
    return b"holding/BJ%06d.ESVUFR2601/A%09d" % (number % 997, number)


def fill(store: LevelDBStore, tree: StateTree, keys: int) -> float:
    """Put `keys` entries; returns seconds."""
    started = time.perf_counter()
    for first in range(0, keys, 100_000):
        update = tree.apply({key_of(n): VALUE for n in range(first, min(first + 100_000, keys))})
        store.write(update.writes, sync=False)
        tree.advance(update)
    return time.perf_counter() - started


def changes_of(source: random.Random, keys: int, batch: int) -> dict[bytes, bytes | None]:
    """One block's changes: 90 % updates, 8 % new keys, 2 % deletions."""
    changes: dict[bytes, bytes | None] = {}
    while len(changes) < batch:
        draw = source.random()
        number = source.randrange(keys) if draw < 0.92 else keys + source.randrange(10 * keys)
        changes[key_of(number)] = None if draw < 0.02 else VALUE + b"%d" % source.randrange(1 << 30)
    return changes


def measure(store: LevelDBStore, tree: StateTree, keys: int, batch: int, rounds: int) -> dict[str, Any]:
    """Microseconds a key over `rounds` batches."""
    source = random.Random(1)
    apply_us, write_us, written, nodes = [], [], [], []
    processor_started = time.process_time()
    for _ in range(rounds):
        changes = changes_of(source, keys, batch)
        started = time.perf_counter()
        update = tree.apply(changes)
        applied = time.perf_counter()
        store.write(update.writes, sync=True)
        tree.advance(update)
        done = time.perf_counter()
        apply_us.append((applied - started) / batch * 1e6)
        write_us.append((done - applied) / batch * 1e6)
        written.append(sum(len(node or b"") for _, node in update.writes) / batch)
        nodes.append(len(update.writes) / batch)
    processor_us = (time.process_time() - processor_started) / rounds / batch * 1e6
    totals = [a + w for a, w in zip(apply_us, write_us, strict=True)]
    return {
        "apply_us_per_key_median": round(statistics.median(apply_us), 1),
        "write_us_per_key_median": round(statistics.median(write_us), 1),
        "total_us_per_key_median": round(statistics.median(totals), 1),
        "total_us_per_key_mean": round(statistics.mean(totals), 1),
        "total_us_per_key_worst": round(max(totals), 1),
        "processor_us_per_key_mean": round(processor_us, 1),
        "nodes_written_per_key": round(statistics.mean(nodes), 2),
        "node_bytes_per_key": round(statistics.mean(written)),
    }


def measure_proofs(tree: StateTree, keys: int) -> dict[str, Any]:
    """Cost and size of absence proofs, which are as long as any, for keys that were never put."""
    source = random.Random(2)
    sample = [key_of(source.randrange(20 * keys, 40 * keys)) for _ in range(500)]
    started = time.perf_counter()
    proofs = [tree.prove(key) for key in sample]
    proved = time.perf_counter()
    for key, proof in zip(sample, proofs, strict=True):
        verify_state_proof(ED25519_SHA256, tree.root, key, None, proof)
    verified = time.perf_counter()
    return {
        "prove_us": round((proved - started) / len(sample) * 1e6),
        "verify_us": round((verified - proved) / len(sample) * 1e6),
        "proof_bytes_mean": round(statistics.mean(sum(map(len, proof.nodes)) for proof in proofs)),
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--directory", type=Path, default=None, help="where the database goes (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        store = LevelDBStore(Path(directory) / "tree")
        tree = StateTree(store, ED25519_SHA256)
        fill_s = fill(store, tree, options.keys)
        store.compact()
        tree = StateTree(store, ED25519_SHA256, tree.root)
        result: dict[str, Any] = {
            "benchmark": "state_tree",
            "keys": options.keys,
            "batch": options.batch,
            "rounds": options.rounds,
            "bucket_size": BUCKET_SIZE,
            "fill_seconds": round(fill_s, 1),
            "database_mib": round(sum(f.stat().st_size for f in (Path(directory) / "tree").iterdir()) / 2**20, 1),
            **measure(store, tree, options.keys, options.batch, options.rounds),
            **measure_proofs(tree, options.keys),
            "max_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        store.close()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

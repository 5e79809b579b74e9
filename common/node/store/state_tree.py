"""The authenticated state as a tree in the store: batch updates, roots, proofs.

`common/core/state_proof.py` holds the hashing rules; here its nodes are kept under their paths (`schema.tree_node`),
one entry a node, and updated once a block: a batch touches every node on its keys' paths exactly once.

Invariants
  T1  The nodes stored under `schema.tree_node` are always exactly those of the canonical tree of the tip's entries.
      An update names the nodes that it replaces or removes; `past_tree.py` keeps those.
  T2  `apply` changes nothing. Its update counts only after `advance`, which is called once its writes are stored; an
      update that was made for another root is refused.
  T3  A node that comes from the store is held against the hash that its parent names before it is used; the top node
      against the root in the tip record. A mismatch raises DamagedStore.

Cost: ADR 0015 has the measurements. Memory: caches bounded by bytes, branches apart from buckets, because random
updates would otherwise push out the branches near the top, which every update needs.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

from common.core.errors import InvariantBroken
from common.core.state_proof import (
    BRANCH,
    BRANCH_START,
    BUCKET,
    BUCKET_SIZE,
    BUCKET_START,
    CHILD_BYTES,
    EMPTY_BUCKET,
    ENTRY_BYTES,
    StateProof,
    key_hash,
    node_hash,
    value_hash,
)
from common.core.suite import HASH_SIZE, Suite
from common.node.store import schema
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore

BRANCH_CACHE_BYTES: Final = 12 * 1024 * 1024
BUCKET_CACHE_BYTES: Final = 4 * 1024 * 1024
_CACHE_ENTRY_BYTES: Final = 220
"""What Python adds to the bytes of a cached node: dict slot, path, object headers."""

_HEX: Final = "0123456789abcdef"
_CHILD: Final = struct.Struct(">I32s")
"""A child in a branch: number of entries, node hash."""
_Change = tuple[bytes, bytes | None]
"""(key hash, value hash or None to delete)."""


class NodeSource(Protocol):
    """Where nodes are read from: a store or a view of one."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        ...


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """What one batch does to the tree. `writes` go into the block's batch; `root` goes into its header."""

    base_root: bytes
    root: bytes
    entries: int
    """How many keys the state has then."""
    value_hashes: Mapping[bytes, bytes | None]
    """Key -> hash of the value it is set to, None if it is deleted; what a block's `change_root` is made of."""
    writes: tuple[tuple[bytes, bytes | None], ...]
    nodes: Mapping[str, bytes | None]
    """Path -> node, or None for a node that is gone; for the caches."""
    replaced: Mapping[str, bytes]
    """Path -> the node that stood there before, of those in `nodes` where one did; the empty tree has its top node."""


class _NodeCache(OrderedDict[str, bytes]):
    """Encoded nodes by path, the most recently stored kept, up to a number of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        super().__init__()
        self._budget_bytes = budget_bytes
        self._size_bytes = 0

    def exchange(self, paths: Collection[str], nodes: Mapping[str, bytes]) -> None:
        """Forget what is at `paths`, keep `nodes`, whose paths are among them, and drop the oldest above the budget."""
        for path in self.keys() & paths:
            self._size_bytes -= len(self.pop(path)) + _CACHE_ENTRY_BYTES
        for path, node in nodes.items():
            self[path] = node
            self._size_bytes += len(node) + _CACHE_ENTRY_BYTES
        while self._size_bytes > self._budget_bytes:
            self._size_bytes -= len(self.popitem(last=False)[1]) + _CACHE_ENTRY_BYTES


class StateTree:
    """The tree of the tip. Updates come from one thread, proofs may be asked for in any."""

    def __init__(
        self,
        store: NodeSource,
        suite: Suite,
        root: bytes | None = None,
        *,
        branch_cache_bytes: int = BRANCH_CACHE_BYTES,
        bucket_cache_bytes: int = BUCKET_CACHE_BYTES,
    ) -> None:
        """Over the nodes in `store`, whose top must hash to `root` (unless None). Raises DamagedStore."""
        self._lock = threading.RLock()
        self._store = store
        self._suite = suite
        self._branches = _NodeCache(branch_cache_bytes)
        self._buckets = _NodeCache(bucket_cache_bytes)
        self._top = store.get(schema.tree_node("")) or EMPTY_BUCKET
        self._root = node_hash(suite, self._top)
        if root is not None and root != self._root:
            raise _damaged("", "the top of the state tree is not the one that the tip names")
        self._entries = _entries_of(self._top)

    @property
    def root(self) -> bytes:
        """The state root of the tip."""
        return self._root

    @property
    def entries(self) -> int:
        """How many keys the state has."""
        return self._entries

    def apply(self, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """The update that sets these keys to these values; None deletes. Raises DamagedStore."""
        suite = self._suite
        value_hashes = {key: None if value is None else value_hash(suite, value) for key, value in changes.items()}
        hashed: list[_Change] = [(key_hash(suite, key), digest) for key, digest in value_hashes.items()]
        hashed.sort(key=itemgetter(0))
        batch = _Batch(suite, self.load)
        with self._lock:
            top, entries = self._top, self._entries
            if hashed:
                top, entries = batch.update("", top, entries, hashed)
            root = node_hash(suite, top)
            writes = tuple([(schema.tree_node(path), node) for path, node in batch.nodes.items()])
            return TreeUpdate(self._root, root, entries, value_hashes, writes, batch.nodes, batch.replaced)

    def advance(self, update: TreeUpdate, store: NodeSource | None = None) -> None:
        """The update's writes are stored: go on from there, reading from `store` if it is another one now."""
        if update.base_root != self._root:
            raise InvariantBroken("a state tree update was made for another root")
        with self._lock:
            self._store = store or self._store
            branches: dict[str, bytes] = {}
            buckets: dict[str, bytes] = {}
            for path, node in update.nodes.items():
                if node is not None:
                    kind = branches if node[0] == BRANCH else buckets
                    kind[path] = node
            self._top = branches.pop("", b"") or buckets.pop("", self._top)
            self._branches.exchange(update.nodes.keys(), branches)
            self._buckets.exchange(update.nodes.keys(), buckets)
            self._root, self._entries = update.root, update.entries

    def prove(self, key: bytes) -> StateProof:
        """The proof that `key` has its value, or is absent, under `root`. Raises DamagedStore."""
        path = key_hash(self._suite, key).hex()
        with self._lock:
            node, nodes = self._top, [self._top]
            while node[0] == BRANCH:
                depth = len(nodes) - 1
                _, child_hash = child_of(node, int(path[depth], 16))
                if child_hash is None:
                    break
                node = self.load(path[: depth + 1], child_hash)
                nodes.append(node)
            return StateProof(tuple(nodes))

    def load(self, path: str, expected: bytes, *, remember: bool = True) -> bytes:
        """The node at `path`, which must hash to `expected` (T3). A batch replaces it: no need to remember it then."""
        node = self._branches.get(path) or self._buckets.get(path)
        if node is not None:
            return node
        node = self._store.get(schema.tree_node(path))
        if node is None:
            raise _damaged(path, "a node of the state tree is missing")
        if node_hash(self._suite, node) != expected:
            raise _damaged(path, "a node of the state tree is not the one that its parent names")
        if remember:
            kind = self._branches if node[0] == BRANCH else self._buckets
            kind.exchange((path,), {path: node})
        return node


class _Batch:
    """One batch on its way through the tree: collects the nodes that change, by path; None is a node that is gone."""

    def __init__(self, suite: Suite, load: Callable[..., bytes]) -> None:
        self._suite = suite
        self._load = load
        self.nodes: dict[str, bytes | None] = {}
        self.replaced: dict[str, bytes] = {}

    def update(self, path: str, node: bytes, entries: int, changes: list[_Change]) -> tuple[bytes, int]:
        """Apply sorted `changes`, all below `path`, to the subtree `node`; the new node and its number of entries.

        The very same object comes back if nothing changed.
        """
        if node[0] == BRANCH:
            return self._update_branch(path, node, entries, changes)
        body = node[BUCKET_START:]
        merged = _merged(body, changes)
        if merged == body:
            return node, entries
        if entries or not path:
            self.replaced[path] = node
        return build_subtree(self._suite, path, merged, self.nodes)

    def _update_branch(self, path: str, node: bytes, entries: int, changes: list[_Change]) -> tuple[bytes, int]:
        branch = bytearray(node)
        present = int.from_bytes(node[1:BRANCH_START], "big")
        half, shift = len(path) // 2, 0 if len(path) % 2 else 4
        start, last = 0, len(changes)
        while start < last:
            nibble = changes[start][0][half] >> shift & 15
            end = start + 1
            while end < last and changes[end][0][half] >> shift & 15 == nibble:
                end += 1
            bit, child_path = 1 << nibble, path + _HEX[nibble]
            at = BRANCH_START + (present & bit - 1).bit_count() * CHILD_BYTES
            if present & bit:
                count, child_hash = _CHILD.unpack_from(branch, at)
                child, behind = self._load(child_path, child_hash, remember=False), at + CHILD_BYTES
            else:
                count, child, behind = 0, EMPTY_BUCKET, at
            new_child, new_count = self.update(child_path, child, count, changes[start:end])
            if new_child is not child:
                present = present | bit if new_count else present & ~bit
                branch[at:behind] = _CHILD.pack(new_count, node_hash(self._suite, new_child)) if new_count else b""
                entries += new_count - count
            start = end
        branch[1:BRANCH_START] = present.to_bytes(2, "big")
        if branch == node:
            return node, entries
        self.replaced[path] = node
        if entries <= BUCKET_SIZE:
            return self._collapse(path, branch), entries
        result = self.nodes[path] = bytes(branch)
        return result, entries

    def _collapse(self, path: str, branch: bytearray) -> bytes:
        """The bucket that replaces a branch with few entries. All its children are buckets, being no larger."""
        parts = []
        for nibble in range(16):
            _, child_hash = child_of(branch, nibble)
            if child_hash is not None:
                child_path = path + _HEX[nibble]
                child = self.nodes.get(child_path)
                if child is None:
                    child = self.replaced[child_path] = self._load(child_path, child_hash)
                parts.append(child[BUCKET_START:])
                self.nodes[child_path] = None
        return build_subtree(self._suite, path, b"".join(parts), self.nodes)[0]


def build_subtree(suite: Suite, path: str, body: bytes, nodes: dict[str, bytes | None]) -> tuple[bytes, int]:
    """The subtree at `path` that holds these encoded entries, which ascend: its node and its number of entries.

    All its nodes are put into `nodes`.
    """
    count = len(body) // ENTRY_BYTES
    if count <= BUCKET_SIZE:
        bucket = bytes((BUCKET, count)) + body
        nodes[path] = bucket if count or not path else None
        return bucket, count
    children: list[tuple[int, int, bytes]] = []
    half, shift = len(path) // 2, 0 if len(path) % 2 else 4
    start = 0
    while start < len(body):
        nibble = body[start + half] >> shift & 15
        end = start + ENTRY_BYTES
        while end < len(body) and body[end + half] >> shift & 15 == nibble:
            end += ENTRY_BYTES
        child, child_count = build_subtree(suite, path + _HEX[nibble], body[start:end], nodes)
        children.append((nibble, child_count, node_hash(suite, child)))
        start = end
    branch = nodes[path] = branch_of(children)
    return branch, count


def branch_of(children: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The branch with these children, which ascend: (nibble, number of entries, node hash) each."""
    present = sum(1 << nibble for nibble, _, _ in children)
    return bytes((BRANCH, present >> 8, present & 255)) + b"".join(
        [_CHILD.pack(count, digest) for _, count, digest in children]
    )


def _merged(body: bytes, changes: list[_Change]) -> bytes:
    """A bucket's encoded entries with `changes` applied, still ascending."""
    if len(changes) > BUCKET_SIZE:
        entries: dict[bytes, bytes] = {
            body[at : at + HASH_SIZE]: body[at + HASH_SIZE : at + ENTRY_BYTES]
            for at in range(0, len(body), ENTRY_BYTES)
        }
        for digest, value_digest in changes:
            if value_digest is None:
                entries.pop(digest, None)
            else:
                entries[digest] = value_digest
        return b"".join([digest + entries[digest] for digest in sorted(entries)])
    for digest, value_digest in changes:
        low, high = 0, len(body) // ENTRY_BYTES
        while low < high:
            middle = (low + high) // 2
            if body[middle * ENTRY_BYTES : middle * ENTRY_BYTES + HASH_SIZE] < digest:
                low = middle + 1
            else:
                high = middle
        start = low * ENTRY_BYTES
        end = start + ENTRY_BYTES if body[start : start + HASH_SIZE] == digest else start
        body = body[:start] + (b"" if value_digest is None else digest + value_digest) + body[end:]
    return body


def child_of(branch: bytes | bytearray, nibble: int) -> tuple[int, bytes | None]:
    """(number of entries, node hash) of a branch's child; (0, None) if it has none there."""
    present = branch[1] << 8 | branch[2]
    bit = 1 << nibble
    if not present & bit:
        return 0, None
    entries, child_hash = _CHILD.unpack_from(branch, BRANCH_START + (present & bit - 1).bit_count() * CHILD_BYTES)
    return entries, child_hash


def _entries_of(node: bytes) -> int:
    """How many entries the subtree of an encoded node has."""
    if node[0] == BUCKET:
        return node[1]
    return sum(int.from_bytes(node[at : at + 4], "big") for at in range(BRANCH_START, len(node), CHILD_BYTES))


def _damaged(path: str, what: str) -> DamagedStore:
    return DamagedStore(what, key=schema.tree_node(path), remedy=REMEDY_RESYNC)

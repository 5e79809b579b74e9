"""The state tree of the past: nodes that blocks superseded, kept so that what was can be proven.

The tree of the tip stands under its nodes' paths (`state_tree.py`). When block h replaces or removes a node, what stood
there goes to ``W path | h``: it is the node at every height below h that no older entry covers. Nothing is written for
nodes that stay, and reads of the tip meet none of this.

A superseded node mostly differs from the node that follows it in one child or entry, so it is kept as what differs
(`_differs`); every sixteenth one, or when that would not be shorter, or when no node follows, it is kept whole. Which
ones depends on path and state root of the block, so that every node keeps the same entries and a client cannot choose
to have none kept whole.

Invariants
  W1  The node of a path at height h is the first whole entry above h with the differences before it applied backwards,
      or the tip's node with all of them applied. It is believed only if it has the hash that its parent, and in the end
      the header of h, names (as T3 of `state_tree.py`).
  W2  Entries are read forwards from the asked height alone: those below a height can be removed without a change to any
      answer above it.

Layouts: `schema.py`. ADR 0096. Left out: from which height on trees are kept (`chain_store`, `chain_prune`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from common.core.state_proof import BRANCH, EMPTY_BUCKET, StateProof, key_hash, node_hash
from common.core.suite import Suite
from common.node.store import schema
from common.node.store.state_tree import TreeUpdate, child_of
from common.node.store.storage import ReadView
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore

WHOLE_EVERY: Final = 16
"""On average one of so many superseded nodes is kept whole: reading one applies some 16 differences, and a tree of
sixteen-way branches (579 bytes) spends as much on whole nodes as on differences (36 bytes and a key)."""
_WHOLE: Final = b"\0"
_DIFFERS: Final = b"\1"
_ENDS: Final = struct.Struct(">HH")


def superseded(update: TreeUpdate, height: int) -> Iterator[tuple[bytes, bytes]]:
    """What to write, beside the block's tree nodes, of the nodes that block `height` replaces or removes."""
    seed = zlib.crc32(update.root)
    for path, node in update.replaced.items():
        whole = zlib.crc32(path.encode("ascii"), seed) % WHOLE_EVERY == 0
        yield schema.past_node(path, height), _kept(node, None if whole else update.nodes[path])


def _kept(node: bytes, following: bytes | None) -> bytes:
    """`node` as what differs from the node that follows it; whole if that is not longer, or none is given."""
    if following is None:
        return _WHOLE + node
    size = min(len(node), len(following))
    # As one number, least byte first: its lowest bit tells the first byte that differs, its highest the last one.
    differs = int.from_bytes(node[:size], "little") ^ int.from_bytes(following[:size], "little")
    head = ((differs & -differs).bit_length() - 1) // 8 if differs else size
    if len(node) != len(following):
        differs = int.from_bytes(node[-size:], "little") ^ int.from_bytes(following[-size:], "little")
    tail = min(size - (differs.bit_length() + 7) // 8, size - head)
    if _ENDS.size + len(node) - head - tail >= len(node):
        return _WHOLE + node
    return _DIFFERS + _ENDS.pack(head, tail) + node[head : len(node) - tail]


def _applied(entry: bytes, following: bytes) -> bytes:
    """The node that an entry of what differs stands for."""
    head, tail = _ENDS.unpack_from(entry, 1)
    return following[:head] + entry[1 + _ENDS.size :] + following[len(following) - tail :]


def node_at(view: ReadView, path: str, height: int) -> bytes | None:
    """The node that stood at `path` after block `height`, unchecked (W1); None if there is none."""
    between: list[bytes] = []
    node: bytes | None = None
    for _, entry in view.scan(schema.past_nodes(path), schema.past_node(path, height + 1)):
        if entry[:1] == _WHOLE:
            node = entry[1:]
            break
        between.append(entry)
    else:
        node = view.get(schema.tree_node(path))
    if node is None:
        return None if path or between else EMPTY_BUCKET
    try:
        for entry in reversed(between):
            node = _applied(entry, node)
    except struct.error as error:
        raise _damaged(path, "a superseded node of the state tree is unreadable") from error
    return node


def prove_at(view: ReadView, suite: Suite, state_root: bytes | None, key: bytes, height: int) -> StateProof:
    """The proof that `key` had its value, or was absent, after block `height`.

    `state_root`: what the block's header names; None at height 0, which has no header. Raises DamagedStore if the kept
    nodes do not lead from that root to the key's place.
    """
    path = key_hash(suite, key).hex()
    nodes: list[bytes] = []
    expected = state_root
    while True:
        here = path[: len(nodes)]
        node = node_at(view, here, height)
        if node is None or (expected is not None and node_hash(suite, node) != expected):
            raise _damaged(here, f"the tree of height {height} is not whole")
        nodes.append(node)
        if node[0] != BRANCH:
            return StateProof(tuple(nodes))
        _, expected = child_of(node, int(path[len(here)], 16))
        if expected is None:
            return StateProof(tuple(nodes))


def check_past_trees(
    view: ReadView,
    suite: Suite,
    lowest: int,
    tip: int,
    root_of: Callable[[int], bytes],
    progress: Callable[[int], None],
) -> None:
    """Every tree from height `lowest` to below the tip is whole, given that the tip's is. Raises DamagedStore.

    The top node of each height is the one that its header names; height 0 has none. Going down: a superseded node is
    named by its parent, and whatever its children lose in the same block is kept too.
    """
    for height in range(max(lowest, 1), tip):
        top = node_at(view, "", height)
        if top is None or node_hash(suite, top) != root_of(height):
            raise _damaged("", f"the top of the tree of height {height} is not the one that its header names")
        progress(height)
    for key, _ in view.scan(schema.PAST_TREE):
        path, until = schema.read_past_node(key)
        if until <= lowest:
            continue
        before, after = node_at(view, path, until - 1), node_at(view, path, until)
        if before is None:
            raise _damaged(path, "a superseded node of the state tree is missing")
        if path:
            parent = node_at(view, path[:-1], until - 1)
            if parent is None or _children(parent).get(int(path[-1], 16)) != node_hash(suite, before):
                raise DamagedStore(
                    "a superseded node of the state tree is not the one that its parent names",
                    key=key,
                    remedy=REMEDY_RESYNC,
                )
        following = {} if after is None else _children(after)
        for nibble, child in _children(before).items():
            lost = f"{path}{nibble:x}"
            if following.get(nibble) != child and view.get(schema.past_node(lost, until)) is None:
                raise _damaged(lost, f"the tree of height {until - 1} is not whole")


def _children(node: bytes) -> dict[int, bytes]:
    """Nibble -> node hash of the children of a branch; a bucket has none."""
    found = {nibble: child_of(node, nibble)[1] for nibble in range(16)} if node[0] == BRANCH else {}
    return {nibble: child for nibble, child in found.items() if child is not None}


def _damaged(path: str, what: str) -> DamagedStore:
    return DamagedStore(what, key=schema.past_nodes(path), remedy=REMEDY_RESYNC)

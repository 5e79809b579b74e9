"""A second, naive implementation of the state tree, from docs/protocol-state.md alone: rebuilt from scratch each time.

It shares no code with the product but the suite's tagged hash.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.core.suite import Suite


def naive_nodes(suite: Suite, state: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """Path in hex digits -> encoded node, for every node of the tree of `state`."""
    entries = sorted(
        (
            suite.tagged_hash("tongjian/state/key/v1", key),
            suite.tagged_hash("tongjian/state/value/v1", value),
        )
        for key, value in state.items()
    )
    nodes: dict[str, bytes] = {}
    _build(suite, "", entries, nodes)
    return nodes


def naive_root(suite: Suite, state: Mapping[bytes, bytes]) -> bytes:
    """The state root."""
    return suite.tagged_hash("tongjian/state/node/v1", naive_nodes(suite, state)[""])


def _build(suite: Suite, path: str, entries: list[tuple[bytes, bytes]], nodes: dict[str, bytes]) -> bytes:
    if len(entries) <= 16:
        node = b"\x00" + bytes([len(entries)]) + b"".join(key + value for key, value in entries)
    else:
        present, children = 0, b""
        for digit in range(16):
            child_path = path + f"{digit:x}"
            below = [entry for entry in entries if entry[0].hex().startswith(child_path)]
            if below:
                child = _build(suite, child_path, below, nodes)
                present |= 1 << digit
                children += len(below).to_bytes(4, "big") + suite.tagged_hash("tongjian/state/node/v1", child)
        node = b"\x01" + present.to_bytes(2, "big") + children
    nodes[path] = node
    return node

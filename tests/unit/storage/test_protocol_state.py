"""docs/protocol-state.md is right: every hex value in it is recomputed, twice, from the words around it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from common.core.errors import ProofInvalid
from common.core.state_proof import MAX_NODE_BYTES, StateProof, empty_root, verify_state_proof
from common.core.suite import ED25519_SHA256 as SUITE
from common.node.store.state_tree import StateTree
from common.node.store.storage import MemoryStore
from tests.support.naive_state_tree import naive_nodes, naive_root

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "protocol-state.md").read_text("utf-8")
TWENTY = {b"k%02d" % number: b"v%d" % number for number in range(20)}


def example(title: str) -> dict[str, str]:
    """Name -> value of the code blocks below a heading; continued lines are joined, blanks dropped."""
    section = TEXT.split(f"### {title}\n")[1].split("\n###")[0]
    values: dict[str, str] = {}
    name = ""
    for block in re.findall(r"```\n(.*?)```", section, re.DOTALL):
        for line in block.splitlines():
            name = line[:12].strip() or name
            values[name] = values.get(name, "") + line[12:].replace(" ", "")
    return values


def verify(root: str, key: bytes, value: bytes | None, *nodes: str) -> None:
    """Check a proof whose nodes stand in the document."""
    verify_state_proof(SUITE, bytes.fromhex(root), key, value, StateProof(tuple(map(bytes.fromhex, nodes))))


def product_root(state: dict[bytes, bytes]) -> str:
    """The root as the node computes it."""
    return StateTree(MemoryStore(), SUITE).apply(dict(state)).root.hex()


def test_empty_state() -> None:
    shown = example("The empty state")
    assert shown["state root"] == naive_root(SUITE, {}).hex() == empty_root(SUITE).hex() == product_root({})
    assert shown["top node"] == naive_nodes(SUITE, {})[""].hex()
    verify(shown["state root"], b"any", None, shown["top node"])


def test_one_entry() -> None:
    shown = example("One entry")
    key, value = shown["key"].encode(), shown["value"].encode()
    assert shown["key hash"] == SUITE.tagged_hash("tongjian/state/key/v1", key).hex()
    assert shown["value hash"] == SUITE.tagged_hash("tongjian/state/value/v1", value).hex()
    assert shown["top node"] == naive_nodes(SUITE, {key: value})[""].hex()
    assert shown["state root"] == naive_root(SUITE, {key: value}).hex() == product_root({key: value})
    verify(shown["state root"], key, value, shown["top node"])
    verify(shown["state root"], b"holding/BJ000001/A2", None, shown["top node"])


def test_twenty_entries() -> None:
    shown = example("Twenty entries")
    nodes = naive_nodes(SUITE, TWENTY)
    assert shown["top node"] == nodes[""].hex()
    assert shown["node 4"] == nodes["4"].hex()
    assert shown["state root"] == naive_root(SUITE, TWENTY).hex() == product_root(TWENTY)
    assert SUITE.tagged_hash("tongjian/state/key/v1", b"k07").hex() in TEXT
    root, top, node = shown["state root"], shown["top node"], shown["node 4"]
    verify(root, b"k07", b"v7", top, node)
    verify(root, b"k20", None, top, node)
    verify(root, b"k25", None, top)
    with pytest.raises(ProofInvalid):
        verify(root, b"k25", None, top, node)


def test_e4_tags_codes_and_bounds_in_the_document_are_those_of_the_code() -> None:
    source = (ROOT / "common" / "core" / "state_proof.py").read_text("utf-8")
    assert set(re.findall(r'"(tongjian/[a-z0-9/-]+)"', TEXT)) == set(re.findall(r'"(tongjian/[a-z0-9/-]+)"', source))
    codes = set(re.findall(r'"(state_proof_[a-z]+)"', source)) - {"state_proof_format"}
    assert set(re.findall(r"`(state_proof_[a-z]+)`", TEXT)) == codes
    assert f"{MAX_NODE_BYTES:,} bytes a node" in TEXT


def test_golden_tree_of_a_thousand_entries() -> None:
    """Frozen bytes: root and proofs of a tree with branches below branches."""
    vector = json.loads((ROOT / "tests" / "vectors" / "state_tree_v1.json").read_text("utf-8"))
    state = {b"key/%04d" % number: b"value %d" % number for number in range(vector["entries"])}
    store = MemoryStore()
    tree = StateTree(store, SUITE)
    update = tree.apply(dict(state))
    store.write(update.writes, sync=True)
    tree.advance(update)
    assert tree.root.hex() == vector["state_root"] == naive_root(SUITE, state).hex()
    for kind in ("present", "absent"):
        for key, case in vector[kind].items():
            assert tree.prove(key.encode()).to_json() == case["proof"]
            value = case["value"].encode() if kind == "present" else None
            verify_state_proof(SUITE, tree.root, key.encode(), value, StateProof.from_json(case["proof"]))
            assert len(case["proof"]["nodes"]) >= 3

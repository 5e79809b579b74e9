"""Snapshots count only at exactly their place under a verified header's root (attacks R5, R6, E6, E7, E8)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.codec import canonical_json, parse_json
from common.core.errors import Rejected
from common.core.merkle import leaf_hash
from crosslink.lightclient.delivery import (
    MAX_BLOCKS,
    MAX_HEADER_BYTES,
    MAX_PROOF_BYTES,
    MAX_SNAPSHOTS,
    BlockDelivery,
    Delivery,
    MisbehaviourDelivery,
    SnapshotItem,
    parse_misbehaviour,
    parse_submit,
    verify_items,
)
from crosslink.lightclient.pbft.client import PBFT
from crosslink.lightclient.pbft.objects import Commitments
from crosslink.lightclient.port import Delivered
from tests.support.chains import BuiltBlock, ChainBuilder, sample_snapshot

CHAIN = ChainBuilder()
SUITE = CHAIN.suite


def block_of(count: int) -> BuiltBlock:
    return CHAIN.draft([sample_snapshot(f"object-{count}-{index}") for index in range(count)])


def committed(block: BuiltBlock) -> bytes:
    return Commitments.of(SUITE, block.header).encode()


def verify_snapshots(block: BuiltBlock, start: int, snapshots: Any, proofs: Any = None) -> Delivered:
    return PBFT.verify_objects(committed(block), start, snapshots, proofs)


def refusal(block: BuiltBlock, start: int, snapshots: Any, proofs: Any = None) -> str:
    with pytest.raises(Rejected) as caught:
        verify_snapshots(block, start, snapshots, proofs)
    return caught.value.code


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 13])
def test_a_whole_block_needs_no_proofs_and_any_part_needs_them(count: int) -> None:
    block = block_of(count)
    assert verify_snapshots(block, 0, block.snapshots) == Delivered(complete=True)
    assert list(PBFT.prove_objects(committed(block), block.snapshots)) == [block.proof(at) for at in range(count)]
    for start in range(count):
        for end in range(start + 1, count + 1):
            proofs = [block.proof(index) for index in range(start, end)]
            part = verify_snapshots(block, start, block.snapshots[start:end], proofs)
            assert part.complete is (end == count)
            if end - start < count:
                assert refusal(block, start, block.snapshots[start:end]) == "snapshot_proofs_missing"


def test_r6_omitted_reordered_doubled_or_added_snapshot_is_refused() -> None:
    block = block_of(4)
    s = list(block.snapshots)
    assert refusal(block, 0, s[:3]) == "snapshot_proofs_missing"
    assert refusal(block, 0, [s[1], s[0], s[2], s[3]]) == "snapshot_root_mismatch"
    assert refusal(block, 0, [s[0], s[1], s[2], s[2]]) == "snapshot_root_mismatch"
    assert refusal(block, 0, [*s, s[3]]) == "snapshot_count"
    assert not verify_snapshots(block, 0, []).complete
    assert refusal(block, 4, [s[0]]) == "snapshot_count"
    assert refusal(block, -1, [s[0]]) == "snapshot_count"
    assert refusal(block, 3, [s[3], s[3]], [block.proof(3)] * 2) == "snapshot_count"
    assert refusal(block, 0, s, [block.proof(0)]) == "snapshot_proofs_missing"
    assert refusal(block, 0, [s[1], s[0]], [block.proof(1), block.proof(0)]) == "proof_root_mismatch"


def test_r6_block_without_snapshots_cannot_be_given_any() -> None:
    block = block_of(0)
    assert refusal(block, 0, [sample_snapshot("smuggled")]) == "snapshot_count"
    lying = CHAIN.draft([sample_snapshot("hidden")], snapshot_count=0)
    assert verify_snapshots(lying, 0, []) == Delivered(complete=True, contradictory=True)
    assert verify_snapshots(block, 0, []) == Delivered(complete=True)


def test_e7_doubled_last_leaf_does_not_pass_for_an_odd_block() -> None:
    block = block_of(3)
    padded = CHAIN.draft(block.snapshots, snapshot_count=4)
    assert refusal(padded, 0, [*block.snapshots, block.snapshots[2]]) == "snapshot_root_mismatch"


def test_e6_e8_inner_nodes_and_wrong_proof_lengths_are_refused() -> None:
    block = block_of(4)
    left = leaf_hash(SUITE.hash, block.snapshots[0]) + leaf_hash(SUITE.hash, block.snapshots[1])
    two = CHAIN.draft(block.snapshots, snapshot_count=2)
    assert refusal(two, 0, [left], [block.proof(0)[32:]]) == "proof_root_mismatch"
    proof = block.proof(1)
    assert refusal(block, 1, [block.snapshots[1]], [proof[:32]]) == "proof_length"
    assert refusal(block, 1, [block.snapshots[1]], [proof + bytes(32)]) == "proof_length"
    assert refusal(block, 1, [block.snapshots[1]], [b""]) == "proof_length"
    assert refusal(block, 1, [block.snapshots[1]], [proof[:33]]) == "proof_item_size"
    assert refusal(block, 1, [block.snapshots[1]], [bytes(33 * 32)]) == "proof_item_size"


@settings(max_examples=200)
@given(count=st.integers(1, 9), data=st.data())
def test_r5_any_changed_bit_of_a_snapshot_proof_index_or_count_is_refused(count: int, data: st.DataObject) -> None:
    block = block_of(count)
    index = data.draw(st.integers(0, count - 1))
    proof, snapshot = block.proof(index), block.snapshots[index]
    what = data.draw(st.sampled_from(["snapshot", "whole", "index", *(["proof"] if proof else [])]))
    if what == "index":
        other = data.draw(st.integers(0, count).filter(lambda value: value != index))
        with pytest.raises(Rejected):
            verify_snapshots(block, other, [snapshot], [proof])
        return
    target = proof if what == "proof" else snapshot
    bit = data.draw(st.integers(0, len(target) * 8 - 1))
    changed = bytearray(target)
    changed[bit // 8] ^= 1 << bit % 8
    if what == "proof":
        refusal(block, index, [snapshot], [bytes(changed)])
    elif what == "whole":
        refusal(block, 0, [*block.snapshots[:index], bytes(changed), *block.snapshots[index + 1 :]])
    else:
        refusal(block, index, [bytes(changed)], [proof])


def items(block: BuiltBlock, start: int, end: int, *, proofs: bool = True) -> tuple[SnapshotItem, ...]:
    return tuple(
        SnapshotItem(index, block.snapshots[index], block.proof(index) if proofs else None)
        for index in range(start, end)
    )


def test_an_operation_survives_its_json_form_and_delivers_a_block_in_parts() -> None:
    block = block_of(5)
    first = BlockDelivery(header=block.signed, snapshots=items(block, 0, 2))
    rest = BlockDelivery(height=block.height, snapshots=items(block, 2, 5))
    for delivery in (Delivery("beijing", (first, rest)), Delivery("beijing", (rest,))):
        assert parse_submit(delivery.to_operation()) == delivery
    assert not verify_items(PBFT, committed(block), 0, first.snapshots).complete
    assert verify_items(PBFT, committed(block), 2, rest.snapshots).complete


def test_r6_part_that_starts_elsewhere_than_due_is_refused() -> None:
    block = block_of(5)
    for due, part in ((0, items(block, 1, 3)), (2, items(block, 1, 3)), (3, items(block, 4, 5))):
        with pytest.raises(Rejected, match="snapshot_order"):
            verify_items(PBFT, committed(block), due, part)
    assert not verify_items(PBFT, committed(block), 2, ()).complete


def submit(**changes: Any) -> dict[str, Any]:
    block = block_of(3)
    entry: dict[str, Any] = BlockDelivery(header=block.signed, snapshots=items(block, 0, 3, proofs=False)).to_json()
    entry.update(changes)
    entry = {name: value for name, value in entry.items() if value is not None}
    return {"type": "crosslink.submit", "region": "beijing", "blocks": [entry]}


def snapshots_with(**changes: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = submit()["blocks"][0]["snapshots"]
    entries[1].update(changes)
    return [{name: value for name, value in entry.items() if value is not None} for entry in entries]


BAD_OPERATIONS = {
    "no blocks": submit() | {"blocks": []},
    "blocks is an object": submit() | {"blocks": {}},
    "too many blocks": submit() | {"blocks": submit()["blocks"] * (MAX_BLOCKS + 1)},
    "region is a path": submit() | {"region": "../beijing"},
    "region is missing": {"type": "crosslink.submit", "blocks": submit()["blocks"]},
    "a root of its own": submit() | {"trust_root": {}},
    "a set of its own": submit(validators="00"),
    "height beside a header": submit(height=3),
    "height zero": {"type": "crosslink.submit", "region": "beijing", "blocks": [{"height": 0, "snapshots": []}]},
    "upper-case hex": submit(header=submit()["blocks"][0]["header"].upper()),
    "odd hex": submit(header="abc"),
    "a certificate beside the header": submit(certificate="00"),
    "oversized header": submit(header="00" * (MAX_HEADER_BYTES + 1)),
    "no snapshots": submit(snapshots=None),
    "index skipped": submit(snapshots=snapshots_with(index=2)),
    "index doubled": submit(snapshots=snapshots_with(index=0)),
    "index negative": submit(snapshots=snapshots_with(index=-1)),
    "index is a boolean": submit(snapshots=snapshots_with(index=True)),
    "data is an object": submit(snapshots=snapshots_with(data={})),
    "data has half a surrogate pair": submit(snapshots=snapshots_with(data="\ud800")),
    "text in hex": submit(snapshots=snapshots_with(data=None, data_hex="7b7d")),
    "text and hex": submit(snapshots=snapshots_with(data_hex="ff")),
    "some proofs only": submit(snapshots=snapshots_with(proof="")),
    "proof is a list": submit(snapshots=snapshots_with(proof=["ab" * 32])),
    "endless proof": submit(snapshots=snapshots_with(proof="ab" * (MAX_PROOF_BYTES + 1))),
    "unknown field": submit(snapshots=snapshots_with(schema="none")),
}


@pytest.mark.parametrize("operation", BAD_OPERATIONS.values(), ids=BAD_OPERATIONS.keys())
def test_e2_r4_malformed_delivery_is_refused_with_a_code(operation: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        parse_submit(operation)


def test_a_misbehaviour_operation_survives_its_json_form() -> None:
    delivery = MisbehaviourDelivery(region="beijing", first=block_of(1).signed, second=block_of(2).signed)
    assert parse_misbehaviour(delivery.to_operation()) == delivery
    with pytest.raises(Rejected, match="field_unknown"):
        parse_misbehaviour(delivery.to_operation() | {"culprits": ["beijing-1"]})
    with pytest.raises(Rejected, match="field_type"):
        parse_misbehaviour(delivery.to_operation() | {"first": {"header": "00"}})


def test_bytes_that_are_no_text_are_delivered_as_they_are() -> None:
    for data in (b"", b"\xff\x00", "\u76d1\u7ba1".encode(), b'{"quantity":1.50}'):
        delivery = Delivery("beijing", (BlockDelivery(height=1, snapshots=(SnapshotItem(0, data, b""),)),))
        assert parse_submit(parse_json(canonical_json(delivery.to_operation()), max_size=1000)) == delivery


def test_n1_more_snapshots_than_an_operation_may_have_are_refused() -> None:
    entry = {"height": 1, "snapshots": [{"index": index, "data": "{}"} for index in range(MAX_SNAPSHOTS)]}
    whole = {"type": "crosslink.submit", "region": "beijing", "blocks": [entry]}
    assert len(parse_submit(whole).blocks[0].snapshots) == MAX_SNAPSHOTS
    with pytest.raises(Rejected, match="delivery_too_large"):
        parse_submit(whole | {"blocks": [entry, {"height": 2, "snapshots": [{"index": 0, "data": "{}"}]}]})


def test_r8_a_delivery_reaches_nothing_but_headers_and_snapshots() -> None:
    for field in ("trust_root", "client_state", "validators", "signers", "policy", "role", "recover", "frozen"):
        for operation in (submit() | {field: {}}, submit(**{field: {}})):
            with pytest.raises(Rejected, match="field_unknown"):
                parse_submit(operation)


def test_random_splits_of_a_block_always_add_up() -> None:
    generator = random.Random(7)
    for _ in range(30):
        block = block_of(generator.randint(1, 12))
        due = 0
        while due < len(block.snapshots):
            end = generator.randint(due + 1, len(block.snapshots))
            delivered = verify_items(PBFT, committed(block), due, items(block, due, end))
            due = end
        assert delivered.complete

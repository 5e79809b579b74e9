"""A client type that shares nothing with ours, through the port alone: weights, slots, hand-overs, chained hashes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.codec import canonical_json, parse_json
from common.core.errors import InvariantBroken, Rejected
from crosslink.lightclient import client_types
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.delivery import BlockDelivery, Delivery, SnapshotItem, parse_submit
from crosslink.lightclient.port import SAME_HEIGHT, WRONG_PARENT, Verdict
from crosslink.lightclient.trust_root import TrustRoot
from crosslink.lightclient.update import freeze, update
from crosslink.lightclient.verify import check_misbehaviour, verify, verify_misbehaviour
from tests.foreign.blocks import Islet
from tests.foreign.client import ISLET, ISLET_CLIENT_TYPE, IsletClient, checkpoint_of, root_of

START_S = 1_700_000_000
NOW_MS = 1000 * (START_S + 3600)


def islet(*skips: int) -> Islet:
    chain = Islet(start_s=START_S)
    for number, skip in enumerate(skips):
        chain.grow([f"object {number}".encode()], skip=skip)
    return chain


def followed(chain: Islet) -> ClientState:
    state = ClientState.from_root(root_of(islet()), established_ms=1000 * START_S)
    for block in chain.blocks:
        state = update(state, verify(state, block.signed, now_ms=NOW_MS))
    return state


def refusal(state: ClientState, header: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        verify(state, header, now_ms=NOW_MS)
    return caught.value.code


def test_a_chain_with_empty_slots_is_followed_by_parents() -> None:
    chain = islet(0, 5, 70, 1)
    state = followed(chain)
    assert [block.slot for block in chain.blocks] == [1, 7, 78, 80]
    assert (state.height, state.block_id, len(state.block_id)) == (80, chain.tip_id, 48)
    assert ClientState.from_json(parse_json(canonical_json(state.to_json()), max_size=9999)) == state
    held = {block.slot: block.id for block in chain.blocks}
    assert verify(state, chain.blocks[1].signed, now_ms=NOW_MS, held=held.get).verdict is Verdict.KNOWN
    assert refusal(state, chain.blocks[1].signed) == "stale_header"


def test_r6_a_block_that_was_left_out_is_a_gap() -> None:
    chain = islet(0, 5, 3)
    state = followed(islet(0))
    assert refusal(state, chain.blocks[2].signed) == "header_gap"


def test_r2_weight_decides_and_not_the_number_of_signers() -> None:
    chain = islet()
    state = followed(chain)
    heavy = chain.draft(signers=["amber", "birch"])
    assert verify(state, heavy.signed, now_ms=NOW_MS).verdict is Verdict.NEXT
    assert refusal(state, chain.draft(signers=["birch", "cedar"]).signed) == "certificate_too_few"
    assert refusal(state, chain.draft(signers=["amber", "birch", "mallory"]).signed) == "certificate_unknown_signer"


def test_r2_only_those_to_whom_the_old_ones_handed_over_sign_next() -> None:
    chain = islet(0)
    before, weights = followed(chain), {"amber": 1, "dogwood": 9}
    stolen = islet(0)
    stolen.hand_over({"mallory": 1}, signers=["cedar"])
    assert refusal(before, stolen.draft().signed) == "certificate_too_few"
    chain.hand_over(weights)
    unannounced = replace(chain.draft(), handover=None)
    assert refusal(before, unannounced.signed) == "wrong_set"
    chain.grow()
    after = followed(chain)
    old = islet(0, 0)
    assert refusal(after, old.draft(before=chain.tip_id.hex()).signed) == "wrong_set"
    assert verify(after, chain.draft().signed, now_ms=NOW_MS).verdict is Verdict.NEXT
    assert refusal(after, chain.draft(signers=["amber"]).signed) == "certificate_too_few"


def test_what_is_alike_for_all_types_holds_without_their_doing() -> None:
    chain = islet(0, 0)
    state = followed(chain)
    header = chain.draft().signed
    assert refusal(state, chain.draft(seconds=START_S).signed) == "wrong_time"
    assert refusal(state, chain.draft(seconds=START_S + 7200).signed) == "future_header"
    assert refusal(replace(state, trusting_period_ms=1), header) == "expired"
    assert refusal(replace(state, frozen_height=1), header) == "frozen"


def test_r3_two_signed_blocks_at_one_slot_freeze_and_name_who_signed_both() -> None:
    chain = islet(0, 2, 4)
    state, rival = followed(chain), chain.rival(-1)
    found = check_misbehaviour(state, verify(state, rival.signed, now_ms=NOW_MS))
    assert (found.kind, found.first_id, found.second_id) == (SAME_HEIGHT, chain.tip_id, rival.id)
    pair = verify_misbehaviour(state, chain.blocks[-1].signed, rival.signed, now_ms=NOW_MS)
    assert [culprit.name for culprit in pair.culprits] == ["amber", "birch", "cedar"]
    assert refusal(freeze(state, pair), chain.draft().signed) == "frozen"
    with pytest.raises(Rejected, match="misbehaviour_unproven"):
        verify_misbehaviour(state, rival.signed, rival.signed, now_ms=NOW_MS)


def test_r3_a_signed_block_on_another_parent_is_misbehaviour_too() -> None:
    chain = islet(0, 2)
    state = followed(chain)
    branch = islet(0)
    branch.append(chain.rival(-1))
    found = check_misbehaviour(state, verify(state, branch.draft().signed, now_ms=NOW_MS))
    assert found.kind == WRONG_PARENT
    assert {pair[1:] for pair in found.pairs} == {
        (chain.tip_id, branch.draft().id), (chain.tip_id, branch.tip_id),
    }  # fmt: skip


def test_c10_r7_headers_of_another_chain_or_deployment_are_refused() -> None:
    state = followed(islet(0))
    assert refusal(state, Islet("reef", start_s=START_S).draft().signed) == "wrong_network"
    other = Islet("islet", {"amber": 7, "birch": 3, "cedar": 2}, START_S)
    assert refusal(state, other.draft().signed) == "wrong_genesis"


@settings(max_examples=100)
@given(data=st.data())
def test_r5_any_changed_bit_of_a_header_is_refused(data: st.DataObject) -> None:
    chain = islet(0)
    state, wire = followed(chain), bytearray(chain.draft([b"x"]).signed)
    bit = data.draw(st.integers(0, len(wire) * 8 - 1))
    wire[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Rejected):
        verify(state, bytes(wire), now_ms=NOW_MS)


def test_r5_a_signature_has_one_spelling() -> None:
    """Upper-case digits of a signature say the same number; they are another header, and refused."""
    chain = islet(0)
    state, wire = followed(chain), chain.draft([b"x"]).signed
    *_, last = re.finditer(rb"[0-9a-f]{100,}", wire)
    shouted = wire[: last.start()] + last.group().upper() + wire[last.end() :]
    with pytest.raises(Rejected):
        verify(state, shouted, now_ms=NOW_MS)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_r6_objects_are_complete_when_the_end_is_reached_and_no_count_says_so(count: int) -> None:
    objects = [f"object {number}".encode() for number in range(count)]
    block = ISLET.read_block(islet().draft(objects).signed, network="islet")
    proofs = ISLET.prove_objects(block.commitments, objects)
    assert ISLET.verify_objects(block.commitments, 0, [], None).complete is (count == 0)
    for start in range(count):
        for end in range(start + 1, count + 1):
            part = ISLET.verify_objects(block.commitments, start, objects[start:end], proofs[start:end])
            assert part.complete is (end == count)
    if count:
        assert ISLET.verify_objects(block.commitments, 0, objects, None).complete
        for wrong in (objects[1:], [*objects, b"more"], objects[::-1] if count > 1 else [b"other"]):
            with pytest.raises(Rejected):
                ISLET.verify_objects(block.commitments, 0, wrong or [b"other"], None)
        with pytest.raises(Rejected):
            ISLET.verify_objects(block.commitments, 1, objects[:1], proofs[:1])


def test_a_delivery_of_it_survives_its_json_form() -> None:
    block = islet().draft([b"\xff\x00", b'{"quantity":1.50}'])
    items = tuple(SnapshotItem(at, data) for at, data in enumerate(block.objects))
    delivery = Delivery("islet", (BlockDelivery(header=block.signed, snapshots=items),))
    assert parse_submit(delivery.to_operation()) == delivery


def test_roots_and_checkpoints_are_read_by_the_type() -> None:
    chain = islet(0, 3)
    root = replace(root_of(islet()), checkpoint=checkpoint_of(chain, chain.blocks[-1]))
    assert TrustRoot.from_json(root.to_json()) == root
    assert root.fingerprint() == root_of(islet()).fingerprint()
    state = ClientState.from_root(root, established_ms=NOW_MS)
    assert (state.height, state.root_height, state.block_id) == (5, 5, chain.tip_id)
    for trust in ({}, {"validators": [], "epoch": 0}, {"suite": "ed25519-sha256", "validators": []}):
        with pytest.raises(Rejected):
            root_of(islet(), trust=trust)


def test_one_name_is_one_type_and_a_later_one_waits_for_its_version() -> None:
    client_types.register(ISLET)
    with pytest.raises(InvariantBroken):
        client_types.register(IsletClient())
    client_types.check_available(ISLET_CLIENT_TYPE, 1)
    later = type("Later", (IsletClient,), {"client_type": "islet/v2", "since": 9})()
    client_types.register(later)
    with pytest.raises(Rejected, match="unknown_client_type"):
        client_types.check_available("islet/v2", 8)
    client_types.check_available("islet/v2", 9)

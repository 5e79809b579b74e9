"""`verify_header`: stale, foreign, forged and altered headers are refused by name; only the successor moves the tip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.errors import Rejected
from common.core.validators import Validator, ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.pbft.messages import HeaderMessage, encode_parts
from crosslink.lightclient.pbft.trust import trust_of
from crosslink.lightclient.port import Verdict, is_retryable
from crosslink.lightclient.update import update
from crosslink.lightclient.verify import MAX_HEADER_AHEAD_MS, check_misbehaviour, verify
from tests.support.chains import BLOCK_MS, START_MS, BuiltBlock, ChainBuilder, member_names, sign_header, validator_set
from tests.support.lightclient import verify_header

NOW_MS = START_MS + 3600_000


def chain_of(count: int) -> ChainBuilder:
    chain = ChainBuilder()
    chain.grow(count, snapshots_each=1)
    return chain


def followed(chain: ChainBuilder, count: int) -> ClientState:
    """The light client after the first `count` blocks."""
    state = chain.client_state()
    for block in chain.blocks[:count]:
        state = update(state, verify_header(state, block.message, now_ms=NOW_MS))
    return state


def refusal(state: ClientState, block: BuiltBlock | HeaderMessage, **options: Any) -> str:
    message = block.message if isinstance(block, BuiltBlock) else block
    with pytest.raises(Rejected) as caught:
        verify_header(state, message, now_ms=options.pop("now_ms", NOW_MS), **options)
    return caught.value.code


def decoded(block: BuiltBlock) -> HeaderMessage:
    return HeaderMessage.decode(block.signed)


def test_a_client_follows_a_chain_block_by_block() -> None:
    chain = chain_of(5)
    state = chain.client_state()
    for block in chain.blocks:
        verified = verify_header(state, decoded(block), now_ms=NOW_MS)
        assert verified.verdict is Verdict.NEXT
        assert check_misbehaviour(state, verified) is None
        state = update(state, verified)
        assert ClientState.from_json(state.to_json()) == state
    assert (state.height, state.block_id, state.time_ms) == (5, chain.tip_id, START_MS + 5 * BLOCK_MS)


def test_r1_stale_header_is_refused_and_a_known_one_changes_nothing() -> None:
    chain = chain_of(3)
    state = followed(chain, 3)
    assert refusal(state, chain.block(2)) == "stale_header"
    for height, known in ((2, chain.id_at(2)), (3, None)):
        verified = verify_header(state, chain.block(height).message, now_ms=NOW_MS, known_id=known)
        assert verified.verdict is Verdict.KNOWN
        assert update(state, verified) == state


def test_r1_expired_client_accepts_nothing() -> None:
    chain = chain_of(2)
    state = followed(chain, 1)
    edge_ms = state.time_ms + state.trusting_period_ms
    assert verify_header(state, chain.block(2).message, now_ms=edge_ms).verdict is Verdict.NEXT
    assert refusal(state, chain.block(2), now_ms=edge_ms + 1) == "expired"


def test_r1_client_established_late_may_catch_up_with_old_blocks() -> None:
    chain = chain_of(2)
    late_ms = START_MS + 10 * chain.trust_root().trusting_period_ms
    state = chain.client_state(established_ms=late_ms)
    for block in chain.blocks:
        state = update(state, verify_header(state, block.message, now_ms=late_ms + 1000))
    assert state.is_expired(late_ms + state.trusting_period_ms + 1)


def test_header_from_the_future_is_a_retryable_refusal() -> None:
    chain = chain_of(1)
    state = chain.client_state()
    time_ms = chain.block(1).header.time_ms
    with pytest.raises(Rejected) as caught:
        verify_header(state, chain.block(1).message, now_ms=time_ms - MAX_HEADER_AHEAD_MS - 1)
    assert caught.value.code == "future_header"
    assert is_retryable(caught.value)
    verify_header(state, chain.block(1).message, now_ms=time_ms - MAX_HEADER_AHEAD_MS)


def test_r6_omitted_block_is_a_gap() -> None:
    chain = chain_of(3)
    with pytest.raises(Rejected) as caught:
        verify_header(followed(chain, 1), chain.block(3).message, now_ms=NOW_MS)
    assert caught.value.code == "header_gap"
    assert is_retryable(caught.value)


def test_r2_header_signed_by_anyone_but_the_set_of_its_parent_is_refused() -> None:
    chain = chain_of(1)
    state = followed(chain, 1)
    strangers = validator_set(member_names("stranger"))
    claimed = chain.draft(validators_hash=strangers.hash(chain.suite), next_validators_hash=strangers.hash(chain.suite))
    assert refusal(state, chain.seal(claimed.header, signing=strangers)) == "wrong_set"
    hidden = chain.draft()
    assert refusal(state, chain.seal(hidden.header, signing=strangers)) == "certificate_bad_signature"


def test_r2_c9_removed_and_not_yet_added_validators_do_not_count() -> None:
    chain = chain_of(1)
    before, after = chain.validators, validator_set(member_names("beijing", 4, first=3))
    change = chain.draft(next_validators=after)
    early = chain.seal(change.header, signing=after, next_validators=after)
    assert refusal(followed(chain, 1), early) == "certificate_bad_signature"
    chain.append(change)
    state = followed(chain, 2)
    assert trust_of(state).validators == after
    late = chain.draft()
    assert refusal(state, chain.seal(late.header, signing=before)) == "certificate_bad_signature"
    own_word = chain.draft(validators_hash=before.hash(chain.suite), next_validators_hash=before.hash(chain.suite))
    assert refusal(state, chain.seal(own_word.header, signing=before)) == "wrong_set"
    assert verify_header(state, late.message, now_ms=NOW_MS).verdict is Verdict.NEXT


@pytest.mark.parametrize("size", range(1, 11))
def test_c7_one_vote_less_than_a_quorum_is_refused(size: int) -> None:
    chain = ChainBuilder(names=member_names("beijing", size))
    state, block = chain.client_state(), chain.draft()
    quorum = chain.validators.quorum
    for signers in (range(quorum), range(size - quorum, size), range(size)):
        sealed = chain.seal(block.header, signers=signers)
        assert verify_header(state, sealed.message, now_ms=NOW_MS).verdict is Verdict.NEXT
    assert refusal(state, chain.seal(block.header, signers=range(quorum - 1))) == "certificate_too_few"


def forged(block: BuiltBlock, signatures: tuple[tuple[int, bytes], ...]) -> HeaderMessage:
    return replace(block.message, certificate=replace(block.certificate, signatures=signatures))


def test_c4_c8_duplicated_unknown_swapped_and_wrong_view_signers_are_refused() -> None:
    chain = chain_of(1)
    state, block = chain.client_state(), chain.block(1)
    first, second, third = block.certificate.signatures
    assert refusal(state, forged(block, (first, second, second))) == "certificate_order"
    assert refusal(state, forged(block, (first, second, (3, second[1])))) == "certificate_bad_signature"
    assert refusal(state, forged(block, (first, second, (9, third[1])))) == "certificate_unknown_signer"
    assert refusal(state, forged(block, ((0, second[1]), (1, first[1]), third))) == "certificate_bad_signature"
    assert refusal(state, forged(block, (first, second))) == "certificate_too_few"
    other_view = replace(block.certificate, view=1)
    assert refusal(state, replace(block.message, certificate=other_view)) == "certificate_bad_signature"
    proper = sign_header(block.header, chain.validators, view=1)
    assert verify_header(state, replace(block.message, certificate=proper), now_ms=NOW_MS).verdict is Verdict.NEXT


def test_c10_r7_header_of_another_network_or_deployment_is_refused() -> None:
    chain = chain_of(1)
    state = chain.client_state()
    namesake = ChainBuilder(application={"another": "deployment"})
    namesake.grow(1)
    assert refusal(state, namesake.block(1)) == "wrong_genesis"
    other = ChainBuilder(network="shanghai", names=chain.names)
    other.grow(1)
    assert refusal(state, other.block(1)) == "wrong_network"
    for changes in ({"network": "shanghai"}, {"genesis_id": b"\x01" * 32}):
        moved = replace(chain.block(1).header, **changes)
        assert refusal(state, replace(chain.block(1).message, header=moved)) in ("wrong_network", "wrong_genesis")


def test_c10_certificate_of_another_height_is_refused() -> None:
    chain = chain_of(2)
    crossed = replace(chain.block(1).message, certificate=chain.block(2).certificate)
    assert refusal(chain.client_state(), crossed) == "certificate_wrong_height"


def test_certified_time_that_does_not_increase_is_refused() -> None:
    chain = chain_of(2)
    state = followed(chain, 2)
    for time_ms in (0, state.time_ms - 1, state.time_ms):
        assert refusal(state, chain.draft(time_ms=time_ms)) == "wrong_time"


def test_set_change_needs_the_next_set_and_exactly_that_one() -> None:
    chain = chain_of(1)
    state = followed(chain, 1)
    change = chain.draft(next_validators=validator_set(member_names("beijing", 5)))
    assert refusal(state, replace(change.message, next_validators=None)) == "next_set_missing"
    wrong = validator_set(member_names("beijing", 6))
    assert refusal(state, replace(change.message, next_validators=wrong)) == "next_set_mismatch"
    reordered = validator_set(reversed(member_names("beijing", 5)))
    assert refusal(state, replace(change.message, next_validators=reordered)) == "next_set_mismatch"
    plain = chain.draft()
    assert refusal(state, replace(plain.message, next_validators=wrong)) == "next_set_mismatch"
    same = verify_header(state, replace(plain.message, next_validators=chain.validators), now_ms=NOW_MS)
    assert trust_of(update(state, same)).epochs == trust_of(state).epochs


def test_epochs_remember_which_set_governed_which_height() -> None:
    chain = ChainBuilder()
    sets = [chain.validators]
    for number in range(3):
        chain.grow(1)
        sets.append(validator_set(member_names("beijing", 4, first=number + 2)))
        chain.extend(next_validators=sets[-1])
    state = followed(chain, 6)
    hashes = [held.hash(chain.suite) for held in sets]
    assert [trust_of(state).validators_hash_at(height) for height in range(1, 8)] == [
        hashes[0], hashes[0], hashes[1], hashes[1], hashes[2], hashes[2], hashes[3],
    ]  # fmt: skip
    assert trust_of(state).validators_hash_at(0) is None


def test_r5_numbers_that_json_cannot_carry_are_refused_when_decoded() -> None:
    chain = ChainBuilder()
    numbers: list[dict[str, Any]] = [{"height": 2**53}, {"time_ms": 2**64 - 1}]
    for changes in numbers:
        block = chain.seal(replace(chain.draft().header, **changes))
        with pytest.raises(Rejected, match="header_range"):
            decoded(block)


CHAIN = chain_of(2)
STATE = followed(CHAIN, 1)
NEXT = CHAIN.block(2)


def parts(header: bytes, certificate: bytes) -> bytes:
    return encode_parts(CHAIN.suite, header, certificate, None)


@settings(max_examples=150)
@given(data=st.data())
def test_r5_any_changed_bit_of_a_header_is_refused(data: st.DataObject) -> None:
    wire = bytearray(NEXT.header.encode())
    bit = data.draw(st.integers(0, len(wire) * 8 - 1))
    wire[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Rejected):
        verify(STATE, parts(bytes(wire), NEXT.certificate.encode()), now_ms=NOW_MS)


@settings(max_examples=150)
@given(data=st.data())
def test_r5_any_changed_bit_of_a_certificate_is_refused(data: st.DataObject) -> None:
    wire = bytearray(NEXT.certificate.encode())
    bit = data.draw(st.integers(0, len(wire) * 8 - 1))
    wire[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Rejected):
        verify(STATE, parts(NEXT.header.encode(), bytes(wire)), now_ms=NOW_MS)


@settings(max_examples=100)
@given(st.binary(max_size=600), st.binary(max_size=400))
def test_e2_arbitrary_bytes_are_refused_with_a_code(header: bytes, certificate: bytes) -> None:
    for pair in ((header, certificate), (NEXT.header.encode(), certificate), (header, NEXT.certificate.encode())):
        with pytest.raises(Rejected):
            verify(STATE, parts(*pair), now_ms=NOW_MS)
    with pytest.raises(Rejected):
        verify(STATE, header, now_ms=NOW_MS)


def test_a_verdict_of_another_state_does_not_move_this_one() -> None:
    chain = chain_of(3)
    verified = verify_header(followed(chain, 2), chain.block(3).message, now_ms=NOW_MS)
    with pytest.raises(Rejected, match="wrong_parent"):
        update(followed(chain, 1), verified)


def test_header_of_height_zero_is_refused() -> None:
    chain = ChainBuilder()
    zero = chain.draft(height=0, parent_id=bytes(32))
    assert refusal(chain.client_state(), zero, known_id=zero.id) == "header_range"


def test_e3_set_change_to_an_unsafe_key_is_refused() -> None:
    chain = ChainBuilder()
    unsafe = ValidatorSet(members=(Validator(name="m", organisation="m", public_key=bytes(32)),))
    assert refusal(chain.client_state(), chain.draft(next_validators=unsafe)) == "public_key_unsafe"


def test_unknown_client_type_is_refused() -> None:
    with pytest.raises(Rejected, match="unknown_client_type"):
        client_for("solo-machine")

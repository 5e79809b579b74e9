"""Misbehaviour freezes a client, whoever brings it; culprits are named only beyond doubt (attack R3, rule 20)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.core.errors import Rejected
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.port import SAME_HEIGHT, WRONG_PARENT, Verdict
from crosslink.lightclient.update import freeze, update
from crosslink.lightclient.verify import check_misbehaviour
from tests.support.chains import START_MS, BuiltBlock, ChainBuilder, member_names, sample_snapshot, validator_set
from tests.support.lightclient import verify_header, verify_misbehaviour

NOW_MS = START_MS + 3600_000


def forked() -> tuple[ChainBuilder, BuiltBlock, ClientState]:
    """A chain of three blocks, another certified block 3, and a client at block 3."""
    chain = ChainBuilder()
    chain.grow(2)
    rival = chain.draft([sample_snapshot("rival")])
    chain.grow(1)
    return chain, rival, at(chain, 3)


def at(chain: ChainBuilder, count: int) -> ClientState:
    state = chain.client_state()
    for block in chain.blocks[:count]:
        state = update(state, verify_header(state, block.message, now_ms=NOW_MS))
    return state


def refusal(state: ClientState, first: BuiltBlock, second: BuiltBlock, validators: ValidatorSet | None = None) -> str:
    with pytest.raises(Rejected) as caught:
        verify_misbehaviour(state, first.message, second.message, now_ms=NOW_MS, validators=validators)
    return caught.value.code


def test_r3_two_certificates_at_the_tip_height_are_misbehaviour_and_freeze() -> None:
    chain, rival, state = forked()
    verified = verify_header(state, rival.message, now_ms=NOW_MS)
    assert verified.verdict is Verdict.CONFLICTING
    found = check_misbehaviour(state, verified)
    assert found is not None
    assert (found.kind, found.network, found.height, found.culprits) == (SAME_HEIGHT, "beijing", 3, ())
    assert (found.first_id, found.second_id) == (chain.id_at(3), rival.id)
    assert found.pairs == ((3, chain.id_at(3), rival.id),)
    frozen = freeze(state, found)
    assert frozen.frozen_height == 3
    assert ClientState.from_json(frozen.to_json()) == frozen
    for block in (chain.draft(), rival, chain.block(3)):
        with pytest.raises(Rejected, match="frozen"):
            verify_header(frozen, block.message, now_ms=NOW_MS)


def test_r3_conflict_below_the_tip_is_found_with_the_id_held_there() -> None:
    chain, rival, _ = forked()
    chain.grow(2)
    state = at(chain, 5)
    verified = verify_header(state, rival.message, now_ms=NOW_MS, known_id=chain.id_at(3))
    found = check_misbehaviour(state, verified)
    assert found is not None
    assert (found.kind, found.first_id, found.second_id) == (SAME_HEIGHT, chain.id_at(3), rival.id)


def test_r3_certified_successor_with_another_parent_is_misbehaviour() -> None:
    chain, rival, state = forked()
    other = ChainBuilder()
    other.blocks = [*chain.blocks[:2], rival]
    child = other.draft()
    verified = verify_header(state, child.message, now_ms=NOW_MS)
    found = check_misbehaviour(state, verified)
    assert found is not None
    assert (found.kind, found.height, found.first_id, found.second_id) == (WRONG_PARENT, 4, chain.id_at(3), child.id)
    with pytest.raises(Rejected, match="wrong_parent"):
        update(state, verified)


def test_r3_a_block_and_one_on_top_of_another_are_a_pair_that_anybody_can_bring() -> None:
    chain, rival, _ = forked()
    chain.grow(2)
    state = at(chain, 5)
    other = ChainBuilder()
    other.blocks = [*chain.blocks[:2], rival]
    child = other.draft()
    found = verify_misbehaviour(state, chain.block(3).message, child.message, now_ms=NOW_MS)
    assert (found.kind, found.height, found.culprits) == (WRONG_PARENT, 4, ())
    assert (found.first_id, found.second_id) == (chain.id_at(3), child.id)
    assert refusal(state, chain.block(3), chain.block(4)) == "misbehaviour_unproven"
    assert refusal(state, child, chain.block(3)) == "misbehaviour_unproven"
    assert refusal(state, chain.block(2), child) == "misbehaviour_unproven"
    strangers = validator_set(member_names("stranger"))
    assert refusal(state, chain.block(3), chain.seal(child.header, signing=strangers)).startswith("certificate_")
    assert refusal(state, chain.seal(chain.block(3).header, signers=[0]), child).startswith("certificate_")
    assert refusal(at(chain, 2), chain.block(3), child) == "header_gap"


def test_r3_a_header_without_a_valid_certificate_never_freezes() -> None:
    chain, rival, state = forked()
    strangers = validator_set(member_names("stranger"))
    for fake in (
        chain.seal(rival.header, signing=strangers),
        chain.seal(rival.header, signers=[0, 1]),
        replace(rival, certificate=chain.block(3).certificate),
    ):
        with pytest.raises(Rejected):
            verify_header(state, fake.message, now_ms=NOW_MS, known_id=chain.id_at(3))
        assert refusal(state, chain.block(3), fake).startswith("certificate_")
    child = chain.draft(parent_id=rival.id)
    with pytest.raises(Rejected, match="certificate_bad_signature"):
        verify_header(state, chain.seal(child.header, signing=strangers).message, now_ms=NOW_MS)


def test_r3_pair_of_certificates_in_one_view_names_the_double_voters() -> None:
    chain, rival, state = forked()
    for signers, names in (([0, 1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3])):
        first = chain.seal(chain.block(3).header, signers=[1, 2, 3])
        second = chain.seal(rival.header, signers=signers)
        found = verify_misbehaviour(state, first.message, second.message, now_ms=NOW_MS)
        assert [culprit.name for culprit in found.culprits] == [f"beijing-{index + 1}" for index in names]
        assert found.culprits[0].to_json() == chain.validators.to_json(chain.suite)[names[0]]
        assert found.kind == SAME_HEIGHT


def test_r3_certificates_of_two_views_freeze_without_naming_anybody() -> None:
    chain, rival, state = forked()
    second = chain.seal(rival.header, view=1)
    found = verify_misbehaviour(state, chain.block(3).message, second.message, now_ms=NOW_MS)
    assert found.culprits == ()
    assert freeze(state, found).frozen_height == 3


def test_r3_pair_at_the_next_height_counts_and_a_later_one_waits() -> None:
    chain, rival, _ = forked()
    assert verify_misbehaviour(at(chain, 2), chain.block(3).message, rival.message, now_ms=NOW_MS).height == 3
    assert refusal(at(chain, 1), chain.block(3), rival) == "header_gap"


def test_r3_evidence_about_an_old_height_is_judged_under_that_heights_set() -> None:
    chain, rival, _ = forked()
    old = chain.validators
    chain.extend(next_validators=validator_set(member_names("beijing", 4, first=7)))
    chain.grow(2)
    state = at(chain, 6)
    assert refusal(state, chain.block(3), rival) == "stale_header"
    assert refusal(state, chain.block(3), rival, validators=chain.validators) == "stale_header"
    found = verify_misbehaviour(state, chain.block(3).message, rival.message, now_ms=NOW_MS, validators=old)
    assert found.height == 3
    with pytest.raises(Rejected, match="stale_header"):
        verify_header(state, rival.message, now_ms=NOW_MS, known_id=chain.id_at(3))


def test_r3_old_validators_cannot_freeze_a_height_that_they_no_longer_govern() -> None:
    chain = ChainBuilder()
    old = chain.validators
    chain.extend(next_validators=validator_set(member_names("beijing", 4, first=7)))
    forged = [
        chain.seal(
            replace(chain.draft(time_ms=START_MS + 9000 + n).header, validators_hash=old.hash(chain.suite)), signing=old
        )
        for n in range(2)
    ]
    chain.grow(1)
    assert refusal(at(chain, 2), *forged) == "wrong_set"  # type: ignore[arg-type]
    assert refusal(at(chain, 2), *forged, validators=old) == "stale_header"  # type: ignore[arg-type]


def test_r3_r7_what_is_no_contradiction_is_refused() -> None:
    chain, rival, state = forked()
    block = chain.block(3)
    again = chain.seal(block.header, view=2, signers=[1, 2, 3])
    assert refusal(state, block, block) == "misbehaviour_unproven"
    assert refusal(state, block, again) == "misbehaviour_unproven"
    assert refusal(state, block, chain.block(2)) == "misbehaviour_unproven"
    other = ChainBuilder(application={"another": "deployment"})
    other.grow(3)
    assert refusal(state, block, other.block(3)) == "wrong_genesis"
    assert (
        refusal(freeze(state, verify_misbehaviour(state, block.message, rival.message, now_ms=NOW_MS)), block, rival)
        == "frozen"
    )
    assert refusal(replace(state, trusting_period_ms=1), block, rival) == "expired"

"""Validator sets that change: who counts at which height (attacks C9 and C18); observers."""

from __future__ import annotations

import pytest

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import NewView, ViewChange
from tests.sim.bench import Bench, kind_of
from tests.sim.toys import CHEAP, seed_of, validator_set
from tests.unit.consensus import parts
from tests.unit.consensus.parts import codes


def changing(members: tuple[int, ...], size: int = 4, spare: int = 1) -> Bench:
    """A bench whose set changes to `members` after height 1; height 1 is final everywhere, height 2 quiet."""
    bench = Bench(size, spare=spare)
    bench.next_sets[1] = validator_set(members)
    bench.build_through = 1
    bench.settle()
    for number in range(size, size + spare):
        bench.help(0, number, 1)
    assert set(bench.heights()) == {1}
    bench.drop()
    return bench


def decide_next(bench: Bench) -> None:
    """Let the network decide height 2."""
    bench.build_through = 2
    for seat in bench.seats:
        bench.work(seat.number, False)
        bench.work(seat.number, True)
    bench.settle()


def test_c9_the_new_set_decides_and_the_removed_member_is_silent() -> None:
    bench = changing((0, 2, 3, 4))
    assert [seat.replica.own_index for seat in bench.seats] == [0, None, 1, 2, 3]
    bench.seats[1].log.clear()
    decide_next(bench)
    assert [bench.heights()[number] for number in (0, 2, 3, 4)] == [2, 2, 2, 2]
    assert not list(bench.signed(1))
    assert bench.seats[1].timer is None


def test_c9_votes_of_removed_future_and_unknown_validators_do_not_count() -> None:
    """Member 1 of the old set signs as index 1, which is validator 2 now; validator 5 was never added."""
    bench = changing((0, 2, 3, 4), spare=2)
    block = parts.block_by(bench, 2)
    of = parts.block_id(block)
    bench.inject(0, parts.signed(parts.proposal(block, 2), number=3), 2)
    removed = parts.signed(parts.prepare(1, of, height=2), number=1)
    unknown = parts.prepare(4, of, height=2)
    outside = parts.prepare(9, of, height=2)
    assert codes(bench.inject(0, removed, 1)) == ["consensus_bad_signature"]
    assert codes(bench.inject(0, unknown, None)) == ["consensus_unknown_signer"]
    assert codes(bench.inject(0, outside, None)) == ["consensus_unknown_signer"]
    assert [kind_of(message) for message in bench.signed(0) if message.height == 2] == ["prepare"]


def test_c9_a_member_to_be_does_not_count_before_its_height() -> None:
    bench = Bench(4, spare=1)
    bench.next_sets[1] = validator_set((0, 2, 3, 4))
    early = parts.prepare(4, bytes(32))
    assert codes(bench.inject(0, early, None)) == ["consensus_unknown_signer"]


@pytest.mark.parametrize("members", [(0, 2, 3, 4), (4, 3, 2, 0), (0, 1, 2, 3, 4), (0, 1, 2)])
def test_c9_a_set_change_at_the_height_of_a_view_change(members: tuple[int, ...]) -> None:
    """The first leader under the new set is silent; view changes are counted under the new set alone."""
    bench = changing(members)
    bench.expire_all(*members)
    bench.deliver(kind="view-change")
    bench.build_through = 2
    index = validator_set(members).leader(2, 1)
    leader = members[index]
    if not any(isinstance(message, NewView) for message in bench.signed(leader)):
        bench.build(leader, 2, 1)
    bench.settle()
    assert {bench.heights()[number] for number in members} == {2}
    block, certificate = bench.seats[members[0]].chain[1]
    assert certificate.view == 1
    assert block.header.proposer == index


def test_c9_view_changes_of_the_old_set_do_not_move_the_new_one() -> None:
    bench = changing((0, 2, 3, 4))
    for number in (1, 5, 6):
        change = parts.signed(ViewChange(2, 1, None, 1, b""), number=number)
        assert codes(bench.inject(0, change, 1)) == ["consensus_bad_signature"]
    assert bench.seats[0].replica.view == 0


def test_c18_votes_queued_across_a_removal_do_not_count_after_it() -> None:
    """Height 2 votes by index 1 wait at a slow replica; when height 2 opens, index 1 is somebody else."""
    bench = Bench(4, spare=1)
    bench.next_sets[1] = validator_set((0, 2, 3, 4))
    bench.build_through = 1
    bench.seats[0].alive = False
    bench.settle()
    bench.drop()
    bench.seats[0].alive = True
    block = parts.block_by(bench, 2, seat=2)
    of = parts.block_id(block)
    for number in (1, 2, 3):
        bench.inject(0, parts.commit(1, of, height=2), number)
    bench.help(1, 0, 1)
    refused = [effect.code for effect in bench.seats[0].logged(fx.Refused)]
    assert refused == ["consensus_bad_signature"] * 3
    assert bench.seats[0].tip.height == 1


def test_c18_a_readmitted_validator_starts_afresh() -> None:
    """Removed after height 1, back after height 2: it signs at height 3 and has signed nothing at height 2."""
    bench = Bench(4)
    bench.next_sets[1] = validator_set((0, 2, 3))
    bench.next_sets[2] = validator_set((0, 1, 2, 3))
    bench.build_through = 2
    bench.settle()
    assert bench.heights() == [2, 1, 2, 2]
    bench.help(0, 1, 2)
    bench.build_through = 3
    for number in range(4):
        bench.work(number, False)
        bench.work(number, True)
    bench.settle(until_height=3)
    heights = {message.height for message in bench.signed(1)}
    assert heights == {1, 3}
    assert len(bench.decided(3)) == 1


def test_hints_start_over_when_indexes_change_their_meaning() -> None:
    bench = Bench(4, spare=1)
    bench.build_through = 1
    bench.next_sets[1] = validator_set((0, 2, 3, 4))
    far = parts.prepare(3, bytes(32), height=50)
    assert bench.inject(0, far, 3) == [fx.MemberAhead(3, 50)]
    assert bench.inject(0, far, 3) == []
    bench.settle()
    assert bench.inject(0, far, 3) == [fx.MemberAhead(3, 50)]


def test_an_observer_follows_and_signs_nothing() -> None:
    bench = Bench(4, spare=1)
    watcher = bench.seats[4]
    watcher.replica = bench.new_replica(4, watcher.sets[0], observer=True)
    bench.perform(4, watcher.replica.restore(watcher.tip, watcher.sets[0]))
    bench.build_through = 1
    bench.observe = lambda seat, effect: (
        bench.send(seat, 4, effect.message) if isinstance(effect, fx.Broadcast) and seat != 4 else None
    )
    bench.work(4, True)
    bench.expire_all(0, 2, 3)
    bench.settle()
    assert bench.heights() == [1] * 5
    assert not list(bench.signed(4))
    assert watcher.replica.own_index is None
    assert not watcher.replica.can_vote


def test_an_observer_that_becomes_a_member_votes() -> None:
    bench = changing((0, 1, 2, 3, 4))
    assert bench.seats[4].replica.can_vote
    decide_next(bench)
    assert bench.seats[4].tip.height == 2
    assert {message.height for message in bench.signed(4)} == {2}


def test_what_was_witnessed_is_forgotten_with_the_member() -> None:
    bench = changing((0, 2, 3, 4))
    replica = bench.seats[0].replica
    assert replica.highest_signed_by(CHEAP.public_key(seed_of(1))) is not None
    bench.step(0, ev.Committed(parts.block_by(bench, 2).header, validator_set((0, 2, 3, 4))))
    assert replica.highest_signed_by(CHEAP.public_key(seed_of(1))) is None
    assert replica.highest_signed_by(CHEAP.public_key(seed_of(2))) is not None

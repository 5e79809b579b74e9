"""What others can make a replica keep is bounded (attack C13), and so is what they can make it send."""

from __future__ import annotations

from common.consensus import effects as fx
from common.consensus.future import FutureMessages, kept_size_bytes
from common.consensus.messages import VOTE_STAGES, ConsensusMessage, Proposal
from common.consensus.params import (
    MAX_HEIGHTS_AHEAD,
    MAX_KEPT_BYTES_PER_PEER,
    MAX_KEPT_MESSAGES_PER_PEER,
    MAX_VOTED_VIEWS_PER_MEMBER,
)
from common.consensus.past import PastMessages
from common.consensus.vote_records import encode_record
from common.core.certificate import verify_certificate
from tests.sim.bench import Bench, kind_of
from tests.sim.toys import CHEAP
from tests.unit.consensus import parts
from tests.unit.consensus.parts import hear, offered, quiet_bench


def test_c13_future_messages_are_bounded_for_each_peer_and_do_not_crowd_out_others() -> None:
    future = FutureMessages()
    for view in range(1000):
        future.keep(parts.prepare(3, bytes(32), height=2, view=view), 3, 1)
    assert len(future) == MAX_KEPT_MESSAGES_PER_PEER
    assert future.keep(parts.prepare(2, bytes(32), height=2), 2, 1)
    assert not future.keep(parts.prepare(2, bytes(32), height=2 + MAX_HEIGHTS_AHEAD), 2, 1)
    assert len(future.take(2)) == MAX_KEPT_MESSAGES_PER_PEER + 1
    assert len(future) == 0
    assert future.keep(parts.prepare(3, bytes(32), height=3), 3, 2), "room is free again"


def test_c13_future_messages_are_bounded_in_bytes() -> None:
    future = FutureMessages()
    block = parts.block_by(quiet_bench(4), 1)
    large = Proposal(2, 0, block.header, (bytes(32),) * 60_000, 1, b"")
    assert kept_size_bytes(large) > 1_900_000
    kept = sum(future.keep(large, 3, 1) for _ in range(10))
    assert kept == 2
    assert kept * kept_size_bytes(large) <= MAX_KEPT_BYTES_PER_PEER


def test_future_messages_come_back_in_order_of_arrival() -> None:
    future = FutureMessages()
    arrived: list[tuple[ConsensusMessage, int]] = []
    for at in range(6):
        message = parts.prepare(at % 3, bytes(32), height=2, view=at)
        future.keep(message, at % 3, 1)
        arrived.append((message, at % 3))
    assert future.take(2) == arrived


def test_c13_votes_for_ever_higher_views_are_bounded() -> None:
    bench = quiet_bench(4)
    for stage in VOTE_STAGES:
        for view in range(200):
            bench.inject(0, parts.vote(stage, 3, bytes(32), view=view), 3)
    book = bench.seats[0].replica._agreement.book
    assert sum(len(tally.votes) for tally in book._tallies.values()) == 2 * MAX_VOTED_VIEWS_PER_MEMBER
    assert len(book._tallies) == 2 * MAX_VOTED_VIEWS_PER_MEMBER
    block = parts.block_by(bench, 1)
    hear(bench, 0, (parts.commit(number, parts.block_id(block), view=300) for number in (1, 2, 3)))
    assert bench.seats[0].tip.height == 1, "real votes still count"


def test_c13_the_vote_that_completes_a_quorum_stays_in_the_certificate() -> None:
    """A member with votes in many higher views votes in this one last: the lowest of its votes is part of the proof."""
    bench, block, of = offered()
    for view in range(1, MAX_VOTED_VIEWS_PER_MEMBER + 1):
        bench.inject(0, parts.commit(3, bytes(32), view=view), 3)
    hear(bench, 0, (parts.commit(number, of) for number in (1, 2, 3)))
    assert bench.seats[0].tip.height == 1
    certificate = bench.seats[0].chain[0][1]
    verify_certificate(CHEAP, bench.seats[0].sets[0], block.header, certificate)


def test_c13_the_vote_that_prepares_a_block_stays_in_the_prepared_certificate() -> None:
    bench, block, of = offered()
    for view in range(1, MAX_VOTED_VIEWS_PER_MEMBER + 1):
        bench.inject(0, parts.prepare(3, bytes(32), view=view), 3)
    bench.inject(0, parts.proposal(block, 1), 1)
    hear(bench, 0, (parts.prepare(number, of) for number in (1, 3)))
    prepared = bench.seats[0].replica._agreement.prepared
    assert prepared is not None
    bench.seats[0].replica._verifier.check_prepared(prepared)


def test_c13_a_forgotten_vote_is_not_counted_any_more() -> None:
    bench, _, of = offered()
    for view in range(MAX_VOTED_VIEWS_PER_MEMBER + 1):
        bench.inject(0, parts.commit(3, of, view=view), 3)
    hear(bench, 0, (parts.commit(number, of) for number in (1, 2)))
    assert bench.seats[0].tip.height == 0


def test_c13_forgetting_one_vote_keeps_the_count_of_the_others_right() -> None:
    bench, _, of = offered()
    bench.inject(0, parts.commit(1, of), 1)
    for view in range(MAX_VOTED_VIEWS_PER_MEMBER + 1):
        bench.inject(0, parts.commit(3, of, view=view), 3)
    bench.inject(0, parts.commit(2, of), 2)
    assert bench.seats[0].tip.height == 0, "two votes are left in view 0"


def test_c13_view_changes_for_ever_higher_views_keep_one_place() -> None:
    bench = quiet_bench(4)
    for view in range(1, 200):
        bench.inject(0, parts.view_change(3, view), 3)
    assert bench.seats[0].replica.view == 0
    assert len(bench.seats[0].replica._changer.book._latest) == 1
    bench.inject(0, parts.view_change(2, 1), 2)
    assert bench.seats[0].replica.view == 1, "one correct member among f+1 sets the pace, not the liar"


def test_c13_far_heights_cost_one_hint() -> None:
    bench = quiet_bench(4)
    effects: list[fx.Effect] = []
    for height in (10**9, 10**9, 10**6, 10**9 + 1):
        effects += bench.inject(0, parts.prepare(3, bytes(32), height=height), 3)
    assert effects == [fx.MemberAhead(3, 10**9), fx.MemberAhead(3, 10**9 + 1)]
    assert len(bench.seats[0].replica._future) == 0
    assert not bench.inject(0, parts.prepare(3, bytes(32), height=10**9 + 2), None)
    assert not bench.inject(0, parts.prepare(3, bytes(32), height=10**9 + 2), 77)


def test_accusations_are_bounded() -> None:
    bench = quiet_bench(4)
    given = 0
    for view in range(400):
        bench.inject(0, parts.commit(3, bytes(32), view=view), 3)
        effects = bench.inject(0, parts.commit(3, b"\x01" * 32, view=view), 3)
        given += len([effect for effect in effects if isinstance(effect, fx.Accuse)])
    assert given == 256


# Answers about final heights (protocol rule 3)


def decided_bench() -> Bench:
    """Height 1 is final at seat 0; height 2 is open and quiet."""
    bench = Bench(4)
    bench.build_through = 1
    bench.settle(until_height=1)
    bench.drop()
    bench.seats[0].log.clear()
    return bench


def helped(effects: list[fx.Effect]) -> list[tuple[int, int]]:
    """(peer, height) of answers."""
    return [(effect.index, effect.height) for effect in effects if isinstance(effect, fx.SendDecided)]


def test_a_peer_stuck_at_a_final_height_gets_the_block() -> None:
    bench = decided_bench()
    assert helped(bench.inject(0, parts.view_change(3), 3)) == [(3, 1)]
    assert helped(bench.inject(0, parts.view_change(3), 3)) == [(3, 1)], "the first answer may be lost"
    assert helped(bench.inject(0, parts.view_change(3), None)) == []


def test_a_late_vote_is_not_answered_but_a_repeated_one_is() -> None:
    bench = decided_bench()
    late = parts.commit(3, bytes(32), view=5)
    assert helped(bench.inject(0, late, 3)) == []
    assert helped(bench.inject(0, late, 3)) == [(3, 1)]


def test_a_stuck_peer_recovers_with_consensus_messages_alone() -> None:
    bench = Bench(4)
    bench.build_through = 1
    bench.deliver(kind="proposal")
    bench.deliver(kind="prepare")
    bench.drop(target=3)
    bench.settle()
    assert bench.heights() == [1, 1, 1, 0]
    bench.expire(3)
    bench.settle()
    assert bench.heights() == [1, 1, 1, 1]


def test_votes_two_heights_back_are_answered_once_for_each_height() -> None:
    bench = Bench(4)
    bench.build_through = 3
    bench.settle(until_height=3)
    bench.drop()
    vote = parts.prepare(3, bytes(32), height=1)
    assert helped(bench.inject(0, vote, 3)) == [(3, 1)]
    assert helped(bench.inject(0, vote, 3)) == []


def test_c13_memory_of_past_messages_is_bounded() -> None:
    past = PastMessages()
    for view in range(10_000):
        past.saw(parts.prepare(3, bytes(32), view=view))
    past.close(1, 1)
    assert len(past._tip) == 4096
    assert past.needs_help(parts.prepare(2, bytes(32)), 2, 1), "beyond the bound everything counts as repeated"


def test_messages_of_the_next_height_wait_for_it() -> None:
    bench = Bench(4)
    bench.build_through = 1
    bench.seats[3].alive = False
    bench.settle()
    bench.seats[3].alive = True
    assert bench.heights() == [1, 1, 1, 0]
    second = bench.build(2, 2, 0)
    bench.drop(kind="prepare")
    (wire,) = bench.select(target=3, kind="proposal")
    effects = bench.inject(3, wire.message, 2)
    assert effects == [fx.MemberAhead(2, 2)]
    bench.help(0, 3, 1)
    bench.work(3, True)
    assert [kind_of(message) for message in bench.signed(3)] == ["prepare"]
    assert bench.seats[3].replica.body(parts.block_id(second)) == second


def test_s1_an_own_proposal_never_goes_out_before_its_record() -> None:
    """A member votes for another block before the leader has built: the leader's answer waits for its disk (rule 1)."""
    bench = quiet_bench(4)
    bench.inject(1, parts.prepare(3, b"\x07" * 32), 3)
    bench.build(1, 1, 0)
    written: list[bytes] = []
    shown = 0
    for effect in bench.seats[1].log:
        if isinstance(effect, fx.Persist):
            written += effect.records
        elif isinstance(effect, fx.Send | fx.Broadcast) and effect.message.signer == 1:
            shown += 1
            assert encode_record(effect.message) in written
    assert shown

"""Leaving a view: who joins whom, who waits, who is shown the way, and that nothing storms."""

from __future__ import annotations

import pytest

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import ViewChange
from tests.sim.bench import Bench
from tests.unit.consensus import parts
from tests.unit.consensus.parts import codes, hear, offered, prepared_at, quiet_bench, voted


def test_a_silent_leader_is_replaced() -> None:
    bench = Bench(4, work=False)
    bench.crash(1)
    for number in (0, 2, 3):
        bench.work(number, True)
        bench.expire(number)
    bench.settle(until_height=1)
    assert {bench.heights()[number] for number in (0, 2, 3)} == {1}
    assert bench.seats[0].chain[0][1].view == 1
    assert bench.seats[0].chain[0][0].header.proposer == 2


@pytest.mark.parametrize(("size", "enough"), [(4, 2), (5, 2), (6, 2), (7, 3), (10, 4)])
def test_f_plus_1_view_changes_move_a_replica_to_the_smallest(size: int, enough: int) -> None:
    """Protocol rule 3."""
    bench = quiet_bench(size)
    seat = 0
    views = [9, 5, 7, 6]
    for at in range(enough):
        assert bench.seats[seat].replica.view == 0
        bench.inject(seat, parts.view_change(at + 1, views[at]), at + 1)
    assert bench.seats[seat].replica.view == min(views[:enough])
    asked = [message for message in bench.signed(seat) if isinstance(message, ViewChange)]
    assert [message.view for message in asked] == [min(views[:enough])]


def test_a_lone_replica_repeats_itself_and_does_not_climb() -> None:
    """The time-out of a view runs only once a quorum asked for it (Castro & Liskov, section 4.5.2)."""
    bench = quiet_bench(4)
    for _ in range(10):
        bench.expire(3)
    assert bench.seats[3].replica.view == 1
    assert voted(bench, 3) == [("view-change", 1)] * 10
    assert len({message.signature for message in bench.signed(3)}) == 1
    bench.drop()
    hear(bench, 3, (parts.view_change(number) for number in (0, 1)))
    bench.expire(3)
    assert bench.seats[3].replica.view == 2


def test_requests_for_higher_views_count_for_the_quorum_of_a_view() -> None:
    """Members who went on no longer ask for our view, but they left the views below it."""
    bench = quiet_bench(7)
    hear(bench, 0, (parts.view_change(number, 1) for number in (1, 2, 3)))
    assert bench.seats[0].replica.view == 1
    bench.seats[0].log.clear()
    bench.inject(0, parts.view_change(4, 2), 4)
    assert [type(effect) for effect in bench.seats[0].log] == [fx.SetViewTimer]
    bench.expire(0)
    assert bench.seats[0].replica.view == 2


def test_a_new_view_of_a_view_that_was_left_is_ignored() -> None:
    bench = quiet_bench(4)
    hear(bench, 0, (parts.view_change(number, 3) for number in (1, 3)))
    late = parts.new_view([parts.view_change(number) for number in (1, 2, 3)], parts.block_by(bench, 2), 2)
    assert bench.inject(0, late, 2) == []
    assert bench.seats[0].replica.view == 3


def test_a_replica_that_fell_behind_is_shown_the_way() -> None:
    """Its VIEW-CHANGE for a view that others have entered is answered with the NEW-VIEW and their votes."""
    bench = quiet_bench(4)
    bench.crash(3)
    bench.expire_all(0, 1, 2)
    bench.deliver(kind="view-change")
    bench.build(2, 1, 1)
    bench.drop(kind="prepare")
    bench.deliver(kind="new-view")
    bench.drop()
    bench.seats[3].alive = True
    bench.seats[3].timer = (1, 0, 2000)
    bench.expire(3)
    bench.deliver(source=3, target=0)
    bench.deliver(source=0, target=3)
    assert bench.seats[3].replica.view == 1
    assert ("prepare", 1) in voted(bench, 3)


def test_two_view_changes_of_one_member_that_differ_are_accused() -> None:
    bench = quiet_bench(7)
    of = parts.block_id(parts.block_by(bench, 1))
    one, two = parts.view_change(3, 2), parts.view_change(3, 2, parts.prepared(range(5), of))
    bench.inject(0, one, 3)
    effects = bench.inject(0, two, 3)
    assert effects == [fx.Accuse(one, two)]


def test_a_forged_second_view_change_accuses_nobody() -> None:
    bench = quiet_bench(7)
    of = parts.block_id(parts.block_by(bench, 1))
    bench.inject(0, parts.view_change(3, 2), 3)
    forged = parts.signed(parts.view_change(3, 2, parts.prepared(range(5), of)), number=4)
    assert codes(bench.inject(0, forged, 4)) == ["consensus_bad_signature"]


def test_c1_votes_inside_certificates_are_held_against_votes_received() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    other = parts.prepare(3, bytes(32))
    bench.inject(0, other, 3)
    effects = bench.inject(0, parts.view_change(2, 1, parts.prepared((1, 2, 3), parts.block_id(block))), 2)
    assert fx.Accuse(other, parts.prepare(3, parts.block_id(block))) in effects


def test_view_changes_report_the_highest_prepared_certificate() -> None:
    bench = quiet_bench(4)
    block = prepared_at(bench, (0,))
    bench.expire(0)
    change = [message for message in bench.signed(0) if isinstance(message, ViewChange)][-1]
    assert change.prepared is not None
    assert (change.prepared.view, change.prepared.block_id) == (0, parts.block_id(block))
    assert len(change.prepared.signatures) >= 3


def test_nothing_is_signed_in_a_view_that_was_left() -> None:
    """Protocol rule 3: a proposal that becomes valid, or prepared, after the time-out finds no voter."""
    bench, block, of = offered()
    bench.withheld.add((0, of))
    bench.inject(0, parts.proposal(block, 1), 1)
    bench.expire(0)
    bench.step(0, ev.BlockValidated(1, 0, block))
    hear(bench, 0, (parts.prepare(number, of) for number in (1, 2, 3)))
    assert voted(bench, 0) == [("view-change", 1)]


def test_prepared_but_late_is_not_committed_in_the_old_view() -> None:
    bench = quiet_bench(4)
    bench.build(1, 1, 0)
    bench.deliver(target=0, kind="proposal")
    bench.expire(0)
    bench.deliver(target=0, kind="prepare")
    assert voted(bench, 0) == [("prepare", 0), ("view-change", 1)]


def test_a_certificate_of_any_view_decides() -> None:
    """Protocol rule 3: COMMITs of a view that we left, or have not reached, make a certificate."""
    for view in (0, 1, 6):
        bench = quiet_bench(4)
        block = parts.block_by(bench, 1)
        for number in (1, 2):
            bench.inject(0, parts.view_change(number, 3), number)
        assert bench.seats[0].replica.view == 3
        for number in (1, 2, 3):
            bench.inject(0, parts.commit(number, parts.block_id(block), view=view), number)
        assert bench.seats[0].tip.height == 1
        assert bench.seats[0].chain[0][1].view == view


def test_commits_of_different_views_do_not_add_up() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    hear(bench, 0, (parts.commit(number, parts.block_id(block), view=number) for number in (1, 2, 3)))
    assert bench.seats[0].tip.height == 0

"""When the timer runs, what an expiry does, and what it must not do (protocol rule 4, attack C11)."""

from __future__ import annotations

from itertools import permutations

from common.consensus import effects as fx
from common.consensus import events as ev
from tests.sim.bench import Bench, kind_of
from tests.unit.consensus import parts
from tests.unit.consensus.parts import hear, offered, quiet_bench


def timers(effects: list[fx.Effect]) -> list[fx.Effect]:
    """Timer effects."""
    return [effect for effect in effects if isinstance(effect, fx.SetViewTimer | fx.CancelViewTimer)]


def test_work_starts_the_timer_and_its_end_stops_it() -> None:
    bench = Bench(4, work=False)
    assert timers(bench.step(0, ev.WorkPending(True))) == [fx.SetViewTimer(1, 0, 2000)]
    assert timers(bench.step(0, ev.WorkPending(True))) == []
    assert timers(bench.step(0, ev.WorkPending(False))) == [fx.CancelViewTimer()]


def test_a_pending_proposal_starts_the_timer_without_work_of_our_own() -> None:
    bench = Bench(4, work=False)
    effects = bench.inject(0, parts.proposal(parts.block_by(bench, 1), 1), 1)
    assert timers(effects) == [fx.SetViewTimer(1, 0, 2000)]


def test_a_prepared_block_keeps_the_timer_running() -> None:
    """It may be decided elsewhere; an idle mempool and a bad proposal in a later view are no reason to rest."""
    bench = quiet_bench(4)
    bench.build(1, 1, 0)
    bench.deliver(target=0)
    bench.drop()
    bench.deliver(kind="prepare")
    hear(bench, 0, (parts.prepare(number, next(bench.signed(0)).block_id) for number in (2, 3)))
    bad = parts.block_by(bench, 2, "bad")
    bench.invalid.add(parts.block_id(bad))
    bench.inject(0, parts.new_view([parts.view_change(number) for number in (1, 2, 3)], bad, 2), 2)
    bench.work(0, False)
    assert bench.seats[0].replica.view == 1
    assert bench.seats[0].timer is not None


def test_votes_do_not_prolong_the_timer() -> None:
    """A leader that dribbles messages gains no time."""
    bench = quiet_bench(7)
    block = parts.block_by(bench, 1)
    given = bench.inject(0, parts.proposal(block, 1), 1)
    for number in (1, 2, 3):
        given += bench.inject(0, parts.prepare(number, parts.block_id(block)), number)
    assert timers(given) == []


def test_time_outs_double_with_the_view_and_fall_back_with_the_height() -> None:
    bench = quiet_bench(4)
    delays = []
    for view in range(1, 8):
        for number in (1, 2, 3):
            bench.inject(0, parts.view_change(number, view), number)
        assert bench.seats[0].timer is not None
        delays.append(bench.seats[0].timer[2])
        bench.expire(0)
    assert delays == [4000, 8000, 16000, 32000, 60000, 60000, 60000]
    block = parts.block_by(bench, 1)
    hear(bench, 0, (parts.commit(number, parts.block_id(block)) for number in (1, 2, 3)))
    assert bench.seats[0].timer == (2, 0, 2000)


def test_the_time_out_of_a_view_starts_when_a_quorum_asks_for_it() -> None:
    bench = quiet_bench(4)
    bench.expire(0)
    given = bench.inject(0, parts.view_change(1), 1)
    assert timers(given) == []
    given = bench.inject(0, parts.view_change(3), 3)
    assert timers(given) == [fx.SetViewTimer(1, 1, 4000)]


def test_a_new_view_starts_its_own_time_out() -> None:
    bench = quiet_bench(4)
    bench.expire_all(0, 1, 3)
    bench.drop()
    changes = [parts.view_change(number) for number in (1, 2, 3)]
    effects = bench.inject(0, parts.new_view(changes, parts.block_by(bench, 2), 2), 2)
    assert timers(effects) == [fx.SetViewTimer(1, 1, 4000)]


def test_c11_time_out_and_commit_in_every_order_never_vote_twice() -> None:
    """The expiry, the last PREPARE, the last COMMIT and the node's commit, in all orders that can happen."""
    block_names = ("expiry", "prepare", "commit")
    for order in permutations(block_names):
        bench = quiet_bench(4)
        block = parts.block_by(bench, 1)
        of = parts.block_id(block)
        bench.inject(0, parts.proposal(block, 1), 1)
        bench.inject(0, parts.prepare(1, of), 1)
        bench.inject(0, parts.commit(1, of), 1)
        bench.inject(0, parts.commit(2, of), 2)
        expiry = ev.ViewTimerExpired(1, 0)
        for name in order:
            match name:
                case "expiry":
                    bench.step(0, expiry)
                case "prepare":
                    bench.inject(0, parts.prepare(2, of), 2)
                case "commit":
                    bench.inject(0, parts.commit(3, of), 3)
        signed = [(kind_of(m), m.height, m.view) for m in bench.signed(0)]
        assert len(signed) == len(set(signed)), order
        left = signed.index(("view-change", 1, 1)) if ("view-change", 1, 1) in signed else len(signed)
        again = [item for item in signed[left:] if item[0] == "prepare"]
        assert not again, order
        if order.index("commit") < order.index("expiry"):
            assert not [item for item in signed if item[0] == "view-change"], order
        assert bench.seats[0].tip.height == 1, order


def test_c11_an_expiry_queued_behind_the_decision_is_void() -> None:
    """Before the node's commit, after it, and in the next height."""
    bench, block, of = offered()
    replica = bench.seats[0].replica
    for number in (1, 2, 3):
        effects = replica.step(ev.Received(parts.commit(number, of), number))
    assert effects[-1] == fx.CancelViewTimer()
    assert replica.step(ev.ViewTimerExpired(1, 0)) == []
    replica.step(ev.Committed(block.header, replica.validators))
    assert replica.height == 2
    assert replica.step(ev.ViewTimerExpired(1, 0)) == []
    assert replica.view == 0


def test_c11_after_a_decision_nothing_is_signed_at_that_height() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    replica = bench.seats[0].replica
    for number in (1, 2, 3):
        replica.step(ev.Received(parts.commit(number, parts.block_id(block)), number))
    given: list[fx.Effect] = []
    for event in (
        ev.Received(parts.proposal(block, 1), 1),
        ev.BlockValidated(1, 0, block),
        *(ev.Received(parts.prepare(number, parts.block_id(block)), number) for number in (1, 2, 3)),
        *(ev.Received(parts.view_change(number, 2), number) for number in (1, 2, 3)),
        ev.BlockBuilt(1, 0, block),
        ev.BlockFetched(1, 0, block),
        ev.WorkPending(True),
        ev.MemberConnected(1),
    ):
        given += replica.step(event)  # type: ignore[arg-type]
    assert not [effect for effect in given if isinstance(effect, fx.Broadcast | fx.Persist)]
    assert [type(effect) for effect in given if not isinstance(effect, fx.Send)] == [fx.Decide]


def test_an_expiry_of_another_view_is_void() -> None:
    bench = quiet_bench(4)
    hear(bench, 0, (parts.view_change(number, 2) for number in (1, 2)))
    assert bench.seats[0].replica.view == 2
    assert bench.step(0, ev.ViewTimerExpired(1, 0)) == []
    assert bench.step(0, ev.ViewTimerExpired(1, 1)) == []


def test_a_time_out_sends_the_last_commit_again() -> None:
    """Protocol rule 3: the COMMIT that somebody missed may complete a certificate."""
    bench = quiet_bench(4)
    bench.build(1, 1, 0)
    bench.deliver(kind="proposal")
    bench.deliver(kind="prepare")
    bench.drop()
    bench.expire(0)
    assert [(kind_of(w.message), w.message.view) for w in bench.select(0, 1)] == [("view-change", 1), ("commit", 0)]


def test_a_single_validator_has_nobody_to_change_to() -> None:
    bench = Bench(1, work=False)
    bench.build_through = 0
    effects = bench.step(0, ev.WorkPending(True))
    assert effects == [fx.BuildBlock(1, 0)]
    assert bench.seats[0].timer is None


def test_a_leader_is_asked_again_when_work_comes_back() -> None:
    bench = Bench(4, work=False)
    bench.build_through = 0
    assert fx.BuildBlock(1, 0) in bench.step(1, ev.WorkPending(True))
    assert fx.BuildBlock(1, 0) not in bench.step(1, ev.WorkPending(True))
    bench.step(1, ev.WorkPending(False))
    assert fx.BuildBlock(1, 0) in bench.step(1, ev.WorkPending(True))
    for number in (0, 2, 3):
        bench.work(number, True)
        bench.expire(number)
    bench.deliver(target=2, kind="view-change")
    assert bench.seats[2].logged(fx.BuildBlock) == [fx.BuildBlock(1, 1)]
    bench.step(2, ev.WorkPending(False))
    bench.step(2, ev.WorkPending(True))
    assert bench.seats[2].logged(fx.BuildBlock) == [fx.BuildBlock(1, 1)] * 2

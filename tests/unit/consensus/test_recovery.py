"""Restarts: from intact records, from torn ones, from none, from old ones (protocol rules 1 and 7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.consensus import effects as fx
from common.consensus import events as ev
from common.consensus.messages import Mark, NewView, Proposal, Stage, ViewChange, Vote
from common.consensus.params import ConsensusParameters
from common.consensus.recovery import recover
from common.consensus.replica import Replica
from common.consensus.vote_records import CurrentView, decode_record, encode_record
from common.core.errors import InvariantBroken
from common.core.validators import ValidatorSet
from tests.sim.bench import Bench, kind_of
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, genesis_tip, seed_of
from tests.unit.consensus import parts
from tests.unit.consensus.parts import hear, quiet_bench, sent


def reached(stage: str) -> Bench:
    """Seat 0 has just signed PREPARE, COMMIT or VIEW-CHANGE of the first height; nothing else arrives anywhere."""
    bench = quiet_bench(4)
    bench.build(1, 1, 0)
    bench.deliver(target=0, kind="proposal")
    bench.deliver(target=2, kind="proposal")
    if stage != "prepare":
        bench.deliver(target=0, kind="prepare")
    if stage == "view-change":
        bench.expire(0)
    bench.drop()
    return bench


@pytest.mark.parametrize("stage", ["prepare", "commit", "view-change"])
def test_s1_a_restart_resumes_and_repeats_the_same_bytes(stage: str) -> None:
    bench = reached(stage)
    before = [message for message in bench.signed(0) if kind_of(message) == stage][-1]
    view = bench.seats[0].replica.view
    bench.crash(0)
    bench.seats[0].log.clear()
    bench.restart(0)
    assert bench.seats[0].replica.view == view
    again = [wire.message for wire in bench.select(source=0, target=1)]
    assert before in again
    assert all(message.signature == before.signature for message in again if message.mark == before.mark)


@pytest.mark.parametrize("stage", ["prepare", "commit", "view-change"])
def test_s1_a_restarted_replica_does_not_vote_for_another_block(stage: str) -> None:
    bench = reached(stage)
    bench.crash(0)
    bench.restart(0, connect=False)
    bench.seats[0].log.clear()
    other = parts.block_by(bench, 1, "other")
    bench.inject(0, parts.proposal(other, 1), 1)
    hear(bench, 0, (parts.prepare(number, parts.block_id(other)) for number in (1, 2, 3)))
    assert not list(bench.signed(0))


def test_s1_what_was_prepared_is_still_reported_after_a_restart() -> None:
    bench = reached("commit")
    bench.crash(0)
    bench.restart(0, connect=False)
    bench.expire(0)
    change = [message for message in bench.signed(0) if isinstance(message, ViewChange)][-1]
    assert change.view == 1
    assert change.prepared is not None
    assert change.prepared.view == 0


def test_s1_a_power_cut_of_all_nodes_loses_no_block_that_may_have_been_decided() -> None:
    """Seat 3 decides and is never heard again; the others lose power before any COMMIT reaches them."""
    bench = quiet_bench(4)
    block = bench.build(1, 1, 0)
    bench.deliver(kind="proposal")
    bench.deliver(kind="prepare")
    bench.deliver(target=3, kind="commit")
    assert bench.heights() == [0, 0, 0, 1]
    bench.crash(3)
    bench.drop()
    for number in (0, 1, 2):
        bench.crash(number)
    for number in (0, 1, 2):
        bench.restart(number)
    bench.expire_all(0, 1, 2)
    bench.settle(until_height=1)
    assert bench.decided(1) == {parts.block_id(block)}


def leading(view: int) -> Bench:
    """The leader of height 1 in view 0 or 1 has just proposed; nothing else arrives anywhere."""
    bench = quiet_bench(4)
    if view == 1:
        for number in range(4):
            bench.expire(number)
        bench.deliver(target=2, kind="view-change")
    bench.build(view + 1, 1, view)
    bench.drop()
    return bench


@pytest.mark.parametrize(
    ("seat", "past"),
    [(0, lambda: reached("view-change")), (1, lambda: leading(0)), (2, lambda: leading(1))],
    ids=["a replica", "the leader", "a new leader"],
)
def test_s1_records_may_be_torn_at_any_place(seat: int, past: Callable[[], Bench]) -> None:
    """Whatever prefix of the records survives, the replica starts, contradicts nothing, and completes the height."""
    template = past()
    records = list(template.seats[seat].records)
    assert len(records) >= 3
    for kept in range(len(records) + 1):
        first = {
            m.mark: m for data in records[:kept] if isinstance(m := decode_record(data), Vote | Proposal | NewView)
        }
        bench = past()
        bench.crash(seat)
        bench.seats[seat].records = list(records[:kept])
        bench.seats[seat].log.clear()
        bench.build_through = 8
        bench.restart(seat)
        for number in range(4):
            bench.work(number, False)
            bench.work(number, True)
        bench.settle(until_height=1)
        for _ in range(4):
            for number in range(4):
                bench.expire(number)
            bench.settle(until_height=1)
        assert min(bench.heights()) >= 1, kept
        assert len(bench.decided(1)) == 1
        for message in bench.signed(seat):
            known = first.get(message.mark)
            if isinstance(message, Vote) and isinstance(known, Vote):
                assert message.block_id == known.block_id
            elif isinstance(message, Proposal | NewView):
                assert known in (None, message)


def test_a_new_leader_restarts_with_its_new_view() -> None:
    bench = quiet_bench(4)
    bench.expire_all(*range(4))
    bench.deliver(target=2, kind="view-change")
    bench.build(2, 1, 1)
    announced = [message for message in bench.signed(2) if isinstance(message, NewView)][-1]
    bench.drop()
    bench.crash(2)
    bench.restart(2)
    assert announced in [wire.message for wire in bench.select(source=2, target=0)]
    bench.build_through = 8
    bench.settle(until_height=1)
    assert bench.decided(1) == {announced.proposal.header.id(bench.suite)}


def test_a_new_leader_that_restarts_before_it_has_the_body_still_validates() -> None:
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    certificate = parts.prepared((0, 1, 3), parts.block_id(block))
    hear(bench, 2, (parts.view_change(number, 1, certificate if number == 3 else None) for number in (0, 1, 3)))
    announced = [message for message in bench.signed(2) if isinstance(message, NewView)][-1]
    records = [encode_record(m) for m in bench.signed(2) if m.mark.stage <= Stage.PROPOSAL]
    bench.crash(2)
    bench.seats[2].log.clear()
    bench.restart(2, records=records, connect=False)
    request = bench.seats[2].logged(fx.ValidateBlock)[-1]
    assert request.proposal == announced.proposal
    assert not request.fresh
    assert [m for m in bench.signed(2) if isinstance(m, Vote)][-1].view == 1


def test_a_view_entered_by_a_new_view_is_remembered() -> None:
    """Even if the replica had not voted in it yet, it does not vote in the view before it again."""
    bench = quiet_bench(4)
    block = parts.block_by(bench, 2)
    bench.withheld.add((0, parts.block_id(block)))
    bench.inject(0, parts.new_view([parts.view_change(n) for n in (1, 2, 3)], block, 2), 2)
    assert encode_record(CurrentView(1, 1)) in bench.seats[0].records
    bench.crash(0)
    bench.restart(0, connect=False)
    assert bench.seats[0].replica.view == 1
    bench.inject(0, parts.proposal(parts.block_by(bench, 1), 1), 1)
    assert not list(bench.signed(0))
    bench.withheld.clear()
    bench.inject(0, parts.new_view([parts.view_change(n) for n in (1, 2, 3)], block, 2), 2)
    assert [(kind_of(m), m.view) for m in bench.signed(0)] == [("prepare", 1)]


def test_a_restart_in_a_view_without_own_message_asks_for_it_again() -> None:
    bench = quiet_bench(4)
    bench.crash(0)
    bench.restart(0, records=[encode_record(CurrentView(1, 3))], connect=False)
    bench.expire(0)
    bench.expire(0)
    assert [(kind_of(m), m.view) for m in bench.signed(0)] == [("view-change", 3)] * 2


def test_records_of_final_heights_are_ignored() -> None:
    bench = Bench(4)
    bench.settle(until_height=1)
    bench = reached("commit")
    old = list(bench.seats[0].records)
    bench.build_through = 2
    bench.restart(0)
    bench.expire_all(*range(4))
    bench.settle(until_height=1)
    bench.crash(0)
    bench.restart(0, records=old, connect=False)
    assert bench.seats[0].replica.view == 0
    assert bench.seats[0].replica.can_vote


def test_the_highest_certificate_is_recovered_in_whatever_order() -> None:
    of = bytes(32)
    records = [encode_record(parts.prepared((0, 1, 2), of, view=view)) for view in (1, 4, 2)]
    recovered = recover(records, 1, CHEAP)
    assert recovered.prepared is not None
    assert recovered.prepared.view == 4


def test_damaged_records_are_reported_as_ours() -> None:
    bench = quiet_bench(4)
    with pytest.raises(InvariantBroken):
        bench.restart(0, records=[b"\x01\x02garbage"])


def test_the_own_index_must_be_the_one_in_the_set() -> None:
    bench = quiet_bench(4)
    replica = bench.new_replica(0, bench.seats[0].sets[0])
    turned = ValidatorSet(bench.seats[0].sets[0].members[::-1])
    with pytest.raises(InvariantBroken):
        replica.restore(genesis_tip(), turned)


@pytest.mark.parametrize("stage", ["prepare", "commit", "view-change"])
def test_c18_a_new_key_that_is_in_no_set_yet_starts_beside_the_old_keys_votes(stage: str) -> None:
    """A stolen key is exchanged at once: the node comes back before the height from which its new key signs."""
    bench = reached(stage)
    validators = bench.seats[0].sets[0]
    block = parts.block_by(bench, 1, "other")

    def signs(index: int | None, number: int, records: list[bytes]) -> bool:
        replica = Replica(ConsensusParameters(), bench.suite, GENESIS_ID, NETWORK, index, seed_of(number))
        replica.restore(genesis_tip(), validators, records)
        replica.step(ev.WorkPending(True))
        replica.step(ev.Received(parts.proposal(block, 1), 1))
        done = replica.step(ev.BlockValidated(1, 0, block))
        return any(isinstance(effect, fx.Persist | fx.Broadcast | fx.Send) for effect in done)

    assert signs(0, 0, []), "a member would sign here"
    assert not signs(None, 9, bench.seats[0].records)


# Records that went backwards


@pytest.mark.parametrize("stage", ["prepare", "commit", "view-change"])
def test_c16_without_its_vote_log_a_replica_does_not_vote_where_a_peer_shows_its_vote(stage: str) -> None:
    """Not even a VIEW-CHANGE: it would deny what was prepared. It votes again at the next height."""
    bench = reached(stage)
    shown = [message for message in bench.signed(0) if kind_of(message) == stage][-1]
    bench.crash(0)
    bench.seats[0].log.clear()
    bench.restart(0, records=[], connect=False)
    effects = bench.step(0, ev.OwnMessageShown(shown))
    assert effects[0] == fx.Abstaining(1, "own_messages_forgotten")
    assert not bench.seats[0].replica.can_vote
    other = parts.block_by(bench, 1, "other")
    bench.inject(0, parts.proposal(other, 1), 1)
    for number in (1, 2, 3):
        bench.inject(0, parts.prepare(number, parts.block_id(other)), number)
        bench.inject(0, parts.view_change(number, 4), number)
    assert bench.seats[0].timer is None
    assert not list(bench.signed(0))
    hear(bench, 0, (parts.commit(number, parts.block_id(other)) for number in (1, 2, 3)))
    assert bench.seats[0].tip.height == 1
    assert bench.seats[0].replica.can_vote


def test_c16_a_floor_above_the_records_is_abstained_from() -> None:
    bench = reached("prepare")
    kept = list(bench.seats[0].records)
    for floor, votes in (
        (Mark(1, 0, Stage.PREPARE), True),
        (Mark(1, 0, Stage.COMMIT), False),
        (Mark(1, 3, Stage.VIEW_CHANGE), False),
        (Mark(9, 0, Stage.PREPARE), False),
    ):
        bench.crash(0)
        effects = bench.restart(0, records=kept, floor=floor, connect=False)
        assert bench.seats[0].replica.can_vote is votes
        abstaining = [effect for effect in effects if isinstance(effect, fx.Abstaining)]
        assert abstaining == ([] if votes else [fx.Abstaining(floor.height, "own_messages_forgotten")])


def test_c16_a_chain_behind_its_vote_log_is_abstained_from() -> None:
    """The database went back from height 5 to 0; what was signed in between is unknown."""
    bench = quiet_bench(4)
    bench.crash(0)
    ahead = [encode_record(parts.prepare(0, bytes(32), height=5))]
    effects = bench.restart(0, records=ahead, connect=False)
    assert fx.Abstaining(5, "own_messages_forgotten") in effects
    assert not bench.seats[0].replica.can_vote


def test_c16_told_to_refuse_a_replica_follows_and_signs_nothing() -> None:
    bench = quiet_bench(4)
    bench.crash(1)
    bench.restart(1, records=[], may_vote=False)
    bench.seats[1].log.clear()
    bench.work(1, True)
    assert bench.seats[1].timer is None
    bench.expire_all(0, 2, 3)
    bench.deliver(kind="view-change")
    bench.build_through = 8
    bench.build(2, 1, 1)
    bench.settle(until_height=2)
    assert bench.heights()[1] >= 2
    assert not list(bench.signed(1))


def test_c8_a_second_process_with_the_same_key_silences_us() -> None:
    bench = quiet_bench(4)
    block, other = parts.block_by(bench, 1), parts.block_by(bench, 1, "other")
    bench.inject(0, parts.proposal(block, 1), 1)
    assert [kind_of(m) for m in bench.signed(0)] == ["prepare"]
    effects = bench.inject(0, parts.prepare(0, parts.block_id(other)), 3)
    assert effects[0] == fx.Abstaining(1, "own_key_used_elsewhere")
    hear(bench, 0, (parts.prepare(number, parts.block_id(block)) for number in (1, 2)))
    assert [kind_of(m) for m in bench.signed(0)] == ["prepare"]


def test_c8_nobody_else_can_silence_us() -> None:
    """Only what our own key signed counts: forged, foreign and repeated messages change nothing."""
    bench = quiet_bench(4)
    block = parts.block_by(bench, 1)
    bench.inject(0, parts.proposal(block, 1), 1)
    own = next(iter(bench.signed(0)))
    for message in (
        own,
        parts.signed(Vote(Stage.COMMIT, 1, 0, bytes(32), 0, b""), number=3),
        parts.commit(3, bytes(32), view=9),
        Vote(Stage.COMMIT, 1, 7, bytes(32), 0, bytes(16)),
    ):
        assert not bench.step(0, ev.OwnMessageShown(message))
    assert bench.seats[0].replica.can_vote


def test_own_messages_are_shown_to_a_peer_that_connects() -> None:
    """Protocol rule 7: what we hold signed by a peer goes to it first, then our own messages of the open height."""
    bench = reached("prepare")
    bench.deliver()
    held = parts.prepare(2, next(m.block_id for m in bench.signed(0) if isinstance(m, Vote)))
    bench.inject(0, held, 2)
    key = bench.seats[0].replica.validators.members[2].public_key
    assert bench.seats[0].replica.highest_signed_by(key) == held
    effects = bench.step(0, ev.MemberConnected(2))
    assert [(effect.index, kind_of(effect.message)) for effect in effects if isinstance(effect, fx.Send)] == [
        (2, "prepare"),
        (2, "prepare"),
    ]
    assert effects[0] == fx.Send(2, held)
    assert not [e for e in bench.step(0, ev.MemberConnected(0)) if isinstance(e, fx.Send)]
    assert not [e for e in bench.step(0, ev.MemberConnected(99)) if isinstance(e, fx.Send)]


def test_s1_a_single_validator_restarts_between_any_two_effects() -> None:
    """n = 1 decides alone; whatever record it had reached, it decides the same block after a restart."""
    whole = Bench(1, work=False)
    whole.build_through = 0
    whole.work(0, True)
    replica = whole.seats[0].replica
    block = parts.block_by(whole, 0)
    effects = replica.step(ev.BlockBuilt(1, 0, block))
    records = [record for effect in effects if isinstance(effect, fx.Persist) for record in effect.records]
    assert len(records) == 5
    for kept in range(len(records) + 1):
        bench = Bench(1, work=False)
        bench.known |= whole.known
        bench.build_through = 0
        effects = bench.restart(0, records=records[:kept], connect=False)
        if kept < 2:
            assert bench.seats[0].tip.height == 0
            continue
        assert bench.decided(1) == {parts.block_id(block)}
        assert len([effect for effect in effects if isinstance(effect, fx.Decide)]) == 1
        signed_again = [kind_of(message) for message in sent(effects)]
        assert signed_again == {2: ["prepare", "commit"], 3: ["commit"], 4: ["commit"], 5: []}[kept]


def test_c8_a_leader_is_not_silenced_by_the_proposal_out_of_its_own_new_view() -> None:
    """Anybody may take it out, and honest members send it to a dissenter: it is no second act of its leader."""
    bench = quiet_bench(4)
    bench.expire_all(0, 2, 3)
    bench.deliver(kind="view-change")
    bench.build_through = 1
    bench.build(2, 1, 1)
    announced = next(message for message in bench.signed(2) if isinstance(message, NewView))
    for shown in (announced, announced.proposal):
        assert bench.inject(2, shown, 1) == []
        assert bench.step(2, ev.OwnMessageShown(shown)) == []
    assert bench.seats[2].replica.can_vote
    other = parts.proposal(parts.block_by(bench, 2, "other", seat=2), 2, view=1)
    assert bench.inject(2, other, 1)[0] == fx.Abstaining(1, "own_key_used_elsewhere")

"""Catch-up: a node far behind, and peers that lie to it (attack C17)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import InvariantBroken
from common.node.logic.node_effects import BlockCommitted, CommitBlock, SendToPeer
from common.node.logic.node_events import (
    BlockWritten,
    PeerDisconnected,
    PeerMessage,
    Timer,
    TimerExpired,
)
from common.node.logic.wire import peer_messages as pm
from tests.unit.node.bus import Bus, names_of
from tests.unit.node.solo import Solo
from tests.unit.node.toy import key_of, make_genesis, transfer
from tests.unit.node.victim import Victim

NAMES = names_of(4)
GENESIS = make_genesis(NAMES)


@pytest.fixture(scope="module")
def chain_of_six() -> tuple[Solo, list[tuple[Block, Certificate]]]:
    solo = Solo(GENESIS)
    return solo, [solo.extend([transfer(GENESIS, f"n{at}")]) for at in range(6)]


def wire(pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple([(block.encode(), certificate.encode()) for block, certificate in pairs])


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def few_signatures(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    block, certificate = pairs[0]
    return wire([(block, replace(certificate, signatures=certificate.signatures[:2])), *pairs[1:]])


def bad_signature(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    block, certificate = pairs[0]
    first = (certificate.signatures[0][0], flip(certificate.signatures[0][1], 5))
    return wire([(block, replace(certificate, signatures=(first, *certificate.signatures[1:]))), *pairs[1:]])


def foreign_signers(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    other = Solo(make_genesis(["x-0", "x-1", "x-2", "x-3"]))
    block = pairs[0][0]
    return wire([(block, other.certify(block.header, ["x-0", "x-1", "x-2", "x-3"])), *pairs[1:]])


def wrong_roots(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    block, certificate = pairs[0]
    return wire([(Block(replace(block.header, state_root=bytes(32)), block.envelopes), certificate), *pairs[1:]])


def wrong_body(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    block, certificate = pairs[0]
    return wire([(Block(block.header, pairs[1][0].envelopes), certificate), *pairs[1:]])


def skipped_height(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    return wire(pairs[1:])


def height_zero(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    block, certificate = pairs[0]
    return wire([(Block(replace(block.header, height=0), block.envelopes), replace(certificate, height=0))])


def other_chain(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    genesis = make_genesis(NAMES, heartbeat_ms=999)
    return wire([Solo(genesis).extend([transfer(genesis, "n")])])


def garbage(solo: Solo, pairs: list[tuple[Block, Certificate]]) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"not a block", b"not a certificate"),)


Lie = Callable[[Solo, list[tuple[Block, Certificate]]], tuple[tuple[bytes, bytes], ...]]
LIES: dict[str, tuple[Lie, str]] = {
    "few signatures": (few_signatures, "certificate_too_few"),
    "bad signature": (bad_signature, "certificate_bad_signature"),
    "foreign signers": (foreign_signers, "certificate_bad_signature"),
    "wrong roots": (wrong_roots, "certificate_wrong_block"),
    "wrong body": (wrong_body, "block_body_mismatch"),
    "skipped height": (skipped_height, "sync_wrong_height"),
    "height zero": (height_zero, "header_range"),
    "another chain": (other_chain, "sync_wrong_chain"),
    "garbage": (garbage, "codec_too_long"),
}


@pytest.mark.parametrize("lie", LIES)
def test_c17_lying_sync_peer_is_dropped_and_another_is_asked(
    lie: str, chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]]
) -> None:
    solo, pairs = chain_of_six
    make, code = LIES[lie]
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=6)
    liar = victim.answer(make(solo, pairs))
    assert victim.dropped == {liar: code}
    assert victim.chain.tip().height == 0
    honest = victim.answer(wire(pairs))
    assert honest != liar
    assert victim.chain.tip().block_id == pairs[-1][1].block_id


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lambda solo, pairs: bad_signature(solo, pairs[3:]), LIES["bad signature"][1]),
        (lambda solo, pairs: wire(pairs[1:2]), "sync_wrong_height"),
    ],
    ids=["bad signature", "lowered height"],
)
def test_c17_lie_in_the_middle_keeps_what_was_right(
    lie: Lie, code: str, chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]]
) -> None:
    solo, pairs = chain_of_six
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=6)
    victim.answer(wire(pairs[:3]) + lie(solo, pairs))
    assert list(victim.dropped.values()) == [code]
    assert victim.chain.tip().height == 3
    assert victim.asked[-1][1].from_height == 4
    victim.answer(wire(pairs[3:]))
    assert victim.chain.tip().height == 6


def test_c17_peer_that_claims_much_and_gives_nothing_is_asked_last(
    chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]],
) -> None:
    _, pairs = chain_of_six
    victim = Victim(GENESIS)
    victim.meet("node-0", height=10**9)
    braggart = victim.answer((), tip=10**9)
    victim.meet("node-1", height=6)
    for _ in range(3):
        victim.step(PeerMessage(key_of(braggart), pm.Status(10**9, bytes(32)).encode()))
    assert victim.asked[-1][0] == "node-1"
    victim.answer(wire(pairs))
    assert victim.chain.tip().height == 6


def test_c17_silent_peer_is_given_up_after_its_time(chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]]) -> None:
    _, pairs = chain_of_six
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=6)
    silent = victim.asked[-1][0]
    victim.step(TimerExpired(Timer.SYNC, victim.timers[Timer.SYNC]))
    assert victim.asked[-1][0] != silent
    victim.answer(wire(pairs))
    assert victim.chain.tip().height == 6


def test_c17_peer_that_hangs_up_is_replaced_at_once(chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]]) -> None:
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=6)
    gone = victim.asked[-1][0]
    victim.step(PeerDisconnected(key_of(gone)))
    assert victim.asked[-1][0] != gone


def test_c17_a_single_liar_does_not_make_the_node_stand_aside() -> None:
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=0)
    victim.meet("node-2", height=10**9)
    assert not victim.node.status().syncing
    victim.step(PeerMessage(key_of("node-1"), pm.Status(10**9, bytes(32)).encode()))
    assert victim.node.status().syncing, "f+1 claims are believed"


def test_unasked_block_is_taken_only_if_it_is_the_next(
    chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]],
) -> None:
    _, pairs = chain_of_six
    victim = Victim(GENESIS)
    victim.meet("node-0", height=0)
    victim.step(PeerMessage(key_of("node-0"), pm.AnswerBlocks(0, 6, wire(pairs[:1])).encode()))
    assert victim.chain.tip().height == 1
    for again in (pairs[:1], pairs[3:4]):
        victim.step(PeerMessage(key_of("node-0"), pm.AnswerBlocks(0, 1, wire(again)).encode()))
    assert victim.dropped == {}
    victim.step(PeerMessage(key_of("node-0"), pm.AnswerBlocks(77, 6, wire(pairs[1:2])).encode()))
    assert victim.chain.tip().height == 1


def test_catch_up_takes_one_block_between_other_events(
    chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]],
) -> None:
    """Live messages are never starved: the next block is looked at only after the last one is durable."""
    _, pairs = chain_of_six
    victim = Victim(GENESIS)
    victim.writes_at_once = False
    victim.meet("node-0", height=6)
    victim.answer(wire(pairs))
    for height in range(1, 7):
        commits = [effect for effect in victim.effects if isinstance(effect, CommitBlock)]
        assert [effect.height for effect in commits] == list(range(1, height + 1))
        victim.receive("node-0", pm.Status(6, bytes(32)))
        victim.receive("node-0", pm.GetBlocks(1, 1, 1))
        assert len([effect for effect in victim.effects if isinstance(effect, CommitBlock)]) == height
        assert len(victim.sent(pm.KIND_ANSWER_BLOCKS)) == height
        victim.store.write(commits[-1].writes, sync=True)
        victim.step(BlockWritten(height))
    assert victim.chain.tip().height == 6
    assert len(victim.asked) == 1


def test_certified_block_that_executes_differently_stops_the_node() -> None:
    """A quorum signed roots that are not ours: either we are broken or they are; never go on (committer, T2)."""
    forger = Solo(GENESIS)
    block = forger.block([transfer(GENESIS, "n")], state_root=bytes(32))
    certificate = forger.certify(block.header, NAMES)
    victim = Victim(GENESIS)
    victim.meet("node-0", height=6)
    with pytest.raises(InvariantBroken, match="block_state_root"):
        victim.answer(wire([(block, certificate)]))
    assert victim.chain.tip().height == 0


def test_clients_are_told_of_blocks_that_came_by_catch_up(
    chain_of_six: tuple[Solo, list[tuple[Block, Certificate]]],
) -> None:
    _, pairs = chain_of_six
    victim = Victim(GENESIS)
    victim.meet("node-0", height=6)
    victim.answer(wire(pairs))
    told = [effect.header.height for effect in victim.effects if isinstance(effect, BlockCommitted)]
    assert told == [1, 2, 3, 4, 5, 6]


def test_n3_answers_are_bounded_in_number_and_bytes_and_rationed(monkeypatch: pytest.MonkeyPatch) -> None:
    solo = Solo(GENESIS)
    server = Victim(GENESIS)
    server.meet("node-0", height=0)
    for at in range(6):
        block, certificate = solo.extend([transfer(GENESIS, f"n{at}")])
        server.step(PeerMessage(key_of("node-0"), pm.AnswerBlocks(0, 6, wire([(block, certificate)])).encode()))
    size = len(block.encode()) + len(certificate.encode())

    def serve(from_height: int, limit: int) -> list[tuple[bytes, bytes]] | None:
        before = len(server.effects)
        server.step(PeerMessage(key_of("node-0"), pm.GetBlocks(9, from_height, limit).encode()))
        for effect in server.effects[before:]:
            if isinstance(effect, SendToPeer):
                answer = pm.decode_payload(effect.payload)
                assert isinstance(answer, pm.AnswerBlocks)
                assert answer.tip_height == 6
                return list(answer.blocks)
        return None

    assert len(serve(1, 3) or []) == 3
    assert len(serve(5, 64) or []) == 2
    assert serve(7, 64) == []
    assert len(serve(0, 2) or []) == 1
    monkeypatch.setattr("common.node.logic.catchup.serving.ANSWER_BYTES", 2 * size)
    assert len(serve(1, 64) or []) == 2
    monkeypatch.setattr("common.node.logic.catchup.serving.ANSWER_BYTES", 1)
    assert len(serve(1, 64) or []) == 1, "one block always goes, or the asker would never get on"
    monkeypatch.setattr("common.node.logic.catchup.ration.BURST_BYTES", 2 * size)
    monkeypatch.setattr("common.node.logic.catchup.serving.ANSWER_BYTES", 4 * 1024 * 1024)
    server.node._serving._rations._left.clear()
    assert serve(1, 64) is not None
    assert serve(1, 64) is None, "nothing is left until time has passed"


def test_node_a_thousand_blocks_behind_joins_while_the_chain_goes_on() -> None:
    solo = Solo(GENESIS)
    for at in range(1_000):
        solo.extend([transfer(GENESIS, f"old-{at}")])
    bus = Bus(GENESIS, NAMES)
    bus.now_ms = solo.chain.tip().time_ms + 1_000
    entries = list(solo.chain.store.scan(b""))
    for name in NAMES[:3]:
        bus.machines[name].store.write(entries, sync=True)
    bus.start(*NAMES[:3])
    bus.submit("node-0", transfer(GENESIS, "first"))
    bus.run_to_height(1_001)
    bus.start("node-3")
    late = bus.machines["node-3"]
    for at in range(20):
        bus.submit("node-1", transfer(GENESIS, f"new-{at}"))
        bus.pass_time(20)
    bus.run(lambda: late.height >= 1_015 and late.running.status().voting)
    bus.run(lambda: len({machine.height for machine in bus.machines.values()}) == 1)
    assert len({machine.chain.tip().block_id for machine in bus.machines.values()}) == 1
    assert max(machine.height for machine in bus.machines.values()) > 1_010
    bus.kill("node-0")
    height = bus.machines["node-1"].height
    bus.submit("node-1", transfer(GENESIS, "needs the late one"))
    bus.run_to_height(height + 1)

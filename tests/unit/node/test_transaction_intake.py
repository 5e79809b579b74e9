"""Gossip waits its turn: votes never stand behind a batch of signatures."""

from __future__ import annotations

from common.core.transaction import parse_envelope
from common.node.logic.node_effects import SetTimer
from common.node.logic.node_events import Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_status import NodeLimits
from common.node.logic.pool.body_fetch import BodyFetch
from common.node.logic.pool.mempool import Mempool
from common.node.logic.pool.transaction_intake import TURN, TransactionIntake
from tests.support.refusals import refused
from tests.unit.node.solo import Solo
from tests.unit.node.test_mempool import GENESIS, envelope, tampered
from tests.unit.node.toy import SUITE

PEER = bytes(32)


def make_intake() -> tuple[TransactionIntake, Mempool, BodyFetch, NodeOutbox]:
    solo, outbox, limits = Solo(GENESIS), NodeOutbox(), NodeLimits()
    pool = Mempool(GENESIS, solo.application, solo.chain, solo.executor.next_block, limits)
    bodies = BodyFetch(SUITE, pool, outbox, limits, lambda: [PEER])
    return TransactionIntake(SUITE, pool, bodies, outbox), pool, bodies, outbox


def turns(outbox: NodeOutbox) -> int:
    """How often a turn was asked for since the last call; the timers count as expired."""
    asked = [effect for effect in outbox.take() if isinstance(effect, SetTimer) and effect.timer is Timer.INTAKE]
    for effect in asked:
        assert effect.delay_ms == 0
        assert outbox.expired(effect.timer, effect.token)
    return len(asked)


def test_a_batch_is_verified_a_few_at_a_time() -> None:
    intake, pool, _, outbox = make_intake()
    intake.gossiped(PEER, [envelope(str(number)) for number in range(2 * TURN + 1)])
    sizes = []
    while turns(outbox):
        assert intake.take_turn() == []
        sizes.append(len(pool))
    assert sizes == [TURN, 2 * TURN, 2 * TURN + 1]


def test_a_lone_transaction_takes_no_turn_unless_others_wait() -> None:
    intake, pool, _, outbox = make_intake()
    intake.gossiped(PEER, [envelope("a")])
    intake.gossiped(PEER, [envelope("a")])
    assert (len(pool), turns(outbox)) == (1, 0)
    with refused("bad_signature"):
        intake.gossiped(PEER, [tampered(envelope("b"))])
    intake.gossiped(PEER, [envelope("c"), envelope("d")])
    intake.gossiped(PEER, [envelope("e")])
    assert (len(pool), turns(outbox)) == (1, 1)
    assert intake.take_turn() == []
    assert len(pool) == 4


def test_a_bad_signature_is_the_peers_fault_and_the_rest_goes_on() -> None:
    intake, pool, _, outbox = make_intake()
    intake.gossiped(PEER, [envelope("a"), tampered(envelope("b")), envelope("c")])
    assert turns(outbox) == 1
    assert intake.take_turn() == [(PEER, "bad_signature")]
    assert len(pool) == 2


def test_what_a_proposal_waits_for_does_not_wait() -> None:
    intake, pool, bodies, _ = make_intake()
    wanted = envelope("a")
    bodies.want([parse_envelope(wanted, SUITE).envelope_hash], [PEER], 10_000)
    assert intake.gossiped(PEER, [wanted])
    assert len(pool) == 1
    assert not bodies.active

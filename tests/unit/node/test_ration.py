"""What serving one peer may cost, and all observers together (attack N3)."""

from __future__ import annotations

import pytest

from common.node.logic.catchup import ration
from common.node.logic.catchup.ration import BURST_BYTES, BYTES_PER_MS, Rations
from common.node.logic.node_effects import SendToPeer
from common.node.logic.node_events import PeerConnected, PeerDisconnected, PeerMessage
from common.node.logic.wire import peer_messages as pm
from tests.sim.planted.memory import objects_of
from tests.unit.growth.world import GENESIS, grown
from tests.unit.node.toy import key_of
from tests.unit.node.victim import Victim


def test_n3_a_ration_refills_with_time_alone() -> None:
    rations = Rations()
    one, other = key_of("one"), key_of("other")
    assert rations.allows(one, 0)
    rations.take(one, BURST_BYTES + BYTES_PER_MS)
    assert not rations.allows(one, 1)
    assert rations.allows(other, 1), "each has its own"
    assert rations.allows(one, 2)


def test_n3_observers_have_one_ration_between_them_whatever_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ration, "BURST_BYTES", 3_000)
    solo = grown(4)
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=4)
    victim.answer(
        tuple((solo.chain.block(at).encode(), solo.chain.certificate(at).encode()) for at in range(1, 5)), tip=4
    )
    answered = dict.fromkeys(("node-0", "node-1", "stranger-1", "stranger-2", "stranger-3"), 0)
    for name in ("stranger-1", "stranger-2", "stranger-3"):
        victim.step(PeerConnected(key_of(name), pm.Hello(0, GENESIS.id, b"").encode()))
    for _ in range(3):
        for name in answered:
            effects = victim.step(PeerMessage(key_of(name), pm.GetBlocks(1, 1, 10).encode()))
            answered[name] += sum(isinstance(effect, SendToPeer) for effect in effects)
    assert (answered["node-0"], answered["node-1"]) == (1, 1), "a member's own"
    assert sum(answered.values()) == 3


@pytest.mark.parametrize("members", [1, 3])
def test_n3_observers_that_come_and_go_leave_nothing_behind(members: int) -> None:
    """Before the replica has started, and afterwards."""
    victim = Victim(GENESIS)
    victim.meet(*["node-0", "node-1", "node-2"][:members], height=0)
    before = objects_of(victim.node)
    for number in range(500):
        stranger = key_of(f"stranger-{number}")
        victim.step(PeerConnected(stranger, pm.Hello(0, GENESIS.id, b"").encode()))
        victim.step(PeerMessage(stranger, pm.GetBlocks(1, 1, 10).encode()))
        victim.step(PeerDisconnected(stranger))
    assert objects_of(victim.node) < before + 100
